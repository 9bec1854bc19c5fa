"""What a network costs on a processor without simulation: cycles, traffic, energy.

The energy is an order of magnitude: operations and bits that move, times what each takes in 45 nm at 0.9 V, as
published in M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, figure 1.1.9. It is
that of a chip. An FPGA needs more, and the static power of neither is counted.
"""

from dataclasses import dataclass
import math
from typing import Any

from ...hw.config import CoreConfig
from ..compiler.network.compile import CompiledNetwork, compile_network, default_batch
from ..compiler.network.load import LoadedNetwork
from ..cosim.network import predict_network

__all__ = ["NetworkEstimate", "estimate_network", "multiply_energy", "ENERGY_SOURCE"]

ENERGY_SOURCE = "Horowitz, ISSCC 2014, 45 nm, 0.9 V; an order of magnitude"
_MULTIPLY_8, _MULTIPLY_32 = 0.2, 3.1  # pJ, integers of 8 and of 32 bits
_ADD_8, _ADD_32 = 0.03, 0.1
_SRAM_64 = 10.0    # pJ, 64 bits of a memory of 8 KB
_DRAM_64 = 1300.0  # pJ, 64 bits, the lower end of what is published


@dataclass(frozen=True)
class NetworkEstimate:
    """A network on one batch of ``inputs`` with an ideal memory. ``cycles``, beats ``read`` and ``written`` are those
    of a batch, by the cycle model, which is exact; the others of an input. ``energy_uj`` in microjoule: the parts in
    the array, its buffers and the memory."""

    inputs: int
    cycles: int
    read: int
    written: int
    multiplications: int
    memory_bytes: float
    energy_array_uj: float
    energy_buffers_uj: float
    energy_memory_uj: float

    @property
    def energy_uj(self) -> float:
        return self.energy_array_uj + self.energy_buffers_uj + self.energy_memory_uj

    def per_second(self, mhz: float) -> float:
        """Inputs a second at a clock of ``mhz``, in full batches."""
        return self.inputs * mhz * 1e6 / self.cycles


def multiply_energy(bits: int) -> float:
    """Picojoule of a product of two integers of ``bits`` bits: the power of the width through both published ones."""
    return _MULTIPLY_8 * (bits / 8) ** math.log(_MULTIPLY_32 / _MULTIPLY_8, 4)


def _add_energy(bits: int) -> float:
    return _ADD_8 * (bits / 8) ** math.log(_ADD_32 / _ADD_8, 4)


def estimate_network(network: LoadedNetwork, config: CoreConfig, inputs: Any,
                     batch: int | None = None) -> NetworkEstimate:
    """``network`` compiled for ``config`` with ``inputs`` to find its formats. Raises WingbeatError where it does not
    fit, naming the field with which it would."""
    count = default_batch(network, config) if batch is None else batch
    return _estimated(compile_network(network, config, inputs, count, check=False))


def _estimated(compiled: CompiledNetwork) -> NetworkEstimate:
    config, found, batch = compiled.config, predict_network(compiled), compiled.batch
    read, written = (sum(each.units[f"{unit}_moving"] for each in found) for unit in ("reader", "writer"))
    products = sum(operation.useful for operation in compiled.operations)
    computing = sum(each.computing for each in found)
    # In a cycle every lane reads a word of two values and writes one, every unit reads a coefficient word for all.
    bits = 2 * config.engines * config.lanes * 2 * config.width + config.n_units * config.coefficient_bits
    banks = computing * bits
    beat_bits = config.memory_elements * config.element_width
    moved = (read + written) * beat_bits
    arithmetic = products * (multiply_energy(config.width) + _add_energy(config.width))
    energies = (arithmetic, banks / 64 * _SRAM_64, moved / 64 * _DRAM_64)
    return NetworkEstimate(batch, sum(each.total for each in found), read, written, products // batch,
                           moved / 8 / batch, *(value / batch / 1e6 for value in energies))
