"""Places in a memory for what stands there for a while: words that are needed at one time do not share a place."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Lifetime", "allocate", "words_needed"]


class Lifetime(NamedTuple):
    """``size`` words that are needed from time ``first`` to time ``last``, both included."""

    first: int
    last: int
    size: int

    def meets(self, other: "Lifetime") -> bool:
        return self.first <= other.last and other.first <= self.last


def allocate(spans: Sequence[Lifetime]) -> list[int]:
    """The first word of each span. Each gets the lowest free place, once the largest ones first and once in the order
    of time; the better of both is taken."""
    numbers = range(len(spans))
    orders = (sorted(numbers, key=lambda n: (-spans[n].size, spans[n].first)),
              sorted(numbers, key=lambda n: (spans[n].first, -spans[n].size)))
    return min((_first_fit(spans, order) for order in orders), key=lambda places: words_needed(spans, places))


def words_needed(spans: Sequence[Lifetime], places: Sequence[int]) -> int:
    """Words of the memory that ``spans`` at ``places`` reach."""
    return max((place + span.size for place, span in zip(places, spans)), default=0)


def _first_fit(spans: Sequence[Lifetime], order: Sequence[int]) -> list[int]:
    places: dict[int, int] = {}
    for number in order:
        span, at = spans[number], 0
        taken = sorted((place, place + spans[other].size) for other, place in places.items()
                       if spans[other].meets(span))
        for start, end in taken:
            if start - at >= span.size:
                break
            at = max(at, end)
        places[number] = at
    return [places[number] for number in range(len(spans))]
