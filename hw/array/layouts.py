"""Payload layouts inside the array. Fields are packed from bit 0 in the order listed."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..config import CoreConfig
from ..isa.setup import coefficient_fields

__all__ = ["coefficient", "unit_coefficient", "engine_control", "switches", "half_control"]


def coefficient(width: int) -> data.StructLayout:
    """One word of a coefficient bank: two Q2.(C-2) numbers and the pivot bits."""
    shapes = {name: signed(bits) if bits == width else unsigned(bits) for name, bits in coefficient_fields(width)}
    return data.StructLayout(shapes)


def unit_coefficient(width: int) -> data.StructLayout:
    """What a butterfly unit receives: a coefficient word and what its mode means for the datapath."""
    return data.StructLayout({"word": coefficient(width), "fft": unsigned(1), "no_pivot": unsigned(1)})


def engine_control(config: CoreConfig) -> data.StructLayout:
    """What every engine does in the present cycle, each field for the stage that reads it
    (``hw/array/flow.py``)."""
    return data.StructLayout({
        "half": unsigned(1), "pre": switches(config.layers), "post": switches(config.layers),
        "shifts": data.ArrayLayout(unsigned(config.shift_bits), config.layers)})


def switches(layers: int) -> data.StructLayout:
    """Controls of a lane shuffle (``hw/array/shuffle.py``)."""
    return data.StructLayout({"folds": data.ArrayLayout(unsigned(2), layers // 2), "swaps": unsigned(layers // 2),
                              "middle": unsigned(layers % 2)})


def half_control(config: CoreConfig) -> data.StructLayout:
    """Ports of the banks of one half, the same in every engine; ``from_load``: the load unit writes, not the
    columns."""
    rows = data.ArrayLayout(unsigned(config.row_bits), config.lanes)
    return data.StructLayout({"r_en": unsigned(1), "r_rows": rows, "w_rows": rows, "from_load": unsigned(1),
                              "compute_en": unsigned(1)})
