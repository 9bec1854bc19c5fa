"""RAM with one write and one read port, cut from the block RAMs of the target."""

from dataclasses import dataclass
from functools import cache, cached_property

from amaranth import Cat, ClockSignal, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..config import Pipeline, Target
from .memory import read_port, write_port
from .parameters import RAM_BITS
from .shared import once
from .signals import signals

__all__ = ["Ram", "RamParameters"]

# Shapes of an ECP5 DP16KD, width: depth. 36 is the pseudo dual port mode (PDPW16KD in the data sheet).
_SHAPES = {36: 512, 18: 1024, 9: 2048, 4: 4096, 2: 8192, 1: 16384}
_LUT_BITS = 128  # of a memory that is not worth a block RAM, which may lie far from those who read it


@dataclass(frozen=True)
class _Tiling:
    """``width`` x ``depth`` words as one block RAM of ``shape`` bits, or cut in two.

    ``parts`` are then the low and the high one: of the bits (``cut_width`` in the low part) or of the
    addresses (``cut_depth`` in the low part).
    """

    n_blocks: int
    mux_bits: int
    shape: int = 0
    cut_width: int = 0
    cut_depth: int = 0
    parts: "tuple[_Tiling, ...]" = ()


@cache
def _tile(width: int, depth: int) -> _Tiling:
    """Fewest block RAMs, then fewest multiplexer bits, for a memory of ``width`` x ``depth``."""
    for shape in sorted(_SHAPES):
        if shape >= width and _SHAPES[shape] >= depth:
            return _Tiling(1, 0, shape=shape)
    choices = []
    for shape in _SHAPES:
        if shape < width:
            low, high = _tile(shape, depth), _tile(width - shape, depth)
            choices.append(_Tiling(low.n_blocks + high.n_blocks, low.mux_bits + high.mux_bits,
                                   cut_width=shape, parts=(low, high)))
    if depth > min(_SHAPES.values()):
        # At the largest power of two below the depth: one address bit tells the two parts apart.
        rows = 1 << (depth - 1).bit_length() - 1
        low, high = _tile(width, rows), _tile(width, depth - rows)
        choices.append(_Tiling(low.n_blocks + high.n_blocks, low.mux_bits + high.mux_bits + width,
                               cut_depth=rows, parts=(low, high)))
    return min(choices, key=lambda choice: (choice.n_blocks, choice.mux_bits))


@dataclass(frozen=True)
class RamParameters:
    """``width`` bits (1..144) x ``depth`` entries (2..65536, any number), technology and pipeline. ``near``: in LUTs
    whatever its size, where what looks at its words wants them close by.

    Raises ValueError naming the field.
    """

    width: int
    depth: int
    target: Target = Target.PORTABLE
    pipeline: Pipeline = Pipeline.DEEP
    near: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("width", 1, RAM_BITS), ("depth", 2, 65536)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name}: {value} is out of range; allowed are {low}..{high}")

    @property
    def address_bits(self) -> int:
        return (self.depth - 1).bit_length()

    @property
    def latency(self) -> int:
        """Enabled cycles from read address to data."""
        return self.pipeline.ram_latency

    @cached_property
    def n_block_rams(self) -> int:
        """18 kbit block RAMs of an ECP5; the portable variant leaves the choice to the tool."""
        return 0 if self.is_small else _tile(self.width, self.depth).n_blocks

    @property
    def is_small(self) -> bool:
        """Whether LUTs hold it on an ECP5 too."""
        return self.near or self.width * self.depth <= _LUT_BITS


class Ram(wiring.Component):
    """Memory with one write port and one read port on one clock; all words are 0 at power-up.

    ``r_data`` shows word ``r_addr`` two *enabled* cycles later: while ``r_en`` is 0 neither the read stage nor the
    output register moves. A short pipeline has no output register. Reading the word that is written in the same cycle
    is undefined (a simulated portable memory returns the old word). Addresses at or above ``depth`` are undefined.

    Format: none, words of ``width`` bits pass unchanged.
    Latency: 2 (address register of the RAM, output register), in a short pipeline 1.
    Throughput: one read and one write per cycle.
    Backpressure: ``r_en`` is the enable of all stages.
    Reset: none, memory and outputs keep their bits.
    Cost: width * depth bits. ECP5, deep: ``n_block_rams`` DP16KD; up to 128 bits LUTs. A memory deeper than one block
    is cut so that as few output bits as possible need a multiplexer; that multiplexer follows the output registers
    combinationally.
    Source: own.
    """

    def __init__(self, parameters: RamParameters):
        self.parameters = parameters
        super().__init__({
            "w_en": In(1),
            "w_addr": In(parameters.address_bits),
            "w_data": In(parameters.width),
            "r_en": In(1),
            "r_addr": In(parameters.address_bits),
            "r_data": Out(parameters.width),
        })

    @once("parameters")
    def elaborate(self, platform) -> Module:
        m = Module()
        p = self.parameters
        if p.target is Target.ECP5 and p.pipeline.is_deep and not p.is_small:
            tiling = _tile(p.width, p.depth)
            data = self._tiled(m, tiling, self.w_en, self.w_addr, self.w_data, self.r_addr)
            m.d.comb += self.r_data.eq(data)
        else:
            self._portable(m)
        return m

    def _portable(self, m: Module) -> None:
        p = self.parameters
        # Without the attribute Yosys builds the old word around block RAMs that do not promise it.
        attributes = {"no_rw_check": 1} | ({"ram_style": "distributed"} if p.near else {})
        m.submodules.memory = memory = Memory(shape=p.width, depth=p.depth, init=[], attrs=attributes)
        write, read = write_port(memory), read_port(memory, "sync")
        m.d.comb += [write.en.eq(self.w_en), write.addr.eq(self.w_addr), write.data.eq(self.w_data),
                     read.en.eq(self.r_en), read.addr.eq(self.r_addr)]
        if not p.pipeline.is_deep:
            m.d.comb += self.r_data.eq(read.data)
            return
        output = Signal.like(self.r_data, name="output", reset_less=True)
        m.d.comb += self.r_data.eq(output)
        with m.If(self.r_en):
            m.d.sync += output.eq(read.data)

    def _tiled(self, m: Module, tiling: _Tiling, w_en: Value, w_addr: Value, w_data: Value,
               r_addr: Value) -> Value:
        """Build one tiling and return its read data."""
        if tiling.shape:
            return self._block(m, tiling.shape, w_en, w_addr, w_data, r_addr)
        low_part, high_part = tiling.parts
        if tiling.cut_width:
            return Cat(self._tiled(m, low_part, w_en, w_addr, w_data[:tiling.cut_width], r_addr),
                       self._tiled(m, high_part, w_en, w_addr, w_data[tiling.cut_width:], r_addr))
        # The address bit that tells the parts apart travels with the address through both register stages.
        bit = tiling.cut_depth.bit_length() - 1
        select, selected = signals("select selected", reset_less=True)
        with m.If(self.r_en):
            m.d.sync += [select.eq(r_addr[bit]), selected.eq(select)]
        low = self._tiled(m, low_part, w_en & ~w_addr[bit], w_addr[:bit], w_data, r_addr[:bit])
        high = self._tiled(m, high_part, w_en & w_addr[bit], w_addr[:bit], w_data, r_addr[:bit])
        return Mux(selected, high, low)

    def _block(self, m: Module, shape: int, w_en: Value, w_addr: Value, w_data: Value,
               r_addr: Value) -> Value:
        """One DP16KD: port A writes, port B reads through the output register.

        The 36-bit mode pairs both ports: DIA and DOA are the low 18 bits, DIB and DOB the high ones. (The
        swapped halves of PDPW16KD are a matter of its pin names; the DP16KD underneath keeps the order.)
        """
        paired = shape == 36
        data = Signal(36, name="w_bits")
        m.d.comb += data.eq(w_data)
        output = Signal(36, name="r_bits")
        # Address pins start at bit 14 - log2(depth); the write pins below are byte enables.
        low_pins = 14 - (_SHAPES[shape].bit_length() - 1)
        w_pins = Cat(Const((1 << low_pins) - 1, low_pins), w_addr)
        r_pins = Cat(Const(0, low_pins), r_addr)
        pins = {}
        for bit in range(14):
            pins[f"i_ADA{bit}"] = w_pins[bit] if bit < len(w_pins) else Const(0)
            pins[f"i_ADB{bit}"] = r_pins[bit] if bit < len(r_pins) else Const(0)
        for bit in range(18):
            pins[f"i_DIA{bit}"] = data[bit]
            pins[f"i_DIB{bit}"] = data[18 + bit] if paired else Const(0)
            pins[f"o_DOB{bit}"] = output[18 + bit] if paired else output[bit]
            if paired:
                pins[f"o_DOA{bit}"] = output[bit]
        for port in "AB":
            pins |= {f"p_DATA_WIDTH_{port}": shape, f"p_REGMODE_{port}": "OUTREG",
                     f"p_CSDECODE_{port}": "0b000", f"p_WRITEMODE_{port}": "NORMAL",
                     f"i_CLK{port}": ClockSignal(), f"i_RST{port}": Const(0), f"i_OCE{port}": self.r_en}
            pins |= {f"i_CS{port}{bit}": Const(0) for bit in range(3)}
        m.submodules += Instance("DP16KD", p_GSR="DISABLED", p_RESETMODE="SYNC", i_CEA=w_en, i_WEA=Const(1),
                                 i_CEB=self.r_en, i_WEB=Const(0), **pins)
        return output[:len(w_data)]
