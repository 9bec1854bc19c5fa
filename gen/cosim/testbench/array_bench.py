# SPDX-License-Identifier: BSD-2-Clause
"""cocotb test of one array in Verilog: runs the trials of a folder and writes what the array delivered.

Stands alone: needs cocotb, the standard library and trials.py beside it, nothing of wingbeat. Besides what trials.py
says the folder of the trials holds

    contract.json  numbers of the core's contract that this file needs
    *.hex          one bus word a line, first line first: setup writes, input beats, expected output beats

For each trial NAME.output.hex, every beat taken from ``o``, goes into the folder of the results.

A trial does three things at once: it sends the setup writes, sends the input beats, and takes the output
beats, each with its own stalls. It passes when every beat has moved before the deadline, ``o`` has held valid
and payload under stall, the array is idle again, nothing is left over and, where the expected beats are
given, all beats are equal. Cycle k is the k-th rising clock edge of the trial after its reset.
"""

import json
import random

from cocotb.triggers import RisingEdge

from trials import FOLDER, RESET_CYCLES, RESULTS, tests_of

NOISE_CYCLES = 16    # in which the setup port shows other noise once nothing is left to write
DATA_AT = 24         # lowest bit of the data of a setup write
SETTLE_CYCLES = 40   # a left-over beat would show within this time
CONTRACT = json.loads((FOLDER / "contract.json").read_text())
START_TARGET = CONTRACT["start_target"]  # setup target whose write starts the program
BLOCK_FIELDS = CONTRACT["block_fields"]  # {name: [lowest bit, bits]} of what stands above the words of an output beat
BLOCK_BITS = sum(bits for _, bits in BLOCK_FIELDS.values())


class Stalls:
    """When one side of a stream is willing to move a word: ``chance`` per cycle, or in runs of up to
    ``burst`` cycles of willing and unwilling. ``shy`` is for a receiver: ready for one cycle after valid has
    been seen."""

    def __init__(self, chance=1.0, burst=0, shy=False, seed=""):
        self.always = chance >= 1 and not burst and not shy
        self.shy = shy
        self._chance, self._burst, self._rng = chance, burst, random.Random(seed)
        self._state, self._left = True, 0

    def willing(self):
        if self.always:
            return True
        if not self._burst:
            return self._rng.random() < self._chance
        if not self._left:
            self._state = not self._state
            self._left = self._rng.randint(1, self._burst)
        self._left -= 1
        return self._state


class Source:
    """Sends the lines of a hex file into the input stream ``prefix``; between words and behind the last one the payload
    is noise. On the setup port that is target and address of a write that has been sent, with other data: whoever takes
    it nevertheless spoils what the program needs."""

    def __init__(self, dut, prefix, path, stalls):
        self._ready = getattr(dut, f"{prefix}__ready")
        self._valid = getattr(dut, f"{prefix}__valid")
        self._payload = getattr(dut, f"{prefix}__payload")
        self._lines = iter(path.read_text().split()) if path else iter(())
        self._stalls, self._noise = stalls, random.Random(0)
        self._bits = len(self._payload)
        self._sent = []
        self._next = next(self._lines, None)
        self._offered = False
        self.moved = 0
        self.last_cycle = 0
        self.starts = []  # cycles in which a start of the program was accepted
        self._watch = prefix == "i_setup"
        self._valid.value = 0
        self._payload.value = self._noise.getrandbits(self._bits)

    @property
    def done(self):
        return self._next is None

    def step(self, cycle):
        """Once per rising edge: the word on offer moves if ready; then offer the next one, or not."""
        if self._offered:
            if self._ready.value != 1:
                return
            self.moved += 1
            self.last_cycle = cycle
            if self._watch and int(self._next, 16) & 0xFF == START_TARGET:
                self.starts.append(cycle)
            self._sent.append(self._next)
            self._next = next(self._lines, None)
        if self._next is not None and self._stalls.willing():
            self._payload.value = int(self._next, 16)
            if not self._offered:
                self._valid.value = 1
                self._offered = True
        elif self._offered:
            self._valid.value = 0
            self._offered = False
            self.rest()

    def rest(self):
        """Other noise."""
        noise = self._noise.getrandbits(self._bits)
        if self._watch:
            noise = noise >> DATA_AT << DATA_AT ^ int(self._noise.choice(self._sent), 16)
        self._payload.value = noise


class Receiver:
    """Takes beats from ``o`` and checks that valid and payload hold until the beat has moved."""

    def __init__(self, dut, stalls):
        self._valid, self._payload, self._ready = dut.o__valid, dut.o__payload, dut.o__ready
        self._stalls = stalls
        self._held = None
        self.beats = []        # text of bits, most significant first, as the simulator delivers it
        self.last_cycles = []  # cycle of the last beat of each block
        self._is_ready = not stalls.shy and stalls.willing()
        self._ready.value = int(self._is_ready)

    def step(self, cycle):
        if self._valid.value == 1:
            beat = str(self._payload.value)
            if self._held is not None and beat != self._held:
                raise AssertionError(f"o: payload changed under stall in cycle {cycle}")
            if self._is_ready:
                self.beats.append(beat)
                self._held = None
                if beat[0] == "1":
                    self.last_cycles.append(cycle)
            else:
                self._held = beat
        elif self._held is not None:
            raise AssertionError(f"o: valid fell under stall in cycle {cycle}")
        if not self._stalls.always:
            ready = self._held is not None if self._stalls.shy else self._stalls.willing()
            if ready != self._is_ready:
                self._is_ready = ready
                self._ready.value = int(ready)


class _Trial:
    """One entry of trials.json run on the design.

    name; setup, input, expected (files); beats, blocks (how many must come out); deadline (cycles); reset
    (whether the design is reset first); seed and stalls (arguments of ``Stalls`` for setup, input and
    output).
    """

    def __init__(self, dut, trial):
        self.dut, self.name, self.cycle = dut, trial["name"], 0
        self.n_beats, self.n_blocks, self.deadline = trial["beats"], trial["blocks"], trial["deadline"]
        self.reset, self.expected = trial["reset"], trial.get("expected")
        stalls = {side: Stalls(**trial["stalls"].get(side, {}), seed=f"{trial['seed']} {side}")
                  for side in ("setup", "input", "output")}
        self.setup = Source(dut, "i_setup", FOLDER / trial["setup"], stalls["setup"])
        self.input = Source(dut, "i", FOLDER / trial["input"], stalls["input"])
        self.output = Receiver(dut, stalls["output"])

    async def run(self):
        edge = RisingEdge(self.dut.clk)
        self.dut.rst.value = int(self.reset)
        for _ in range(RESET_CYCLES):
            await edge
        self.dut.rst.value = 0
        setup, source, output = self.setup, self.input, self.output
        beats, n_beats = output.beats, self.n_beats
        while len(beats) < n_beats or not source.done or not setup.done:
            await edge
            self._tick()
            output.step(self.cycle)
            if not source.done:
                source.step(self.cycle)
            if not setup.done:
                setup.step(self.cycle)
            elif self.cycle % NOISE_CYCLES == 0:
                setup.rest()
        while self._status() & 1:
            await edge
            self._tick()
            output.step(self.cycle)
        for _ in range(SETTLE_CYCLES):
            await edge
            output.step(self.cycle)
        self._check()

    def _tick(self):
        self.cycle += 1
        if self.cycle > self.deadline:
            raise AssertionError(
                f"deadline of {self.deadline} cycles passed: {self.setup.moved} setup writes and "
                f"{self.input.moved} input beats sent, {len(self.output.beats)} of {self.n_beats} output "
                "beats received")

    def _status(self):
        return int(self.dut.status.value)

    def _check(self):
        beats, blocks = len(self.output.beats), len(self.output.last_cycles)
        assert beats == self.n_beats, f"{beats} output beats where {self.n_beats} were expected"
        assert blocks == self.n_blocks, f"{blocks} blocks ended where {self.n_blocks} were expected"
        if self.expected is None:
            return
        expected = [int(line, 16) for line in (FOLDER / self.expected).read_text().split()]
        bits = len(self.output.beats[0])
        # `saturated` is final on the last beat of a block.
        flag = 1 << (bits - BLOCK_BITS + BLOCK_FIELDS["saturated"][0])
        for number, (text, want) in enumerate(zip(self.output.beats, expected, strict=True)):
            assert not set(text) - {"0", "1"}, f"output beat {number} has undefined bits: {text}"
            got = int(text, 2)
            if not got >> (bits - 1):
                got, want = got & ~flag, want & ~flag
            assert got == want, f"output beat {number} is {got:x} where {want:x} was expected"

    def leave(self):
        digits = 2 * -(-len(self.dut.o__payload) // 8)
        with open(RESULTS / f"{self.name}.output.hex", "w") as file:
            for beat in self.output.beats:
                # Undefined bits, on a four-state simulator, make a line that is no number.
                print(beat if set(beat) - {"0", "1"} else f"{int(beat, 2):0{digits}x}", file=file)
        return {"beats": len(self.output.beats), "starts": self.setup.starts, "last_cycles": self.output.last_cycles,
                "input_last_cycle": self.input.last_cycle, "end_cycle": self.cycle, "status": hex(self._status())}


trial = tests_of(_Trial)
