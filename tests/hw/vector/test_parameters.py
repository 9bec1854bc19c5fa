"""Latencies and depths of the vector unit: the numbers that docs/reference/vector.md and the docstrings state, and
ranges.

That the hardware takes so long: test_normalise.py, test_rescale.py, test_argmax.py.
"""

from itertools import product

import pytest

from wingbeat.hw.config import CoreConfig, Pipeline
from wingbeat.hw.vector.argmax import Argmax
from wingbeat.hw.vector.normalise import Normalise
from wingbeat.hw.vector.parameters import ArgmaxTiming, LaneTiming, NormaliseTiming, RescaleTiming, residual_depth
from wingbeat.hw.vector.rescale import Rescale

SHAPES = [(16, 8, 16), (16, 8, 8), (12, 4, 1), (18, 2, 4), (10, 16, 2)]  # element_width, stream_words, lanes


@pytest.mark.parametrize("pipeline, scale, activation", [(Pipeline.DEEP, 8, 12), (Pipeline.SHORT, 5, 9)])
def test_lanes(pipeline, scale, activation):
    timing = LaneTiming(pipeline)
    assert (timing.scale_latency, timing.activation_latency) == (scale, activation)


@pytest.mark.parametrize("pipeline, latency", [(Pipeline.DEEP, 27), (Pipeline.SHORT, 20)])
def test_rescale(pipeline, latency):
    assert RescaleTiming(8, 8, pipeline).latency == latency
    for lanes in (1, 2, 4):
        timing = RescaleTiming(8, lanes, pipeline)
        assert timing.latency == latency + 8 // lanes and timing.pass_latency == 3


@pytest.mark.parametrize("lanes, pipeline", [*product((1, 2, 4, 8, 16, 32), Pipeline)])
def test_queues_hold_what_is_in_flight(lanes, pipeline):
    """A write that leaves has its place free before the next but one needs it; so have the groups of a beat."""
    rescale, normalise = RescaleTiming(32, lanes, pipeline), NormaliseTiming(32, lanes, 16, 1, pipeline)
    assert rescale.places * rescale.steps > rescale.latency + 2 * rescale.steps
    assert normalise.depth > normalise.result_latency + normalise.pieces
    for depth in (rescale.places, normalise.depth):
        assert depth & depth - 1 == 0


def test_rows_end_as_often_as_one_unit_can_have_them():
    assert [NormaliseTiming(8, 8, 16, units, Pipeline.DEEP).period for units in (1, 2, 3, 4)] == [38, 19, 13, 10]


@pytest.mark.parametrize("in_flight, depth", [(4, 8), (8, 8), (9, 16), (256, 256), (1000, 1024)])
def test_residual_waits_for_as_many_beats_as_may_come(in_flight, depth):
    assert residual_depth(CoreConfig.of(memory_bits=8, in_flight=in_flight)) == depth


@pytest.mark.parametrize("width, words, lanes", SHAPES)
@pytest.mark.parametrize("units", [1, 2, 3])
@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_what_a_configuration_means_is_what_the_units_are_built_with(pipeline, units, width, words, lanes):
    """The cycle model reads the configuration, the units have parameters of their own."""
    config = CoreConfig.of(width=18, element_width=width, engines=8, layers=1, stream_words=words, memory_bits=10,
                           vector_lanes=lanes, statistics_units=units, pipeline=pipeline)
    assert Normalise(config, lanes, 64, units, 1).parameters.timing == NormaliseTiming.of(config)
    assert Rescale(config, lanes, 64).parameters.timing == RescaleTiming.of(config)
    assert Argmax(config).latency == ArgmaxTiming.of(config).latency == ArgmaxTiming.of(config).stages + 1
