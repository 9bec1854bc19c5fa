"""Rows of a table in memory that are picked by ids in memory: READs by id, copied to where the results stand."""

from collections.abc import Iterator
from dataclasses import replace

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ....hw.isa.bit_fields import pack
from ....hw.isa.descriptor import ID_FIELDS, Descriptor
from ..kernel.kernel import Kernel
from .assemble import Transfer
from .blocks import Start, parts_of
from .coefficients import CoefficientSpace
from .matrix import Matrix
from .operations import multiply_butterfly
from .stage import IdFetch, Stage, line

__all__ = ["pick_rows"]

_MOST_IDS = 1 << 15  # of one FETCH: an event of a descriptor moves by no more


def pick_rows(kernel: Kernel, ids: Matrix, table: Matrix, target: Matrix, coefficients: CoefficientSpace, name: str,
              start: Start = "cold") -> list[Transfer]:
    """Row r of ``target`` = row number ``ids``[r] of ``table``, through the copy of ``kernel``. An id is element 0 of
    its row, without sign; rows of the table stand a power of two of beats apart.

    Raises WingbeatError where the configuration keeps no ids.
    """
    config = kernel.config
    if not config.row_ids:
        raise WingbeatError(f"memory.row_ids: 0 of {config.name}; allowed are powers of two, for an embedding")
    transfers: list[Transfer] = []
    for first, rows in parts_of(ids.rows, min(config.row_ids, _MOST_IDS)):
        # As the reader counts: row r is id number r, whose beats follow one another.
        numbers = Matrix(0, rows, table.elements, 1)
        part = replace(target, base=target.base + first * target.pitch, rows=rows)
        blocks = multiply_butterfly(kernel, numbers, part, coefficients, name, "steady" if first else start)
        fetch = IdFetch(_ids(config, rows, table), rows, ids.base + first * ids.pitch)
        blocks[0] = blocks[0]._replace(block=blocks[0].block._replace(ids=fetch))
        transfers += _by_id(blocks)
    return transfers


def _ids(config: CoreConfig, rows: int, table: Matrix) -> Descriptor:
    """Of the FETCH of ``rows`` ids, each a beat."""
    form = pack(ID_FIELDS, {"last_id": table.rows - 1, "log2_pitch": table.pitch.bit_length() - 1})
    return replace(line(config, rows), other=table.base, keep=form)


def _by_id(blocks: list[Transfer]) -> Iterator[Transfer]:
    stages: dict[int, Stage] = {}
    for stage, block in blocks:
        if id(stage) not in stages:
            stages[id(stage)] = replace(stage, read=replace(stage.read, by_id=True))
        yield Transfer(stages[id(stage)], block)
