"""BlockLog: the entry of every block, what is left of a long program, and the next program."""

import random

import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.core.block_log import BlockLog

SEED = 6
NOTHING = {"clear": 0, "block": 0}


def config_of(blocks, pipeline):
    return CoreConfig.of(layers=1, half_words=16, coefficient_words=16, memory_bits=8, block_log=blocks,
                         pipeline=pipeline)


def report(entry):
    """``entry`` of 7 bits above ``valid``."""
    return {"clear": 0, "block": entry << 1 | 1}


@pytest.mark.parametrize("pipeline", Pipeline)
@pytest.mark.parametrize("blocks", [2, 16, 64])
def test_the_last_blocks_of_each_program_can_be_read(drive, blocks, pipeline):
    rng = random.Random(f"{SEED} {blocks}")
    kept, steps, wanted = [0] * blocks, [], {}
    for length in (blocks // 2, 3 * blocks + 1, 1):
        steps.append({"clear": 1, "block": 0})
        entries = [rng.getrandbits(7) for _ in range(length)]
        for number, entry in enumerate(entries):
            steps += [NOTHING] * rng.randrange(3) + [report(entry)]
            kept[number % blocks] = entry
        for address in rng.sample(range(blocks), blocks):
            wanted[len(steps) + pipeline.ram_latency] = kept[address]
            steps.append({**NOTHING, "address": address})
    seen = drive(BlockLog(config_of(blocks, pipeline)), steps + [NOTHING] * 3, ("data",))["data"]
    assert {cycle: seen[cycle] for cycle in wanted} == wanted, f"seed {SEED}"


def test_a_report_that_is_not_valid_is_no_block(drive):
    config = config_of(4, Pipeline.SHORT)
    steps = [report(5), {"clear": 0, "block": 9 << 1}, report(7), {**NOTHING, "address": 0}, {"address": 1},
             {"address": 2}, NOTHING]
    assert drive(BlockLog(config), steps, ("data",))["data"][4:] == [5, 7, 0]


def test_a_processor_without_a_log_has_none():
    with pytest.raises(ValueError, match="block_log: 0; allowed are powers of two from 2 on"):
        BlockLog(CoreConfig.of(memory_bits=8))
