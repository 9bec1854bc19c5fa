"""Shuffle network: conditional swaps that take words from bank order to lane order and back.

Element i lives in bank XOR of the S-bit digits of i, so the words of a beat arrive at their lanes after an
XOR of the lane number with one constant (docs/design.md section 4). The direction of the strides asks for the lanes
in bit-reversed order on top of that: S levels of conditional swaps do both.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..layouts import lanes
from .layouts import switches as switches_layout

__all__ = ["LaneShuffle", "steer", "permuted", "permute_lanes", "lane_orders", "lane_order", "shuffle_reverses",
           "reverse_bits"]


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


def shuffle_reverses(order, layers: int):
    """The part of lane order number ``order`` that :func:`steer` does: all of it up to two layers, beyond that none."""
    return order if layers == 2 else Const(0, 1)


def permuted(m, words, order, layers: int, *, to_banks: bool):
    """Words in lane order number ``order`` from words in bank order (before the XOR), or the inverse."""
    out = Signal(words.shape(), name="permuted")
    with m.Switch(order):
        for number, lanes_of in enumerate(_distinct_orders(layers)):
            with m.Case(number):
                for lane, value in enumerate(permute_lanes(words, lanes_of, to_banks=to_banks)):
                    m.d.comb += out[lane].eq(value)
    return out


def steer(m, select, reverse, layers: int, *, to_banks: bool):
    """The switches of a :class:`LaneShuffle` for the shuffle constant ``select``, without a register.

    From banks to lanes, ``reverse`` turns the bits of the lane around behind the XOR, to banks before it.
    """
    switches = Signal(switches_layout(layers), name="switches")
    if to_banks:
        select = Mux(reverse, Cat(reversed(select)), select)[:layers]
    for pair in range(layers // 2):
        low, high = select[pair], select[layers - 1 - pair]
        swap = low ^ high
        m.d.comb += [switches.folds[pair].eq(Cat(high ^ (swap & reverse), high ^ (~swap & reverse))),
                     switches.swaps[pair].eq(swap)]
    m.d.comb += switches.middle.eq(select[layers // 2:layers // 2 + layers % 2])
    return switches


class LaneShuffle(wiring.Component):
    """o[l] = i[l' ^ select], where l' is l, or l with its bits in reverse order: one of 2 * 2^S permutations.

    Bits j and S-1-j of the lane form a pair, which takes two levels of 2:1 switches. The first exchanges the words of
    lanes in which both bits differ, under one control where the two bits are alike and another where they are not; the
    second exchanges lanes that differ in bit j. So reversing the lanes costs nothing beside the XOR. The middle bit of
    an odd S is one level of its own.

    Format: P words of W + W bits, unchanged.
    Latency: S cycles, one for each level; ``switches`` (:func:`steer`) are sampled with the words.
    Throughput: one beat per cycle.
    Backpressure: with ``en`` low nothing moves.
    Reset: none.
    Cost: S levels of 2 * W * P LUTs and as many flip-flops.
    Source: docs/design.md section 4; docs/decisions/0009-one-shuffle-for-banks-and-direction.md.
    """

    def __init__(self, width: int, layers: int):
        self._layers = layers
        super().__init__({
            "en": In(1, init=1), "i": In(lanes(width, 1 << layers)), "switches": In(switches_layout(layers)),
            "o": Out(lanes(width, 1 << layers)),
        })

    def elaborate(self, platform):
        m = Module()
        words, switches = self.i, self.switches
        for number, (partner, control) in enumerate(_levels(self._layers)):
            moved = Signal(self.o.shape(), name=f"level{number}", reset_less=True)
            rest = Signal(switches.shape(), name=f"switches{number}", reset_less=True)
            with m.If(self.en):
                for lane in range(1 << self._layers):
                    m.d.sync += moved[lane].eq(Mux(control(switches, lane), words[lane ^ partner], words[lane]))
                m.d.sync += rest.eq(switches)
            words, switches = moved, rest
        m.d.comb += self.o.eq(words)
        return m


def _levels(layers: int):
    """For every level: in which bits the lanes differ that it exchanges, and the control of a lane."""
    for pair in range(layers // 2):
        low, high = 1 << pair, 1 << layers - 1 - pair
        yield low | high, lambda switches, lane, pair=pair, low=low, high=high: (
            switches.folds[pair][bool(lane & low) != bool(lane & high)])
        yield low, lambda switches, lane, pair=pair: switches.swaps[pair]
    if layers % 2:
        yield 1 << layers // 2, lambda switches, lane: switches.middle
