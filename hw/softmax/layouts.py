"""Payload layouts of the softmax blocks. Fields are packed from bit 0 in the order listed."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from ..config import CoreConfig
from ..isa.encoding import FIELDS
from ..isa.instruction import Opcode
from .parameters import MAXIMUM_BITS, total_bits

__all__ = ["row_info", "chain_control", "row_control", "column_softmax"]


def row_info(config: CoreConfig) -> data.StructLayout:
    """What an engine keeps of a row: its ``maximum`` and the number of the ``highest`` bit of its total."""
    return data.StructLayout({"maximum": signed(MAXIMUM_BITS),
                              "highest": unsigned((total_bits(config) - 1).bit_length())})


def chain_control() -> data.StructLayout:
    """``load``: the values of an engine enter; ``shift``: they move on; ``words``, ``exponents``, ``infos``: one of
    what comes back does."""
    return data.StructLayout({"load": 1, "shift": 1, "words": 1, "exponents": 1, "infos": 1})


def row_control(config: CoreConfig) -> data.StructLayout:
    """``row``, ``pair``: of the group that is read; ``weighs``: it is one of probabilities; ``bank``: of the maxima
    that its MAC goes by, the other has those of the chunk before. ``write``: exponents go to ``write_row``.
    ``write_infos``: infos go to ``info_pair`` of ``info_bank``. For each column: ``merge_im``, the kept sum that comes
    is one of im; ``divides``, ``is_logit`` as in ``column_softmax``."""
    pairs = range(max(2, config.softmax_pairs))
    column = data.StructLayout({"merge_im": 1, "divides": 1, "is_logit": 1})
    return data.StructLayout({
        "row": config.row_bits, "pair": pairs, "weighs": 1, "bank": 1, "shift": dict(FIELDS[Opcode.MAC])["shift"],
        "write": 1, "write_row": config.row_bits, "write_infos": 1, "info_pair": pairs, "info_bank": 1,
        "columns": data.ArrayLayout(column, config.layers)})


def column_softmax() -> data.StructLayout:
    """What a column knows of the rows of a softmax, re and im. ``align``: of the sum of a group, ``merge``: of the kept
    sum that comes, ``shifts``: of the sum that ends, where the MAC ``divides``. ``is_logit``: its values are."""
    align = data.StructLayout({"shift": 6, "is_dead": 1})
    return data.StructLayout({"align": data.ArrayLayout(align, 2), "merge": 6, "shifts": data.ArrayLayout(5, 2),
                              "divides": 1, "is_logit": 1})
