"""MACs that stand at places of their own, merge what was kept, and passes beside them; what breaks a rule."""

from dataclasses import replace

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Load, Mac, Mode, Pass, Softmax
from wingbeat.hw.isa.walk import Walk
from wingbeat.sim.model.mac_rules import check_macs, mac_rows

CONFIG = CoreConfig.of(layers=1, half_words=8192, coefficient_words=8192, ring_words=4096, partial_words=64,
                       stream_words=2, memory_bits=12, records=True)
MAC = Mac(4, 2, 2, 2, 8, 1, 9)
KEPT, MERGED = replace(MAC, keep=True), replace(MAC, merge=True)
BUTTERFLY = Pass(Mode.BPMM, 0, 4, 1, (0,), coef_base=4096)


LOAD = Load(Walk((0,), 30, 0))
# N:M: 2 of every 4 inputs, which lie 4 apart, in groups of two; 16 rows for 8 groups.
SPARSE = replace(MAC, inputs=8, log2_in_stride=4, out_base=32, picks=2, log2_group=2, log2_apart=1)


def check(steps, plain=False):
    """Of one block."""
    check_macs(CONFIG, [(replace(LOAD, plain=plain), steps)])


def test_rows():
    read, written = mac_rows(MAC)
    assert read.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]] and written.tolist() == [[8, 9], [10, 11]]
    read, written = mac_rows(replace(KEPT, out_base=0))
    assert read.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]] and written.shape == (2, 0)
    read, _ = mac_rows(SPARSE)
    assert read.tolist() == [list(range(16)), list(range(16, 32))]


def test_sparse():
    check([SPARSE], True)
    check([replace(SPARSE, keep=True), replace(SPARSE, merge=True)], True)
    with pytest.raises(ValueError, match="^inputs: 7 of a MAC; allowed are multiples of picks = 2$"):
        check([replace(SPARSE, inputs=7)], True)
    with pytest.raises(ValueError, match="^out_base: 16 lays results of the MAC over its inputs$"):
        check([replace(SPARSE, out_base=16)], True)
    for steps, plain in (([SPARSE], False), ([MAC], True), ([BUTTERFLY], True), ([SPARSE, MAC], True)):
        with pytest.raises(ValueError, match=f"^plain: {plain} of a LOAD; a sparse MAC, and nothing else, needs True$"):
            check(steps, plain)


@pytest.mark.thin(1)
@pytest.mark.parametrize("steps", [
    [], [MAC], [KEPT, MERGED], [KEPT, MAC, MERGED, MERGED], [KEPT, BUTTERFLY, replace(MERGED, keep=True), MERGED],
    [replace(KEPT, inputs=2000), replace(MERGED, inputs=48, out_base=4096)], [BUTTERFLY, MAC],
    [MAC, replace(BUTTERFLY, block_float=True, growth=(1,), first=True)],
    [replace(BUTTERFLY, coef_base=0)],
    [MAC, replace(BUTTERFLY, active=0, coef_base=0)], [MAC, replace(BUTTERFLY, mode=Mode.PASS, coef_base=0)]],
    ids=range(11))
def test_allowed(steps):
    check(steps)


@pytest.mark.thin(1)
@pytest.mark.parametrize("steps, message", [
    ([replace(MAC, out_base=9)], "out_base: 9 has bits of the strides: two results of the MAC have one place"),
    ([replace(MAC, out_base=10)], "out_base: 10 has bits of the strides: two results of the MAC have one place"),
    ([MAC, replace(MAC, out_base=4)], "out_base: 4 lays results of the MAC over its inputs"),
    ([MERGED], "merge: no MAC before has kept sums"),
    ([MAC, MERGED], "merge: no MAC before has kept sums"),
    ([KEPT, replace(MERGED, outputs=1)], "merge: 1 outputs of 2 row pairs; the sums that were kept are 2 of 2"),
    ([KEPT, replace(MERGED, pairs=1)], "merge: 2 outputs of 1 row pairs; the sums that were kept are 2 of 2"),
    ([KEPT, replace(KEPT, outputs=1), MERGED], "merge: 2 outputs of 2 row pairs; the sums that were kept are 1 of 2"),
    ([KEPT, replace(MERGED, softmax=Softmax.VALUES)], "merge: softmax = VALUES; the sums that were kept are of NONE"),
    ([replace(KEPT, inputs=2000), replace(MERGED, inputs=49, out_base=4096)],
     "merge: 4098 words of a sum are too many; allowed are 4096"),
    ([replace(KEPT, inputs=1000), replace(MERGED, inputs=1000, keep=True), replace(MERGED, inputs=50, out_base=4096)],
     "merge: 4100 words of a sum are too many; allowed are 4096"),
    ([MAC, replace(BUTTERFLY, block_float=True, growth=(1,))],
     "block_float: a PASS behind a MAC has no measure of its values; allowed is False"),
    ([replace(BUTTERFLY, coef_base=4095), MAC],
     "coef_base: 4095 of a PASS lies in the ring; allowed are 4096 and more beside MACs")], ids=range(13))
def test_refused(steps, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        check(steps)
