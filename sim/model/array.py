"""Bit-exact model of the array: setup port, coefficient banks, passes, block floating point, streams.

The model runs instructions in program order, one block at a time; the overlap of units in the hardware
changes cycles, not results: a LOAD that would overtake a STORE is refused. Vectorised over engines and groups.

Block floating point. Let free(x) = W-1 - bit_length(x ^ (x >> W-1)) be the redundant sign bits of a value,
and z the smallest over all words of the block in all engines, counted up to S+1, after the load or after
the pass before. In a pass with ``block_float`` columns 0..q together shift by

    c[q] = max(0, growth[q] - z)

so column q by c[q] - c[q-1], and the exponent of the block grows by c[S-1].
If all |c| <= 1 (modulus of a twiddle for the FFT) and the growths are those of docs/reference/architecture.md, a clamp
changes a value by at most one unit in the last place: every bound 2^k on magnitudes is an integer that rounding cannot
cross, and 2^(W-1) itself is the one value that does not fit.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.encoding import INSTRUCTION_WORDS, OPCODE_BITS, decode, encode
from ...hw.isa.instruction import Halt, Instruction, Load, Loop, Mac, Mode, Opcode, Pass, Softmax, Store
from ...hw.isa.setup import EXPONENT_BITS, SETUP_PROGRAM
from ...hw.isa.walk import Walk, walk_indices
from ...hw.numeric import round_half_up, saturate
from .butterfly import Coefficients, butterfly, unpack_coefficients
from .attention import SoftmaxState
from .mac import mac_sums
from .mac_rules import mac_rows
from .shuffle import pass_indices, reverse_lanes

__all__ = ["ArrayModel", "HeldBlock", "BlockResult", "block_bits", "block_words", "check_overlaps", "overtaken"]


class BlockResult(NamedTuple):
    """One block as it leaves on the output stream.

    ``words`` is int64 (n, 2), re and im of every word in stream order, element_width bits each. The value is
    the integer times 2^exponent, times what the static shifts took (the compiler knows). ``saturated``:
    something was clamped.
    """

    words: np.ndarray
    exponent: int
    saturated: bool


@dataclass
class HeldBlock:
    """A block in the buffers: values (2, E, words) int64 with re and im first, z, exponent and flag."""

    values: np.ndarray
    free: int
    exponent: int = 0
    saturated: bool = False


def block_bits(walk: Walk) -> int:
    """Index bits of the block that ``walk`` visits; ValueError unless these are the low bits of the index."""
    mask = walk.index_mask
    if mask & (mask + 1):
        raise ValueError(f"walk: index bits {mask:#b} have a gap; a block uses the low bits of the index")
    return mask.bit_length()


@lru_cache(maxsize=4096)
def overtaken(load: Load, store: Walk, base: int = 0) -> str:
    """What a LOAD with ``overlap`` would overwrite before the STORE that walks as ``store`` from ``base`` on has read
    it; empty for nothing.

    Step t of the load waits for step t + lag of the store. A load that could be over before the store is would let the
    next one in behind the wrong store.
    """
    loaded, stored = walk_indices(load.walk), walk_indices(store) | base
    size = 1 + int(max(loaded.max(), stored.max()))
    read_in = np.full(size, -1, dtype=np.int64)
    read_in[stored] = np.arange(len(stored))[:, None] // store.step_beats
    if load.plain:  # its words may stand where others of their row stood
        rows = np.full(-(-size // loaded.shape[1]) * loaded.shape[1], -1, dtype=np.int64)
        rows[:size] = read_in
        read_in = rows.reshape(-1, loaded.shape[1]).max(axis=1).repeat(loaded.shape[1])
    step = np.arange(len(loaded))[:, None] // load.walk.step_beats
    early = np.argwhere(read_in[loaded] > step + load.lag)
    if len(early):
        beat, lane = early[0]
        index = loaded[beat, lane]
        return (f"takes index {index} in step {step[beat, 0]}, which the STORE reads in step {read_in[index]}; "
                f"lag = {load.lag}")
    if load.walk.steps + load.lag < store.steps:
        return f"has {load.walk.steps} steps and lag = {load.lag}; it may end before the STORE, which has {store.steps}"
    return ""


def check_overlaps(loads: Sequence[Load], stores: Sequence[Store]) -> None:
    """Raise ValueError where the load of a block would overtake the store of the block before it in its half."""
    for number, (load, store) in enumerate(zip(loads[2:], stores), 2):
        fault = overtaken(load, store.walk, store.base) if load.overlap else ""
        if fault:
            raise ValueError(f"overlap: LOAD {number} {fault}")


class ArrayModel:
    """One array with its coefficient and program memories, all zero at first.

    ``coefficients`` is int64 (n_units, coefficient_words) of raw words, see sim/model/butterfly.py;
    bank q*P/2 + k serves unit k of column q. ``program`` holds the 32-bit program words.
    """

    def __init__(self, config: CoreConfig):
        self.config = config
        self.coefficients = np.zeros((config.n_units, config.coefficient_words), dtype=np.int64)
        self.program = [0] * config.program_words
        self.kept = np.empty((0, 0), dtype=np.int64)  # sums (rows, outputs)
        self.softmax = SoftmaxState(config)

    # --- setup --------------------------------------------------------------------------------

    def write_setup(self, target: int, address: int, data: int) -> None:
        """One word on the setup port. Other targets, control among them, change nothing: :meth:`run` starts
        a program.

        Raises ValueError when the address is outside the memory.
        """
        config = self.config
        words = config.coefficient_words if target < config.n_units else config.program_words
        if (target < config.n_units or target == SETUP_PROGRAM) and not 0 <= address < words:
            raise ValueError(f"address: {address} is not in 0..{words - 1} of setup target {target}")
        self.softmax.write_setup(target, address, data)
        if target < config.n_units:
            self.coefficients[target, address] = data & ((1 << config.coefficient_bits) - 1)
        elif target == SETUP_PROGRAM:
            self.program[address] = data & 0xFFFFFFFF

    def load_program(self, program: list[Instruction]) -> None:
        """Write ``program`` into the program memory through the setup port."""
        for address, word in enumerate(encode(program)):
            self.write_setup(SETUP_PROGRAM, address, word)

    # --- passes -------------------------------------------------------------------------------

    def run_passes(self, passes: list[Pass], block: np.ndarray) -> tuple[np.ndarray, int, bool]:
        """Send a block of W-bit values, int64 (E, 2^bits, 2), through ``passes``.

        Returns the block in the same shape, its exponent and whether anything was clamped. ``block`` is not
        changed.
        """
        if block.ndim != 3 or block.shape[::2] != (self.config.engines, 2):
            raise ValueError(f"block: shape {block.shape} is not ({self.config.engines}, words, 2)")
        state = self._new_block(np.ascontiguousarray(np.moveaxis(block, 2, 0), dtype=np.int64))
        for instruction in passes:
            self.run_pass(instruction, state)
        return np.ascontiguousarray(np.moveaxis(state.values, 0, 2)), state.exponent, state.saturated

    def _new_block(self, values: np.ndarray) -> HeldBlock:
        if np.any(saturate(values, self.config.width)[1]):
            raise ValueError(f"block: a value does not fit width = {self.config.width} bits")
        return HeldBlock(values, self._free(values))

    def _free(self, values: np.ndarray) -> int:
        """z: redundant sign bits of the largest magnitude, as far as they are counted."""
        magnitude = int(np.max(values ^ (values >> 63)))
        return min(self.config.magnitude_bits, self.config.width - 1 - magnitude.bit_length())

    def run_pass(self, instruction: Pass, block: HeldBlock) -> None:
        """Send ``block`` through one pass, in place. Raises ValueError when the pass leaves the block or its fields."""
        self._check_pass(instruction, block.values.shape[2])
        shifts, exponent = self._shifts(instruction, block.free)
        index = pass_indices(instruction.digit, instruction.groups, self.config.layers).T
        if instruction.descending:
            index = index[reverse_lanes(self.config.layers)]
        lanes = np.take(block.values, index, axis=2)
        for q, shift in enumerate(shifts):
            lanes, clamped = self._column(instruction, q, shift, lanes)
            block.saturated |= clamped
        block.values[:, :, index] = lanes
        block.free = self._free(lanes)
        block.exponent += exponent

    def run_mac(self, instruction: Mac, matrix: np.ndarray, block: HeldBlock) -> None:
        """Multiply the rows of ``block`` with ``matrix``, coefficients int64 (outputs * P, inputs * P), in place.

        A block that its LOAD made shorter gets room for the results. Sums that are merged are those of the last MAC
        that kept some, see :func:`~.mac_rules.check_macs`. Raises ValueError where the block lacks inputs."""
        config, p = self.config, self.config.lanes
        inputs, outputs = (rows[..., None] * p + np.arange(p) for rows in mac_rows(instruction))
        if inputs.max() >= block.values.shape[2]:
            raise ValueError(f"inputs: the MAC reads index {inputs.max()}; the block ends at "
                             f"{block.values.shape[2] - 1}")
        missing = outputs.max(initial=0) + 1 - block.values.shape[2]
        if missing > 0:
            block.values = np.pad(block.values, ((0, 0), (0, 0), (0, int(missing))))
        x = block.values[:, :, inputs].reshape(-1, matrix.shape[1])
        if instruction.first:
            block.exponent = 0
        if instruction.softmax is Softmax.VALUES:
            sums = self.softmax.weighed(instruction, x, matrix, self.kept)
        else:
            sums = mac_sums(x, matrix, config.coefficient_width)
            if instruction.merge:
                sums += self.kept
        if instruction.keep:
            self.kept = sums
            return
        values, clamped = self._results(instruction, sums)
        block.values[:, :, outputs] = values.reshape(2, config.engines, *outputs.shape)
        block.saturated |= bool(np.any(clamped))

    def _results(self, mac: Mac, sums: np.ndarray) -> tuple[np.ndarray, Any]:
        """Words of the exact ``sums``, and whether one was clamped."""
        if mac.softmax is Softmax.LOGITS:
            return self.softmax.exponentials(mac, sums)
        if mac.softmax is Softmax.VALUES:
            return self.softmax.divided(mac, sums)
        return saturate(round_half_up(sums, mac.shift), self.config.width)

    def _shifts(self, instruction: Pass, free: int) -> tuple[list[int], int]:
        """Shift of every column, and what the pass adds to the exponent."""
        if not instruction.block_float:
            return list(instruction.shifts), 0
        together = [max(0, growth - free) for growth in instruction.growth]
        return [now - before for before, now in zip([0, *together], together)], together[-1]

    def _column(self, instruction: Pass, q: int, shift: int, lanes: np.ndarray) -> tuple[np.ndarray, bool]:
        """Column ``q`` on lanes (2, E, P, groups): lanes a (bit q clear) and a | 2^q meet in unit a less bit
        q."""
        config = self.config
        active = instruction.active >> q & 1
        mode = instruction.mode if active else Mode.PASS
        low = 1 << q
        pairs = lanes.reshape(2, config.engines, config.lanes // (2 * low), 2, low, instruction.groups)
        coefficients = None
        if mode is not Mode.PASS:
            fields = self._coefficients(instruction, q)
            coefficients = Coefficients(*(f.reshape(-1, low, instruction.groups) for f in fields))
        out = np.empty_like(pairs)
        out[:, :, :, 0], out[:, :, :, 1], clamped = butterfly(
            mode, pairs[:, :, :, 0], pairs[:, :, :, 1], coefficients, shift,
            width=config.width, coefficient_width=config.coefficient_width)
        return out.reshape(lanes.shape), bool(np.any(clamped))

    def _coefficients(self, instruction: Pass, q: int) -> Coefficients:
        """What the P/2 units of column ``q`` read in every group, arrays (P/2, groups)."""
        group = np.arange(instruction.groups)
        mask = (1 << instruction.coef_mask_bits) - 1
        address = instruction.coef_base + (group >> instruction.coef_shift & mask)
        half = self.config.lanes // 2
        return unpack_coefficients(self.coefficients[q * half:(q + 1) * half, address],
                                   self.config.coefficient_width)

    def _check_pass(self, instruction: Pass, words: int) -> None:
        """Refuse what the contract leaves undefined: shifts beyond their fields, words outside the block."""
        config, p = self.config, instruction
        largest_shift = (1 << config.shift_bits) - 1
        if len(p.shifts) != config.layers or not all(0 <= s <= largest_shift for s in p.shifts):
            raise ValueError(f"shifts: {p.shifts} are not {config.layers} shifts in 0..{largest_shift}")
        if not 0 <= p.active < config.lanes:
            raise ValueError(f"active: {p.active:#b} has columns beyond the {config.layers} of the array")
        if p.block_float:
            self._check_block_float(p, largest_shift)
        last = int(pass_indices(p.digit, p.groups, config.layers).max())
        if last >= words:
            raise ValueError(f"groups: {p.groups} groups of digit {p.digit} reach index {last}; "
                             f"the block ends at {words - 1}")
        reach = p.coef_base + min(p.groups - 1 >> p.coef_shift, (1 << p.coef_mask_bits) - 1)
        if p.mode is not Mode.PASS and p.active and reach >= config.coefficient_words:
            raise ValueError(f"coef_base: {p.coef_base} makes the pass read coefficient {reach}; "
                             f"allowed are 0..{config.coefficient_words - 1}")

    def _check_block_float(self, p: Pass, largest_shift: int) -> None:
        steps = [now - before for before, now in zip([0, *p.growth], p.growth)]
        if len(p.growth) != self.config.layers or not all(0 <= step <= largest_shift for step in steps):
            raise ValueError(f"growth: {p.growth} is not {self.config.layers} numbers that rise by 0..{largest_shift}")

    # --- programs -----------------------------------------------------------------------------

    def run(self, program: list[Instruction] | None, stream: np.ndarray) -> list[BlockResult]:
        """Run ``program`` (None: the one in program memory) on ``stream``, the element values (n, 2) of all
        blocks in stream order. Returns one result per stored block.

        Raises ValueError when the program would wait forever, leaves words over, or breaks the contract. Not checked:
        the condition of ``gap``.
        """
        program = self._stored_program() if program is None else program
        elements = np.asarray(stream, dtype=np.int64)
        if elements.ndim != 2 or elements.shape[1] != 2:
            raise ValueError(f"stream: shape {elements.shape} is not (words, 2)")
        if np.any(saturate(elements, self.config.element_width)[1]):
            raise ValueError(f"stream: a value does not fit element_width = {self.config.element_width} bits")
        steps = list(_trace(program))
        check_overlaps([step for step in steps if isinstance(step, Load)],
                       [step for step in steps if isinstance(step, Store)])
        loaded: deque[HeldBlock] = deque()
        computed: deque[HeldBlock] = deque()
        current: HeldBlock | None = None
        results: list[BlockResult] = []
        at = 0
        for instruction in steps:
            if isinstance(instruction, Load):
                block, at = self.load(instruction, elements, at)
                loaded.append(block)
            elif isinstance(instruction, Store):
                results.append(self.store(instruction, _next(computed, "a store without a computed block")))
            else:
                if instruction.first:
                    current = _next(loaded, "a first pass without a loaded block")
                if current is None:
                    raise ValueError("first: a pass without a block; the first pass of a block sets it")
                self.run_pass(instruction, current)
                if instruction.last:
                    computed.append(current)
                    current = None
        if at != len(elements):
            raise ValueError(f"stream: {len(elements)} words, the program loads {at}")
        return results

    def _stored_program(self) -> list[Instruction]:
        for at in range(0, len(self.program) - INSTRUCTION_WORDS + 1, INSTRUCTION_WORDS):
            if self.program[at] & (1 << OPCODE_BITS) - 1 == Opcode.HALT:
                return decode(self.program[:at + INSTRUCTION_WORDS], self.config.layers)
        raise ValueError("program: the program memory holds no halt")

    def load(self, instruction: Load, elements: np.ndarray, at: int = 0) -> tuple[HeldBlock, int]:
        """The block that a LOAD takes from the words ``elements`` (n, 2) from ``at`` on, and where the next one begins.

        Raises ValueError when the words end before the block does.
        """
        config = self.config
        index = self._walk(instruction.walk)
        values = np.zeros((2, config.engines, 1 << block_bits(instruction.walk)), dtype=np.int64)
        count = index.size * config.engines
        if at + count > len(elements):
            raise ValueError(f"stream: {len(elements)} words end inside a load of words "
                             f"{at}..{at + count - 1}")
        beats = elements[at:at + count].reshape(*self._stream_shape(instruction.walk), 2)
        shift = config.width - config.element_width
        values[:, :, index] = beats.transpose(5, 1, 3, 0, 2, 4).reshape(2, config.engines, *index.shape) << shift
        return self._new_block(values), at + count

    def store(self, instruction: Store, block: HeldBlock) -> BlockResult:
        """The block as a STORE sends it. Raises ValueError when its walk leaves the block."""
        config = self.config
        index = self._walk(instruction.walk) | instruction.base
        if index.max() >= block.values.shape[2]:
            raise ValueError(f"walk: a store of index {index.max()}; "
                             f"the block ends at {block.values.shape[2] - 1}")
        values = round_half_up(block.values[:, :, index], config.width - config.element_width)
        values, clamped = saturate(values, config.element_width)
        steps, groups, beats, engines, lanes = self._stream_shape(instruction.walk)
        words = values.reshape(2, groups, engines, steps, beats, lanes).transpose(3, 1, 4, 2, 5, 0).reshape(-1, 2)
        saturated = block.saturated or bool(np.any(clamped))
        return BlockResult(words, block.exponent % (1 << EXPONENT_BITS), saturated)

    def _stream_shape(self, walk: Walk) -> tuple[int, int, int, int, int]:
        """A block on the streams: steps, engine groups, beats of a group, engines of a group, lanes."""
        config = self.config
        return walk.steps, config.beat_groups, walk.step_beats, config.engines_per_beat, config.lanes

    def _walk(self, walk: Walk) -> np.ndarray:
        """Indices (beats, P) of a walk that fits this array."""
        if len(walk.window) != self.config.layers:
            raise ValueError(f"window: {walk.window} is not {self.config.layers} index bits")
        bits = walk.index_mask.bit_length()
        if bits > self.config.index_bits:
            raise ValueError(f"walk: index bit {bits - 1}; a half has {self.config.index_bits}")
        return walk_indices(walk)


def _next(queue: deque[HeldBlock], fault: str) -> HeldBlock:
    if not queue:
        raise ValueError(f"program: {fault}; it would wait forever")
    return queue.popleft()


def block_words(config: CoreConfig, program: Sequence[Instruction]) -> list[int]:
    """Words of each block that ``program`` takes from the input stream of an array, in order."""
    return [step.walk.beats * config.lanes * config.engines for step in _trace(program) if isinstance(step, Load)]


def _trace(program: Sequence[Instruction]) -> Iterator[Load | Pass | Store]:
    """The loads, passes and stores in the order in which they run."""
    at, rounds = 0, 0
    while at < len(program):
        instruction = program[at]
        if isinstance(instruction, Halt):
            return
        at += 1
        if isinstance(instruction, Loop):
            rounds += 1
            if rounds < instruction.count:
                at = instruction.target
            else:
                rounds = 0
        elif isinstance(instruction, Load | Pass | Store):
            yield instruction
        else:
            raise ValueError(f"program: instruction {at - 1} is for a memory unit; an array alone has none")
    raise ValueError("program: it ends without a halt")
