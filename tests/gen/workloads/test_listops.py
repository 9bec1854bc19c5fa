"""ListOps: the grammar against a naive evaluator, the generator, the split."""

import numpy as np
import pytest

from wingbeat.gen.workloads.listops import (CLASSES, PADDING, TOKENS, VOCABULARY, depth, evaluate, generate_expressions,
                                            load_split)
from wingbeat.hw.errors import WingbeatError


def tokens_of(text: str) -> np.ndarray:
    return np.array([VOCABULARY.index(word) for word in text.split()])


def naive(tokens: np.ndarray) -> int:
    """Python evaluates it: every operation becomes a call, every digit an argument."""
    calls = {"[MIN": "min((", "[MAX": "max((", "[MED": "int(median((", "[SM": "modulo(("}
    closing, text = [], ""
    for word in (VOCABULARY[token] for token in tokens if token != PADDING):
        if word in calls:
            text += calls[word]
            closing.append(calls[word].count("("))
        elif word == "]":
            text += ")" * closing.pop() + ","
        else:
            text += word + ","
    return eval(text.rstrip(","), {"min": min, "max": max, "int": int, "median": np.median,
                                   "modulo": lambda values: sum(values) % 10})


@pytest.mark.parametrize("text, value, levels", [
    ("[MAX 2 9 [MIN 4 7 ] 0 ]", 9, 2), ("[SM 9 9 9 ]", 7, 1), ("[MED 1 9 4 ]", 4, 1), ("[MED 1 4 ]", 2, 1),
    ("[MED 8 9 1 2 ]", 5, 1), ("[MIN [SM 5 5 ] [MAX 0 [MED 3 3 ] ] ]", 0, 3), ("7", 7, 0),
])
def test_value_and_depth(text, value, levels):
    tokens = tokens_of(text)
    assert evaluate(tokens) == naive(tokens) == value
    assert depth(tokens) == levels
    assert evaluate(np.concatenate([tokens, [PADDING] * 5])) == value


def test_values_against_the_naive_evaluator():
    tokens, labels = generate_expressions(2_000, seed=3)
    for row, label in zip(tokens, labels, strict=True):
        assert naive(row) == label == evaluate(row), f"seed 3: {[VOCABULARY[t] for t in row]}"


@pytest.mark.parametrize("text", ["", "[MAX", "[MAX 1", "1 2", "]", "[MIN ]", "[MIN 1 ] ]", "[MIN 1 ] 2",
                                  "[MIN PAD 1 ]"])
def test_what_is_no_expression_is_refused(text):
    with pytest.raises(WingbeatError, match=r"^tokens: .*allowed") as caught:
        evaluate(tokens_of(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("call", [lambda: generate_expressions(0, 1), lambda: generate_expressions(5, 1, length=7),
                                  lambda: load_split(100, 0)])
def test_bad_counts_are_refused(call):
    with pytest.raises(WingbeatError, match="allowed are"):
        call()


def test_same_seed_same_expressions():
    first, again, other = (generate_expressions(300, seed) for seed in (5, 5, 6))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_expressions_are_different_balanced_and_fit():
    tokens, labels = generate_expressions(1_005, seed=8, length=24)
    assert tokens.shape == (1_005, 24) and len(np.unique(tokens, axis=0)) == 1_005
    assert sorted(np.bincount(labels, minlength=CLASSES)) == [100] * 5 + [101] * 5
    assert tokens.min() >= 0 and tokens.max() < len(VOCABULARY)
    assert {depth(row) for row in tokens} == {1, 2, 3, 4}
    # Not in the order of the classes: every tenth of the rows holds about a tenth of each of them.
    assert all(np.bincount(part, minlength=CLASSES).min() > 0 for part in np.array_split(labels, 10))


def test_split_shares_no_expression_and_is_balanced():
    split = load_split(3_000, 500)
    assert split.train_tokens.shape == (3_000, TOKENS) and split.held_tokens.shape == (500, TOKENS)
    everything = np.concatenate([split.train_tokens, split.held_tokens])
    assert len(np.unique(everything, axis=0)) == 3_500
    assert np.bincount(split.held_labels).tolist() == [50] * CLASSES
    assert split.majority == 0.1
    assert 0.15 < split.root_operator < 0.4


def test_fingerprint_is_that_of_the_shipped_split():
    split = load_split(train=10)  # the held-out part is the same for any
    assert len(split.held_labels) == 2_000
    assert split.fingerprint == "a818b498a8e8d879b91e4ced720b7c4f450b605a127a564fc5ef314d927bb7f7"
