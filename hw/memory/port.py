"""The memory port: beats by number, one read and one write stream.

A beat is what the memory moves in one cycle: 2K elements of a row, or K words (re in the lower element). Every memory
behind the port answers reads in their order and performs writes in their order. A read that is accepted once a write of
the same beat is reported as ``written`` brings what was written. An earlier read may bring either beat.
"""

from dataclasses import dataclass

from amaranth.hdl import Cat, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..config import CoreConfig
from ..numeric import slot_bits

__all__ = ["MemoryParameters", "MemoryPort", "in_slot"]


@dataclass(frozen=True)
class MemoryParameters:
    """``elements`` per beat, a power of two >= 2, of ``element_width`` bits; ``address_bits`` of a beat number.

    Where bytes hold a beat an element has a slot (hw/numeric.py) of 8 bits (elements of 8), 16 bits (9..16) or 32 bits
    (17, 18), sign-extended; the lowest element stands at the lowest address, the lowest byte first, and beat n stands
    ``n * beat_bytes`` behind beat 0. Raises ValueError naming the field.
    """

    elements: int
    element_width: int
    address_bits: int

    def __post_init__(self):
        if self.elements < 2 or self.elements & (self.elements - 1):
            raise ValueError(f"elements: {self.elements} is not a power of two of at least 2")
        if not 8 <= self.element_width <= 18:
            raise ValueError(f"element_width: {self.element_width} is not in 8..18")
        if not 1 <= self.address_bits <= 32:
            raise ValueError(f"address_bits: {self.address_bits} is not in 1..32")

    @classmethod
    def of(cls, config: CoreConfig) -> "MemoryParameters":
        """Port of the processor ``config``."""
        return cls(config.memory_elements, config.element_width, config.memory_bits)

    @property
    def slot_bits(self) -> int:
        """Bits that one element takes where bytes hold it."""
        return slot_bits(self.element_width)

    @property
    def beat_bytes(self) -> int:
        return self.elements * self.slot_bits // 8

    @property
    def beat(self) -> data.StructLayout:
        """One beat, the lowest element first."""
        return data.StructLayout({"elements": data.ArrayLayout(self.element_width, self.elements)})

    @property
    def write(self) -> data.StructLayout:
        """A beat to write; bit i of ``strobe`` says that element i is written."""
        return data.StructLayout({"address": self.address_bits, "strobe": self.elements, "beat": self.beat})


class MemoryPort(wiring.Signature):
    """The port, directions as the side that asks sees them.

    | member | |
    |---|---|
    | ``read`` | numbers of beats that are asked for |
    | ``beats`` | those beats, in the order of their numbers on ``read`` |
    | ``write`` | beats to write, with their numbers |
    | ``written`` | one cycle for every beat that reads can see from now on, in order |
    | ``refused`` | one cycle for every number outside the memory, of a read or of a write |
    | ``failed`` | high, for one cycle or more, where the memory could not do a read or a write |

    A read that is refused brings a beat of zeros. A write that is refused changes nothing and is reported as
    ``written``. So nobody waits for ever. What fails brings a beat of anything, or is reported as ``written``.
    ``refused`` and ``failed`` do not come later than the beat or the ``written`` of their request.
    """

    def __init__(self, parameters: MemoryParameters):
        self.parameters = parameters
        super().__init__({
            "read": Out(stream.Signature(parameters.address_bits)),
            "beats": In(stream.Signature(parameters.beat)),
            "write": Out(stream.Signature(parameters.write)),
            "written": In(1), "refused": In(1), "failed": In(1),
        })


def in_slot(element: Value, bits: int) -> Value:
    """An element in a slot of ``bits``, sign-extended."""
    return Cat(element, element[-1].replicate(bits - len(element)))
