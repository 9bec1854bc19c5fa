"""Cores that were synthesised for the estimator."""

from wingbeat.gen.estimate.samples import SAMPLES, load_syntheses, sample_config


def test_every_measurement_is_of_a_sample():
    measured = [each.name for each in load_syntheses()]
    assert len(set(measured)) == len(measured) and set(measured) <= SAMPLES.keys()
    assert {name for name in SAMPLES if SAMPLES[name].is_fitted} <= set(measured)


def test_samples_are_configurations():
    assert sample_config("processor_16").n_multipliers == 16
    assert sample_config("x2").bus.data_width == 32
