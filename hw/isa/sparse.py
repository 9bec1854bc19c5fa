"""Where the elements of a sparse matrix belong: the picks that come in front of them, docs/reference/processor.md."""

from ..config import CoreConfig

__all__ = ["PICK_BITS", "LOG2_GROUPS", "pick_sets"]

PICK_BITS = 4           # that name the member of a group; the largest group has 2^PICK_BITS
LOG2_GROUPS = PICK_BITS


def pick_sets(config: CoreConfig) -> int:
    """Sets of S beats that one beat of picks serves: bits PICK_BITS * s and up of its element e are the pick of element
    e of set s."""
    return config.element_width // PICK_BITS
