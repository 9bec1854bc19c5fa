"""Places for what stands in a memory for a while: nothing overlaps, and room is used again."""

from hypothesis import given, strategies as st
import pytest

from wingbeat.gen.compiler.program.allocate import Lifetime, allocate, words_needed

SPANS = st.lists(st.builds(lambda first, length, size: Lifetime(first, first + length, size), st.integers(0, 20),
                           st.integers(0, 8), st.integers(1, 9)), max_size=20)


@given(SPANS)
def test_what_is_needed_at_one_time_shares_no_word(spans):
    places = allocate(spans)
    for number, (span, place) in enumerate(zip(spans, places)):
        assert place >= 0
        for other, taken in zip(spans[:number], places):
            if span.first <= other.last and other.first <= span.last:
                assert place + span.size <= taken or taken + other.size <= place


@given(SPANS)
def test_no_more_words_than_without_sharing(spans):
    most = max((sum(each.size for each in spans if each.first <= time <= each.last) for time in range(30)), default=0)
    assert most <= words_needed(spans, allocate(spans)) <= sum(span.size for span in spans)


@pytest.mark.parametrize("spans, places", [
    ([Lifetime(0, 1, 4), Lifetime(2, 3, 4)], [0, 0]),
    ([Lifetime(0, 2, 4), Lifetime(2, 3, 4)], [0, 4]),
    # The large one is there for long; the small ones take turns behind it and in its place.
    ([Lifetime(0, 1, 2), Lifetime(1, 2, 2), Lifetime(2, 3, 2), Lifetime(3, 9, 6)], [0, 2, 6, 0])])
def test_places(spans, places):
    assert allocate(spans) == places
