"""Cycles, traffic and energy of a network."""

import pytest

from wingbeat.gen.estimate.network import estimate_network, multiply_energy
from wingbeat.gen.output.network_files import random_calibration
from wingbeat.gen.presets.select import load_preset
from wingbeat.gen.workloads.shipped import load_trained


def test_published_energies():
    """Both widths that were published."""
    assert multiply_energy(8) == pytest.approx(0.2) and multiply_energy(32) == pytest.approx(3.1)
    assert 0.7 < multiply_energy(16) < 0.9


def test_digits():
    """The cycles are those that the simulated Verilog takes: tests/cosim/test_network.py compares them with the model.
    Other inputs change none of them."""
    network, config = load_trained("digits"), load_preset("hybrid-16")
    one, other = (estimate_network(network, config, random_calibration(network, seed).inputs, 2) for seed in (1, 2))
    assert (one.cycles, one.read, one.written) == (other.cycles, other.read, other.written)
    assert one.memory_bytes == (one.read + one.written) * 16 / 2  # beats of 8 elements of 16 bits
    assert one.per_second(100) == pytest.approx(2 * 100e6 / one.cycles)
    assert one.energy_uj > one.energy_memory_uj > 0
