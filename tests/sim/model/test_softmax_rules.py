"""MACs of softmaxes that stand behind each other: what goes on with rows that are known, and what is refused."""

from dataclasses import replace

import pytest

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.instruction import Mac, Mask, Mode, Pass, Softmax
from wingbeat.sim.model.softmax_rules import check_softmax

CONFIG = CoreConfig.of(layers=1, half_words=8192, coefficient_words=8192, ring_words=4096, partial_words=64,
                       stream_words=2, memory_bits=12, records=True, softmax_pairs=4)
LOGITS = Mac(4, 8, 2, 2, 32, 3, 9, softmax=Softmax.LOGITS, fresh=True)
MORE = replace(LOGITS, fresh=False, out_base=64)
VALUES = Mac(8, 3, 2, 3, 32, 2, 9, softmax=Softmax.VALUES)
KEPT, MERGED = replace(VALUES, keep=True), replace(VALUES, merge=True, out_base=64)
BUTTERFLY = Pass(Mode.BPMM, 0, 4, 1, (0,), coef_base=4096)
LARGE = replace(LOGITS, outputs=1024, log2_out_stride=10, out_base=2048)


def check(steps, mask=Mask()):
    check_softmax(CONFIG, [(step, mask) for step in steps])


@pytest.mark.parametrize("steps", [
    [], [BUTTERFLY, Mac(4, 2, 2, 2, 8, 1, 9)], [LOGITS], [LOGITS, VALUES], [LOGITS, BUTTERFLY, VALUES, VALUES],
    [LOGITS, KEPT, MORE, MERGED], [LOGITS, KEPT, MORE, replace(MERGED, out_base=32)],
    [LOGITS, replace(VALUES, inputs=4, out_base=36)], [LOGITS, VALUES, replace(LOGITS, pairs=4),
                                                             replace(VALUES, pairs=4)],
    [LARGE, replace(LARGE, fresh=False)]], ids=range(10))
def test_allowed(steps):
    check(steps)


@pytest.mark.parametrize("steps, message", [
    ([MORE], "^fresh: False of a MAC of 2 row pairs; the softmax before has 0$"),
    ([LOGITS, replace(MORE, pairs=3)], "^fresh: False of a MAC of 3 row pairs; the softmax before has 2$"),
    ([VALUES], "^pairs: 2 of a MAC of VALUES; the softmax before has 0$"),
    ([LOGITS, replace(VALUES, pairs=1)], "^pairs: 1 of a MAC of VALUES; the softmax before has 2$"),
    ([LOGITS, replace(VALUES, out_base=64)], "^out_base: 64 of a MAC of VALUES; not all rows from there on are prob"),
    ([LOGITS, replace(VALUES, inputs=9, log2_in_stride=4)], "^out_base: 32 of a MAC of VALUES"),
    ([LOGITS, replace(VALUES, out_base=40)], "^out_base: 40 of a MAC of VALUES"),
    ([LOGITS, replace(LOGITS, out_base=64), VALUES], "^out_base: 32 of a MAC of VALUES"),
    ([LOGITS, KEPT, LOGITS, replace(MERGED, out_base=32)],
     "^merge: the sums that were kept belong to the softmax before; a fresh one has begun$"),
    ([LARGE, replace(LARGE, fresh=False), MORE], "^outputs: 4112 keys of a softmax are too many; allowed are 4096$")],
    ids=range(10))
def test_refused(steps, message):
    with pytest.raises(ValueError, match=message):
        check(steps)


def test_numbers_of_keys():
    check([LOGITS], Mask(key=65520))
    with pytest.raises(ValueError, match="^key: 65522 of the first of 16 keys; allowed are 65520 and less$"):
        check([LOGITS], Mask(key=65522))
