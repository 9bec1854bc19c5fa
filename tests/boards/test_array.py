"""Boards with an array keep what hosts and users know of them: frames, flags, the pause that ends a frame."""

from wingbeat.boards.array import ArrayTop, LinkedArray
from wingbeat.boards.build import BOARDS


def test_array_boards():
    arrays = {name: top for name, top in BOARDS.items() if issubclass(top, ArrayTop)}
    assert sorted(arrays) == ["icebreaker", "ulx3s-array"]
    for top in arrays.values():
        assert not top.config().is_processor and top.flags == ("busy", "saturated")
        linked = top.linked(top.uart(), round(top.quiet_seconds * top.clock_hz))
        assert isinstance(linked, LinkedArray) and linked.link.timeout == 0.02 * top.clock_hz
        assert {"rx", "tx", "o_reset", *top.flags} == set(linked.signature.members)
