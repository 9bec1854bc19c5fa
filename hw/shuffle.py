"""Shuffle network: conditional swaps that take words from bank order to lane order and back.

Element i lives in bank XOR of the S-bit digits of i, so the words of a beat arrive at their lanes after an
XOR of the lane number with one constant: S levels of conditional swaps (design.md section 4).
"""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .shapes import lanes

__all__ = ["XorShuffle", "LaneReversal", "permuted", "permute_lanes", "lane_orders", "lane_order", "reverse_bits"]


def reverse_bits(value: int, bits: int) -> int:
    return sum((value >> i & 1) << (bits - 1 - i) for i in range(bits))


def lane_orders(layers: int) -> list[tuple[int, ...]]:
    """Lane orders that a walk can ask for, by ``reverse * S + rotation``.

    ``order[j]`` is the bank bit of lane bit j: (rotation + j) mod S, or (rotation - j) mod S.
    """
    return [tuple((rotation + sign * j) % layers for j in range(layers))
            for sign in (1, -1) for rotation in range(layers)]


def permute_lanes(words, order: tuple[int, ...], *, to_banks: bool) -> list:
    """Words in bank order (before the XOR) from words in lane order, or the inverse."""
    def bank(lane: int) -> int:
        return sum((lane >> j & 1) << order[j] for j in range(len(order)))
    n = 1 << len(order)
    if to_banks:
        by_bank = {bank(lane): words[lane] for lane in range(n)}
        return [by_bank[b] for b in range(n)]
    return [words[bank(lane)] for lane in range(n)]


def _distinct_orders(layers: int) -> dict[tuple[int, ...], list[int]]:
    """Every lane order once, the straight one first, with the codes ``reverse << 2 | rotation`` that ask for it."""
    codes: dict[tuple[int, ...], list[int]] = {}
    for number, order in enumerate(lane_orders(layers)):
        reverse, rotation = divmod(number, layers)
        codes.setdefault(order, []).append(reverse << 2 | rotation)
    return codes


def lane_order(m, command, layers: int):
    """Number of the lane order that the rotation and reversal of a LOAD or STORE instruction ask for.

    Latency: one cycle from ``command``, which then stands still.
    """
    codes = _distinct_orders(layers)
    order = Signal(range(len(codes)), name="lane_order", reset_less=True)
    m.d.sync += order.eq(0)
    with m.Switch(Cat(command.rotation, command.reverse)):
        for number, values in enumerate(codes.values()):
            with m.Case(*values):
                m.d.sync += order.eq(number)
    return order


def permuted(m, words, order, layers: int, *, to_banks: bool):
    """Words in lane order number ``order`` from words in bank order (before the XOR), or the inverse."""
    out = Signal(words.shape(), name="permuted")
    with m.Switch(order):
        for number, lanes_of in enumerate(_distinct_orders(layers)):
            with m.Case(number):
                for lane, value in enumerate(permute_lanes(words, lanes_of, to_banks=to_banks)):
                    m.d.comb += out[lane].eq(value)
    return out


class XorShuffle(wiring.Component):
    """o[l] = i[l ^ select], S levels.

    Formats: P words of W + W bits, unchanged. Latency: S cycles, one level of swaps each; ``select`` is
    sampled with the words. Throughput: one beat per cycle. With ``en`` low nothing moves (that is the only
    backpressure).
    Reset: none. Cost: 2*W*P LUTs per level. It is its own inverse.
    """

    def __init__(self, width: int, layers: int):
        self._layers = layers
        super().__init__({
            "en": In(1, init=1), "i": In(lanes(width, 1 << layers)), "select": In(layers),
            "o": Out(lanes(width, 1 << layers)),
        })

    def elaborate(self, platform):
        m = Module()
        words, select = self.i, self.select
        for level in range(self._layers):
            swapped = Signal(self.o.shape(), name=f"level{level}", reset_less=True)
            rest = Signal(len(select) - 1, name=f"select{level}", reset_less=True)
            with m.If(self.en):
                for lane in range(1 << self._layers):
                    m.d.sync += swapped[lane].eq(Mux(select[0], words[lane ^ 1 << level], words[lane]))
                m.d.sync += rest.eq(select[1:])
            words, select = swapped, rest
        m.d.comb += self.o.eq(words)
        return m


class LaneReversal(wiring.Component):
    """o[l] = i[bit-reversed l] where ``enable``, else i[l]: the direction of the strides (design.md section
    4).

    Latency: one cycle for S > 1, none for S = 1, which has nothing to reverse. Throughput: one beat per
    cycle. No backpressure, no reset.
    """

    def __init__(self, width: int, layers: int):
        self._layers = layers
        super().__init__({"i": In(lanes(width, 1 << layers)), "enable": In(1), "o": Out(lanes(width, 1 << layers))})

    def elaborate(self, platform):
        m = Module()
        if self._layers == 1:
            m.d.comb += self.o.eq(self.i)
            return m
        reversed_ = Signal(self.o.shape(), reset_less=True)
        order = Cat(self.i[reverse_bits(lane, self._layers)] for lane in range(1 << self._layers))
        m.d.sync += reversed_.eq(Mux(self.enable, order, self.i))
        m.d.comb += self.o.eq(reversed_)
        return m
