"""Widths and latencies of the softmax blocks: numbers fit, and each latency is what its block shows."""

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import FIELDS
from wingbeat.hw.isa.instruction import Opcode
from wingbeat.hw.numeric import (LEAST_LOGIT, LOGIT_BITS, LOGIT_FRACTION_BITS, MAC_TERMS, TOTAL_GUARD_BITS, largest,
                                 smallest)
from wingbeat.hw.softmax.exponential import Exponential
from wingbeat.hw.softmax.finisher import Finisher
from wingbeat.hw.softmax.key_mask import KeyMask
from wingbeat.hw.softmax.parameters import (DISTANCE_BITS, MAXIMUM_BITS, LENGTH_LATENCY, LOGIT_LATENCY, MASK_LATENCY,
                                            QUOTIENT_LATENCY, STATE_LATENCY, exponential_latency, infos_latency,
                                            reciprocal_latency, row_lead, share_bits, state_cycles, total_bits,
                                            words_latency)
from wingbeat.hw.softmax.reciprocal import Reciprocal
from wingbeat.hw.softmax.row_state import RowState

CASES = [(1, 1, 1), (2, 4, 1), (2, 4, 2), (4, 1, 1), (1, 16, 4)]  # layers, engines, finishers


def config_of(layers, engines=1, finishers=1):
    return CoreConfig.of(layers=layers, engines=engines, width=18, half_words=256, coefficient_words=256, ring_words=64,
                         partial_words=16, records=True, memory_bits=12, stream_words=1 << layers, softmax_pairs=2,
                         finishers=finishers)


def rises(values):
    """Cycles in which a row of values is another one than in the cycle before."""
    return [cycle for cycle in range(1, len(values)) if values[cycle] != values[cycle - 1]]


def test_exponents_have_the_range_of_whole_parts():
    assert LEAST_LOGIT == smallest(LOGIT_BITS) >> LOGIT_FRACTION_BITS == smallest(MAXIMUM_BITS)
    assert largest(LOGIT_BITS) >> LOGIT_FRACTION_BITS == largest(MAXIMUM_BITS)


def test_distances_have_room():
    """The last key from the least limit; the first one from the largest limit of the last of 65536 rows, which is as
    many as there are keys."""
    key, limit = (dict(FIELDS[Opcode.MASK])[name] for name in ("key", "limit"))
    assert (1 << key) - 1 - smallest(limit) <= largest(DISTANCE_BITS)
    assert -(largest(limit) + 65535) >= smallest(DISTANCE_BITS)


@pytest.mark.parametrize("layers, width", [(1, 8), (2, 18), (4, 16)])
def test_sums_of_probabilities_fit(layers, width):
    """A bit less would not do."""
    config, most = CoreConfig.of(layers=layers, width=width, element_width=8), (1 << width - 1) - 1
    assert config.lanes * most < 1 << share_bits(config) <= 2 * config.lanes * most
    total = MAC_TERMS * most << TOTAL_GUARD_BITS
    assert total < 1 << total_bits(config) <= 2 * total + (MAC_TERMS << TOTAL_GUARD_BITS + 1)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_latency_of_an_exponential(drive, layers):
    config = config_of(layers)
    steps = [{"valid": 1, "first": lane == 0, "allowed": 1, "logit": 5000} for lane in range(config.lanes)]
    seen = drive(Exponential(config), steps + [{"valid": 0, "first": 0}] * 40, ("o_valid", "o_first"))
    valid = [cycle for cycle, bit in enumerate(seen["o_valid"]) if bit]
    assert valid == [exponential_latency(config) + lane for lane in range(config.lanes)]
    assert [cycle for cycle, bit in enumerate(seen["o_first"]) if bit] == valid[:1]


def test_latency_of_a_reciprocal(drive):
    config = config_of(2)
    outputs = ("highest", "reciprocal", "is_empty")
    seen = drive(Reciprocal(config), [{"total": 0}] * 20 + [{"total": 3 << 20}] * 20, outputs)
    assert [rises(seen[name])[-1] for name in outputs] == [20 + reciprocal_latency(config)] * 3


@pytest.mark.parametrize("late", [0, -1])
def test_latency_of_a_row_state(drive, late):
    """A row that is read state_cycles behind its share has it, a cycle earlier it has not."""
    config = config_of(2)
    share = {"valid": 1, "update": 1, "fresh": 1, "row": 3, "share": 77, "exponent": 5}
    old, again = share | {"share": 11}, {"valid": 1, "update": 0, "fresh": 0, "row": 3}
    rest = {"valid": 0, "row": 0, "fresh": 0}
    steps = [old] + [rest] * 20 + [share] + [rest] * (state_cycles(config) + late - 1) + [again] + [rest] * 9
    seen = drive(RowState(config, 8), steps, ("o_valid", "o", "old"))
    assert [cycle for cycle, bit in enumerate(seen["o_valid"]) if bit] == [STATE_LATENCY, 21 + STATE_LATENCY]
    read = seen["old"][21 + state_cycles(config) + late + config.ram_latency]
    total = read >> MAXIMUM_BITS
    assert total == (11 if late else 77) << TOTAL_GUARD_BITS


def test_latency_of_a_mask(drive):
    """Keys 0 and 1 of row 0, whose limit is 0: the second one does not count any more."""
    mask = {"key": 0, "limit": 0, "upper": 1, "window": 0, "length": 0, "slope": 0}
    still = {"mask": mask, "last_pair": 0, "length": 0, "step": 0}
    steps = [still | {"load": 1}] + [{"load": 0}] * 9 + [{"step": 1}] + [{"step": 0}] * 9
    seen = drive(KeyMask(config_of(1), 2, 0), steps, ("distance", "allowed"))
    # The step moves on to the second key a cycle later.
    assert rises(seen["distance"])[-1] == 11 + MASK_LATENCY - 1
    assert rises(seen["allowed"])[-1] == 11 + MASK_LATENCY


def ends(drive, config, divides):
    """Cycles from ``begin`` to the ends of words and infos, None where none come."""
    fields = {"divides": divides, "fresh": 1, "last_pair": 0, "shift": 20, "length": 0, "value": 1000,
              "mask": dict.fromkeys(("key", "limit", "upper", "window", "length", "slope"), 0), "ahead": 0, "begin": 0}
    begin = row_lead(config) + 5
    length = begin + infos_latency(config) + 20
    steps = [fields | {"load": 1}] + [{"load": 0, "ahead": divides and cycle == begin - row_lead(config),
                                       "begin": cycle == begin} for cycle in range(1, length)]
    seen = drive(Finisher(config), steps, ("words_end", "infos_end"))
    found = []
    for bits in seen.values():
        cycles = [cycle - begin for cycle, bit in enumerate(bits) if bit]
        assert len(cycles) < 2
        found.append(cycles[0] if cycles else None)
    return found


@pytest.mark.parametrize("layers, engines, finishers", CASES)
def test_latencies_of_a_finisher(drive, layers, engines, finishers):
    config = config_of(layers, engines, finishers)
    assert ends(drive, config, 0) == [words_latency(config, False), infos_latency(config)]
    assert ends(drive, config, 1) == [words_latency(config, True), None]
    values = 2 * config.lanes * engines // finishers
    assert words_latency(config, True) == values + QUOTIENT_LATENCY
    assert words_latency(config, False) == values + LOGIT_LATENCY + exponential_latency(config)
    assert infos_latency(config) > words_latency(config, False)


def test_latencies_in_numbers():
    """Of the usual configuration of eight engines, four lanes each; the table of lengths is a RAM behind a register."""
    config = config_of(2, 8)
    assert (exponential_latency(config), reciprocal_latency(config), state_cycles(config)) == (14, 8, 9)
    assert LENGTH_LATENCY == 1 + config.ram_latency
    assert row_lead(config) == config.ram_latency + reciprocal_latency(config) - 1
    assert (words_latency(config, True), words_latency(config, False), infos_latency(config)) == (72, 85, 95)
