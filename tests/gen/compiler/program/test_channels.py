"""The channel table and the activation table of a program: each content once, refused where they do not fit."""

import numpy as np
import pytest

from wingbeat.gen.compiler.program.channels import ChannelTables
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.setup import SETUP_ACTIVATION, SETUP_CHANNELS
from wingbeat.hw.isa.vector_tables import GeluTable, channel_word
from wingbeat.sim.reference.functions import tanh_complement

CONFIG = CoreConfig.of(layers=1, stream_words=2, memory_bits=8, vector_lanes=4, channel_beats=4)  # 4 elements a beat


def channels(seed, beats):
    return np.random.default_rng(seed).integers(-(1 << 17), 1 << 17, (2, 4 * beats))


def test_equal_contents_have_one_place():
    tables = ChannelTables(CONFIG)
    assert [tables.place(*channels(seed, beats)) for seed, beats in ((1, 2), (2, 1), (1, 2), (2, 1), (3, 1))] == [
        0, 2, 0, 2, 3]


def test_words_hold_scale_and_bias():
    tables, (scale, bias) = ChannelTables(CONFIG), channels(5, 2)
    tables.place(*channels(4, 1))
    base = tables.place(scale, bias)
    words = {address: data for target, address, data in tables.setup() if target == SETUP_CHANNELS}
    assert sorted(words) == list(range(12))
    for number in range(8):
        assert words[4 * base + number] == channel_word(int(scale[number]), int(bias[number])), "seed 5"


def test_a_full_table_names_the_field():
    tables = ChannelTables(CONFIG)
    tables.place(*channels(1, 3))
    with pytest.raises(WingbeatError) as caught:
        tables.place(*channels(2, 2))
    assert str(caught.value) == ("channel_beats: 4 are too few for the scales and biases of a program; allowed are 5 "
                                 "and more")


def test_one_activation_a_program():
    tables = ChannelTables(CONFIG)
    assert tables.setup() == []
    tables.use_gelu("tanh")
    tables.use_gelu("tanh")
    with pytest.raises(WingbeatError, match="^approximate: 'none' and 'tanh' in one program; allowed is one of them$"):
        tables.use_gelu("none")
    words = GeluTable.of(16, tanh_complement).words()
    assert tables.setup() == [(SETUP_ACTIVATION, address, word) for address, word in enumerate(words)]
