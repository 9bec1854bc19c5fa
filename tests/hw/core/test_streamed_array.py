"""An array behind AXI4-Stream: blocks pass, and what is said of the tlast of what came in."""

import random
from types import SimpleNamespace

from amaranth.hdl import Cat
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.core.streamed_array import StreamedArray
from wingbeat.hw.core.top import core
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.instruction import Halt, Load, Mode, Pass, Store
from wingbeat.hw.isa.setup import CONTROL_START, SETUP_CONTROL, SETUP_PROGRAM
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.bench.stream import Bench, Stall

BLOCKS = 4
CONFIGS = {words: CoreConfig.of(half_words=4 * words, coefficient_words=4, program_words=64, layers=1, element_width=12,
                                stream_words=words).changed(bus={"stream": "axi4-stream"}) for words in (1, 2)}


def program(config):
    """Blocks through passes that change nothing."""
    walk = Walk((0,), 0, config.half_words - 2)
    block = [Load(walk), Pass(Mode.PASS, 0, config.bank_rows, 0, (0,), first=True, last=True), Store(walk)]
    return encode([*(block * BLOCKS), Halt()])


def setup(config):
    words = [SETUP_PROGRAM | address << 8 | word << 24 for address, word in enumerate(program(config))]
    return [*words, SETUP_CONTROL | CONTROL_START << 24]


def expected(marks, beats):
    """Flags (unexpected, missing) of each block whose beats have these marks."""
    found, unexpected, missing = [], False, False
    for at in range(0, len(marks), beats):
        *early, final = marks[at:at + beats]
        unexpected, missing = unexpected or any(early), missing or not final
        found.append((int(unexpected), int(missing)))
    return found


def spoiled(beats):
    """Marks of all blocks, by what is wrong with them."""
    right = [at % beats == beats - 1 for at in range(BLOCKS * beats)]

    def changed(*places):
        return [mark ^ (at in places) for at, mark in enumerate(right)]
    return {"nothing": right, "one early": changed(beats), "one missing": changed(2 * beats - 1),
            "one late": changed(beats - 1, beats), "one packet": [at == len(right) - 1 for at in range(len(right))],
            "one short": changed(2 * beats - 2, 2 * beats - 1), "never": [False] * len(right),
            "always": [True] * len(right), "in the last block": changed(len(right) - 2)}


def run(config, data, source, sink, seed):
    """TDATA, TLAST, TUSER of the transfers that come out of a program that is started twice, with ``data`` as transfers
    that go in; and what the flags in the status were, one after the other."""
    dut = core(config)
    assert type(dut) is StreamedArray
    bench, history, status = Bench(dut, seed), [(0, 0)], dut.status
    bench.feed(SimpleNamespace(payload=Cat(dut.s_axis_tdata.as_value(), dut.s_axis_tlast), valid=dut.s_axis_tvalid,
                               ready=dut.s_axis_tready), data, source)
    found = bench.sink(SimpleNamespace(
        payload=Cat(dut.m_axis_tdata.as_value(), dut.m_axis_tlast, dut.m_axis_tuser.as_value()),
        valid=dut.m_axis_tvalid, ready=dut.m_axis_tready), len(data), sink)
    bench.feed(dut.i_setup, [*setup(config), setup(config)[-1]])

    async def watch(ctx):
        async for *_, unexpected, missing in ctx.tick().sample(status.tlast_unexpected, status.tlast_missing):
            history.extend([(unexpected, missing)] if history[-1] != (unexpected, missing) else [])
    bench.process(watch, background=True)
    bench.run(20_000)
    return found.words, history


@pytest.mark.parametrize("words, source, sink", [(1, Stall.NEVER, Stall.NEVER), (2, Stall.RANDOM, Stall.SHY),
                                                 (2, Stall.BURSTS, Stall.BURSTS)])
def test_flags_of_blocks(words, source, sink):
    """A program twice, the second time with every tlast right: the start clears what the first run has found. Flags do
    not depend on stalls."""
    config, seed = CONFIGS[words], 11
    beats, bits, rng = config.half_words // words, 2 * 16 * words, random.Random(seed)
    right = spoiled(beats)["nothing"]
    few = ("one early", "one late", "in the last block")
    for name, marks in spoiled(beats).items():
        if source is not Stall.NEVER and name not in few:
            continue
        sent = [[rng.getrandbits(12) for _ in range(2 * words)] for _ in range(2 * BLOCKS * beats)]
        data = [sum(value << 16 * at for at, value in enumerate(beat)) | mark << bits
                for beat, mark in zip(sent, [*marks, *right], strict=True)]
        found, history = run(config, data, source, sink, seed)
        flags = [*expected(marks, beats), *expected(right, beats)]
        for at, (word, beat) in enumerate(zip(found, sent, strict=True)):
            assert [word >> 16 * n & 0xFFF for n in range(2 * words)] == beat, f"{name}: beat {at}"
            assert word >> bits & 1 == (at % beats == beats - 1), f"{name}: beat {at}"
            tags = word >> bits + 1
            assert (tags >> 7 & 1, tags >> 8 & 1) == flags[at // beats] and not tags & 0x7F, f"{name}: beat {at}"
        assert history[-1] == (0, 0) and history[-2:][0] == flags[BLOCKS - 1], name
