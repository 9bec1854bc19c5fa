"""Finisher with the chains of its engines: whole softmaxes of random rows, words, exponents and infos of the model."""

import random

import numpy as np
import pytest

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Mask, Softmax
from wingbeat.hw.numeric import LATE_SHIFTS, LOGIT_BITS, largest, round_half_up, saturate, smallest
from wingbeat.hw.softmax.chain import ValueChain
from wingbeat.hw.softmax.finisher import Finisher
from wingbeat.hw.softmax.parameters import infos_latency, row_lead, words_latency
from wingbeat.sim.model.attention import SoftmaxState
from wingbeat.sim.model.softmax import divided


class Group(wiring.Component):
    """The finisher behind the first of its engines, as an array has it."""

    def __init__(self, config):
        self.config, self.finisher = config, Finisher(config)
        self.chains = [ValueChain(config) for _ in range(config.engines)]
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.finisher = finisher = self.finisher
        for number, chain in enumerate(self.chains):
            m.submodules[f"chain{number}"] = chain
            behind = self.chains[number + 1] if number + 1 < len(self.chains) else None
            m.d.comb += [
                chain.control.load.eq(finisher.begin), chain.control.shift.eq(finisher.shifts),
                chain.control.words.eq(finisher.word_moves), chain.control.exponents.eq(finisher.exponent_moves),
                chain.control.infos.eq(finisher.info_moves),
                chain.i_word.eq(behind.o_word if behind else finisher.word),
                chain.i_exponent.eq(behind.o_exponent if behind else finisher.exponent),
                chain.i_info.eq(behind.o_info if behind else finisher.info)]
            if behind:
                m.d.comb += chain.i.eq(behind.o)
        m.d.comb += finisher.value.eq(self.chains[0].o)
        return m


def words_of(ctx, chain):
    return [ctx.get(word[part]) for part in ("re", "im") for word in chain.words]


class Run:
    """Drives a group: ``pieces`` are (cycle of begin, values of each engine); collects what stands in the chains."""

    def __init__(self, config):
        self.config, self.group, self.jobs = config, Group(config), []
        self.words, self.exponents, self.infos, self.saturated = [], [], [], False

    def mac(self, fields, pieces, spacing):
        """A MAC with its values, (engines, 2P) each, at the least distance or more."""
        self.jobs.append((fields, pieces, spacing))

    def _collect(self, ctx, words, infos):
        chains = self.group.chains
        if words:
            self.words.append([words_of(ctx, chain) for chain in chains])
            self.exponents.append([[ctx.get(e) for e in chain.exponents] for chain in chains])
        if infos:
            self.infos.append([[(ctx.get(i.maximum), ctx.get(i.highest)) for i in chain.infos] for chain in chains])

    def go(self):
        dut, group, config = self.group.finisher, self.group, self.config

        async def drive(ctx):
            for fields, pieces, spacings in self.jobs:
                for name, value in fields.items():
                    target = getattr(dut, name)
                    if isinstance(value, Mask):
                        for part in ("key", "limit", "upper", "window", "length", "slope"):
                            ctx.set(target[part], int(getattr(value, part)) & (1 << len(target[part])) - 1)
                    else:
                        ctx.set(target, value)
                ctx.set(dut.load, 1)
                await ctx.tick()
                ctx.set(dut.load, 0)
                begins = np.cumsum(spacings).tolist()
                for cycle in range(begins[-1] + infos_latency(config) + 4):
                    ctx.set(dut.ahead, fields["divides"] and cycle + row_lead(config) in begins)
                    ctx.set(dut.begin, cycle in begins)
                    if cycle in begins:
                        for chain, values in zip(group.chains, pieces[begins.index(cycle)]):
                            for at, value in enumerate(values):
                                ctx.set(chain.values[at], int(value))
                    if ctx.get(dut.words_end):
                        delay = words_latency(config, bool(fields["divides"]))
                        assert cycle - delay in begins, f"words end in cycle {cycle}"
                    if ctx.get(dut.infos_end):
                        assert cycle - infos_latency(config) in begins, f"infos end in cycle {cycle}"
                    words, infos = ctx.get(dut.words_end), ctx.get(dut.infos_end)
                    self.saturated |= bool(ctx.get(dut.saturated))
                    await ctx.tick()
                    self._collect(ctx, words, infos)

        simulator = Simulator(group)
        simulator.add_clock(1e-6)
        simulator.add_testbench(drive)
        simulator.run()


@pytest.mark.parametrize("layers, engines, width, pairs", [(2, 1, 18, 2), (2, 4, 18, 1), (1, 8, 16, 4), (4, 1, 18, 2)])
def test_softmaxes_of_the_model(layers, engines, width, pairs):
    seed = 7
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    config = CoreConfig.of(layers=layers, engines=engines, width=width, element_width=min(16, width), half_words=1024,
                           coefficient_words=1024, ring_words=256, partial_words=64, records=True, memory_bits=12,
                           stream_words=1 << layers, softmax_pairs=pairs)
    lanes, rows, groups = config.lanes, 2 * engines * pairs, 6
    for mask in (Mask(), Mask(key=2 * lanes, limit=5, upper=True, window=9), Mask(limit=-3, upper=True, slope=30000),
                 Mask(length=4)):
        model, run = SoftmaxState(config), Run(config)
        model.lengths[3], model.mask = 3 * lanes - 1, mask
        sums = rng.integers(-(1 << draw.choice((8, 14, 17, 21))), 1 << 20, (rows, groups * lanes))
        mac = Mac(4, groups, pairs, 2, 32, 3, 0, softmax=Softmax.LOGITS, fresh=True)
        p, saturated = model.exponentials(mac, sums)
        logits, _ = saturate(sums, LOGIT_BITS)
        shape = (2, engines, pairs, groups, lanes)
        least = 2 * lanes * engines
        spacing = [row_lead(config) + 1 + draw.randint(0, 9), *(
            max(least, 10 // pairs + 1) + draw.choice((0, 0, 3)) for _ in range(groups * pairs - 1))]
        run.mac({"divides": 0, "fresh": 1, "last_pair": pairs - 1, "mask": mask, "length": 3 * lanes - 1},
                pieces_of(logits.reshape(shape)), spacing)
        values = rng.integers(-(1 << 30), 1 << 30, (rows, 2 * lanes))
        # The last one is the most that a total allows.
        highest = min((int(total).bit_length() - 1 for total in model.rows.total if total), default=0)
        shift = min(31, draw.choice((4, 12, width + 4, highest + LATE_SHIFTS)))
        mac = Mac(4, 2, pairs, 2, 32, 3, shift, softmax=Softmax.VALUES)
        words, _ = model.divided(mac, values)
        narrow = narrowed(values, model.rows.total, shift, width)
        saturated |= is_clamped_late(narrow, model.rows.total, shift, width)
        # A column clamps to the bits of a logit; the sign and the lowest bits of that are a clamped sum.
        narrow = np.select([narrow == smallest(width), narrow == largest(width)],
                           [smallest(LOGIT_BITS), largest(LOGIT_BITS)], narrow)
        run.mac({"divides": 1, "shift": shift}, pieces_of(narrow.reshape(2, engines, pairs, 2, lanes)),
                [row_lead(config) + 1 + draw.randint(0, 9), *(least + draw.choice((0, 5))
                                                             for _ in range(2 * pairs - 1))])
        run.go()
        note = f"seed {seed}, {mask}"
        assert run.saturated == saturated, note
        assert run.words == [*pieces_of(p.reshape(shape)), *pieces_of(words.reshape(2, engines, pairs, 2, lanes))], note
        exponents = model.exponents[:, 32:].reshape(2, engines, pairs, -1)
        for number, found in enumerate(run.exponents[:groups * pairs]):
            group, pair = divmod(number, pairs)
            assert found == exponents[:, :, pair, pair << 3 | group].T.tolist(), note
        maxima, totals = (each.reshape(2, engines, pairs) for each in (model.rows.maximum, model.rows.total))
        for pair in range(pairs):
            for engine in range(engines):
                for part in range(2):
                    maximum, highest = run.infos[(groups - 1) * pairs + pair][engine][part]
                    total = int(totals[part, engine, pair])
                    assert maximum == maxima[part, engine, pair], note
                    assert not total or highest == total.bit_length() - 1, note


SMALL = CoreConfig.of(layers=1, engines=1, width=18, element_width=16, half_words=64, coefficient_words=64,
                      ring_words=32, partial_words=4, records=True, memory_bits=12, stream_words=2, softmax_pairs=1)


def two_keys(logits, sums, shift, mask=Mask()):
    """Runs a softmax of two rows with two keys each, and the division of two sums each. Returns the run, and words by
    the model."""
    model, run = SoftmaxState(SMALL), Run(SMALL)
    model.mask = mask
    model.exponentials(Mac(4, 1, 1, 2, 8, 0, 0, softmax=Softmax.LOGITS, fresh=True), np.array(logits))
    run.mac({"divides": 0, "fresh": 1, "last_pair": 0, "mask": mask, "length": 0}, [[np.ravel(logits)]],
            [row_lead(SMALL) + 1])
    words, _ = model.divided(Mac(4, 1, 1, 2, 8, 0, shift, softmax=Softmax.VALUES), np.array(sums))
    narrow = narrowed(np.array(sums), model.rows.total, shift, SMALL.width)
    run.mac({"divides": 1, "shift": shift}, [[np.ravel(narrow)]], [row_lead(SMALL) + 1])
    run.go()
    return run, words


@pytest.mark.parametrize("logit, is_told", [
    (smallest(LOGIT_BITS), True), (smallest(LOGIT_BITS) + 1, False), (largest(LOGIT_BITS), True),
    (largest(LOGIT_BITS) - 1, False)])
def test_logits_at_the_ends_are_told(logit, is_told):
    """If they count: with this mask row 0 has key 0 alone, row 1 both."""
    for row, key in ((0, 0), (1, 0), (1, 1), (0, 1)):
        logits = [[0, 0], [0, 0]]
        logits[row][key] = logit
        run, _ = two_keys(logits, [[0, 0], [0, 0]], 12, Mask(upper=True))
        assert run.saturated == (is_told and (row, key) != (0, 1)), (row, key)


@pytest.mark.parametrize("late", [0, 1, LATE_SHIFTS - 1, LATE_SHIFTS])
def test_division_of_small_sums(late):
    """The total of two equal keys is 2^18 or a little less; what would be a shift to the left follows the product."""
    run, words = two_keys([[0, 0], [0, 0]], [[3, -5], [40, -77]], 18 + late)
    assert run.words[-1] == [words.ravel().tolist()] and len(set(words.ravel().tolist())) == 4


def pieces_of(values):
    """What the engines have for P outputs of a row pair, one after the other: (engines, 2P) out of (part, engine, pair,
    group, lane)."""
    part, engines, pairs, groups, lanes = values.shape
    return values.transpose(3, 2, 1, 0, 4).reshape(groups * pairs, engines, part * lanes).tolist()


def is_clamped_late(narrow, totals, shift, width):
    """Whether a quotient is, of sums that have not been."""
    highest = np.array([int(total).bit_length() - 1 for total in totals])
    wide = narrow << np.maximum(highest - shift, 0)[:, None]
    return bool(divided(wide, totals, -shift, width)[1].any())


def narrowed(sums, totals, shift, width):
    """Sums as the columns shift them for the division; those of an empty row are 0 in an array."""
    highest = np.array([int(total).bit_length() - 1 for total in totals])
    found = saturate(round_half_up(sums, np.maximum(highest - shift, 0)[:, None]), width)[0]
    assert found.min() >= smallest(width) and found.max() <= largest(width)
    reference, _ = divided(sums, totals, -shift, width)
    assert reference.shape == found.shape
    return found
