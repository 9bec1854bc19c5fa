"""Chain: registers of several engines in a row against lists: values that leave one after the other, words, exponents
and infos that come back in the same order."""

import random

import pytest

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.numeric import LOGIT_BITS, largest, smallest
from wingbeat.hw.softmax.chain import ValueChain, row_info
from wingbeat.hw.softmax.parameters import MAXIMUM_BITS, total_bits

SEED = 17


def config_of(layers, width=18):
    return CoreConfig.of(layers=layers, width=width, element_width=min(16, width))


class Row(wiring.Component):
    """Chains one behind the other; their controls are one, as a finisher gives it."""

    def __init__(self, config, engines):
        self.chains = [ValueChain(config) for _ in range(engines)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        for number, chain in enumerate(self.chains):
            m.submodules[f"chain{number}"] = chain
            if number + 1 < len(self.chains):
                behind = self.chains[number + 1]
                m.d.comb += [chain.i.eq(behind.o), chain.i_word.eq(behind.o_word),
                             chain.i_exponent.eq(behind.o_exponent), chain.i_info.eq(behind.o_info)]
            if number:
                m.d.comb += chain.control.eq(self.chains[0].control)
        return m


def draws(rng, config):
    """Numbers of every kind, often at the ends of their range."""
    def signed(bits):
        return rng.choice((smallest(bits), largest(bits), rng.randint(smallest(bits), largest(bits))))

    return {"i": signed(LOGIT_BITS), "i_word": signed(config.width), "i_exponent": signed(MAXIMUM_BITS),
            "i_info": (signed(MAXIMUM_BITS), rng.randrange(total_bits(config)))}


def shown(ctx, chain):
    """What stands at the outputs: words of re and then of im, exponents, infos."""
    words = [ctx.get(word[part]) for part in ("re", "im") for word in chain.words]
    infos = [(ctx.get(info.maximum), ctx.get(info.highest)) for info in chain.infos]
    return words, [ctx.get(exponent) for exponent in chain.exponents], infos


class Lists:
    """The same registers as lists, of all engines, the first engine first."""

    def __init__(self, config, engines):
        self.lanes, self.engines = config.lanes, engines
        self.values, self.words = ([0] * (2 * config.lanes * engines) for _ in range(2))
        self.exponents, self.infos = [0] * (2 * engines), [(0, 0)] * (2 * engines)

    def step(self, control, values, given):
        if control["load"]:
            self.values = [value for own in values for value in own]
        elif control["shift"]:
            self.values = [*self.values[1:], given["i"]]
        for kept, name in ((self.words, "word"), (self.exponents, "exponent"), (self.infos, "info")):
            if control[f"{name}s"]:
                kept[:] = [*kept[1:], given[f"i_{name}"]]

    def of(self, engine):
        """Words, exponents and infos of an engine; then what leaves at its front."""
        words, pairs = slice(2 * self.lanes * engine, 2 * self.lanes * (engine + 1)), slice(2 * engine, 2 * engine + 2)
        own = self.words[words], self.exponents[pairs], self.infos[pairs]
        return own, (self.values[words][0], own[0][0], own[1][0], own[2][0])


def set_inputs(ctx, config, row, control, values, given):
    head, last = row.chains[0], row.chains[-1]
    for name, bit in control.items():
        ctx.set(head.control[name], bit)
    for chain, own in zip(row.chains, values):
        for at, value in enumerate(own):
            ctx.set(chain.values[at], value)
    for name in ("i", "i_word", "i_exponent"):
        ctx.set(getattr(last, name), given[name])
    ctx.set(last.i_info, row_info(config).const(dict(zip(("maximum", "highest"), given["i_info"]))))


def simulate(row, bench):
    simulator = Simulator(row)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize("layers, engines, width", [(1, 1, 8), (2, 3, 18), (4, 2, 16)])
def test_random_moves(layers, engines, width):
    """Any control in any cycle: all four kinds move at once, in turn or not at all."""
    seed = f"{SEED} {layers}"
    rng, config = random.Random(seed), config_of(layers, width)
    row, lists = Row(config, engines), Lists(config, engines)

    async def bench(ctx):
        for cycle in range(400):
            control = {"load": rng.random() < 0.05, **{name: rng.random() < 0.6 for name in (
                "shift", "words", "exponents", "infos")}}
            values = [[draws(rng, config)["i"] for _ in range(2 * config.lanes)] for _ in range(engines)]
            given = draws(rng, config)
            set_inputs(ctx, config, row, control, values, given)
            await ctx.tick()
            lists.step(control, values, given)
            for engine, chain in enumerate(row.chains):
                note = f"seed {seed}, cycle {cycle}, engine {engine}"
                own, front = lists.of(engine)
                assert shown(ctx, chain) == own, note
                info = ctx.get(chain.o_info.maximum), ctx.get(chain.o_info.highest)
                assert (ctx.get(chain.o), ctx.get(chain.o_word), ctx.get(chain.o_exponent), info) == front, note

    simulate(row, bench)


def test_what_leaves_comes_back_to_where_it_was():
    """Values leave re first, engine after engine, a cycle behind ``load``; words in the same order reach the engines
    that the values came from."""
    config, engines, left = config_of(2), 2, []
    row = Row(config, engines)
    still = {"load": 0, "shift": 0, "words": 0, "exponents": 0, "infos": 0}
    values = [[100 * engine + at for at in range(8)] for engine in range(engines)]
    given = {"i": 0, "i_word": 0, "i_exponent": 0, "i_info": (0, 0)}

    async def bench(ctx):
        set_inputs(ctx, config, row, still | {"load": 1}, values, given)
        await ctx.tick()
        for _ in range(16):
            value = ctx.get(row.chains[0].o)
            left.append(value)
            set_inputs(ctx, config, row, still | {"shift": 1, "words": 1}, values, given | {"i_word": -value - 1})
            await ctx.tick()
        for pair in range(4):
            set_inputs(ctx, config, row, still | {"exponents": 1, "infos": 1}, values,
                       given | {"i_exponent": -pair, "i_info": (pair, pair + 9)})
            await ctx.tick()
        for engine, chain in enumerate(row.chains):
            words, exponents, infos = shown(ctx, chain)
            assert words == [-value - 1 for value in values[engine]]
            assert exponents == [-2 * engine, -2 * engine - 1]
            assert infos == [(2 * engine, 2 * engine + 9), (2 * engine + 1, 2 * engine + 10)]

    simulate(row, bench)
    assert left == values[0] + values[1]
