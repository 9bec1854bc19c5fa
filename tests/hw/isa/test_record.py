"""Records: the word of the setup port in the elements of a beat, for every element width."""

import random

import numpy as np
import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.bit_fields import pack
from wingbeat.hw.isa.record import record_beats, records_of
from wingbeat.hw.isa.setup import NO_TARGET, SETUP, SETUP_READER


def config_of(width):
    return CoreConfig.of(engines=4, layers=2, width=18, element_width=width, half_words=256, stream_words=16,
                         memory_bits=12, records=True)


@pytest.mark.parametrize("width", range(8, 19))
def test_there_and_back(width):
    """Signed elements of the width, whole beats, nobody's records at the end."""
    config, rng = config_of(width), random.Random(width)
    writes = [(rng.getrandbits(8), rng.getrandbits(16), rng.getrandbits(40)) for _ in range(13)]
    beats = record_beats(config, writes)
    found = records_of(config, beats)
    assert found[:13] == writes and set(found[13:]) <= {(NO_TARGET, 0, 0)}
    assert beats.shape == (-(-13 * config.record_elements // 32), 32)
    assert beats.min() >= -1 << width - 1 and beats.max() < 1 << width - 1
    assert config.record_elements * width >= 64 > config.record_elements // 2 * width


def test_low_element_first():
    [beat] = record_beats(config_of(16), [(SETUP_READER, 0x1234, 0xABCDEF0123)])
    word = pack(SETUP, {"target": SETUP_READER, "address": 0x1234, "data": 0xABCDEF0123})
    assert [element & 0xFFFF for element in beat[:4].tolist()] == [word >> 16 * at & 0xFFFF for at in range(4)]


def test_bits_above_a_record_mean_nothing():
    config = config_of(18)
    beats = record_beats(config, [(1, 2, 3)])
    noise = np.zeros_like(beats)
    noise[:, 3::4] = 1 << 12  # bit 66 of each record
    assert records_of(config, beats | noise) == records_of(config, beats)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="^address: 65536 does not fit 16 bits$"):
        record_beats(config_of(16), [(1, 65536, 0)])
