"""ListOps at reduced length: nested list operations whose value, a digit, is to be told from the tokens.

The grammar is the public one of Long Range Arena (arXiv 2011.04006, after Nangia and Bowman, arXiv 1804.06028):

    expression = digit | OPERATOR argument argument ... "]"        OPERATOR = "[MIN", "[MAX", "[MED" or "[SM"

MED is the median, rounded down between two middle values, SM the sum modulo 10. The root is an operation and
every argument is one with probability 1/4, as there; what is reduced are the arguments (2..4 instead of 2..10),
the depth (4 instead of 10) and the length (64 tokens instead of 500..2,000). Everything is drawn here with a seed:
no data set is read. Only ``random.Random.random`` is used, whose sequence Python promises to keep, so that a seed
stands for the same expressions everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
import hashlib
import random

import numpy as np

from ...hw.errors import WingbeatError

__all__ = ["VOCABULARY", "PADDING", "TOKENS", "CLASSES", "ListOps", "evaluate", "depth", "generate_expressions",
           "load_split"]

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
VOCABULARY = ("PAD", *"0123456789", *OPERATORS, "]")  # a token is its place here: 16 one-hot inputs
PADDING = 0
TOKENS = 64
CLASSES = 10

_END = VOCABULARY.index("]")
_MAX_DEPTH = 4
_MAX_ARGUMENTS = 4
_OPERATION_SHARE = 0.25
_SPLIT_SEED = 20220
_TRAIN, _HELD = 120_000, 2_000

Tree = int | tuple[str, list]


def _value(operator: str, arguments: list[int]) -> int:
    if operator == "[MIN":
        return min(arguments)
    if operator == "[MAX":
        return max(arguments)
    if operator == "[SM":
        return sum(arguments) % 10
    ordered, middle = sorted(arguments), len(arguments) // 2
    return ordered[middle] if len(arguments) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def _walk(tokens: np.ndarray) -> tuple[int, int]:
    """Value and depth of an expression; padding at the end is left out. Raises WingbeatError."""
    open_operations: list[tuple[str, list[int]]] = []
    deepest, value = 0, None
    for place, token in enumerate(int(t) for t in np.trim_zeros(np.asarray(tokens), "b")):
        if not 0 < token < len(VOCABULARY) or value is not None or (token == _END and not open_operations):
            raise WingbeatError(f"tokens: {token} at {place} ends or breaks the expression; allowed is one operation")
        word = VOCABULARY[token]
        if word in OPERATORS:
            open_operations.append((word, []))
            deepest = max(deepest, len(open_operations))
            continue
        if token == _END:
            operator, arguments = open_operations.pop()
            if not arguments:
                raise WingbeatError(f"tokens: {operator} at {place} has no argument; allowed are 1 or more")
            result = _value(operator, arguments)
        else:
            result = int(word)
        if open_operations:
            open_operations[-1][1].append(result)
        else:
            value = result
    if value is None:
        raise WingbeatError(f"tokens: {len(open_operations)} operations are open at the end; allowed are 0 of 1")
    return value, deepest


def evaluate(tokens: np.ndarray) -> int:
    """Value, 0..9, of one expression (its tokens, padded or not). Raises WingbeatError where it is none."""
    return _walk(tokens)[0]


def depth(tokens: np.ndarray) -> int:
    """Operations around the innermost digit. Raises WingbeatError where ``tokens`` are no expression."""
    return _walk(tokens)[1]


class _Draw:
    """Random expressions of one seed."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        return int(self._random.random() * count)

    def operation(self, level: int = 1) -> list[int]:
        tokens = [VOCABULARY.index(OPERATORS[self.below(len(OPERATORS))])]
        for _ in range(2 + self.below(_MAX_ARGUMENTS - 1)):
            nested = level < _MAX_DEPTH and self._random.random() < _OPERATION_SHARE
            tokens += self.operation(level + 1) if nested else [1 + self.below(10)]
        return [*tokens, _END]

    def expressions(self, length: int) -> Iterator[tuple[int, ...]]:
        """Different ones that fit ``length`` tokens, without end."""
        seen = set()
        while True:
            tokens = tuple(self.operation())
            if len(tokens) <= length and tokens not in seen:
                seen.add(tokens)
                yield tokens


def generate_expressions(count: int, seed: int, length: int = TOKENS) -> tuple[np.ndarray, np.ndarray]:
    """``count`` different expressions, padded at their end: tokens (count, length) int64, labels (count,) int64.

    Every class has the same number of expressions, or one more where ``count`` is no multiple of 10; the order is
    random. Raises WingbeatError.
    """
    if count < 1 or length < 8:
        raise WingbeatError(f"count, length: {count}, {length}; allowed are counts >= 1 and lengths >= 8")
    draw = _Draw(seed)
    return _balanced(draw, draw.expressions(length), count, length)


def _balanced(draw: _Draw, expressions: Iterator[tuple[int, ...]], count: int,
              length: int) -> tuple[np.ndarray, np.ndarray]:
    """The next of ``expressions`` whose class has room."""
    room = [count // CLASSES + (label < count % CLASSES) for label in range(CLASSES)]
    tokens, labels = np.full((count, length), PADDING, np.int64), np.empty(count, np.int64)
    found = 0
    while found < count:
        expression = next(expressions)
        label = evaluate(np.array(expression))
        if room[label]:
            room[label] -= 1
            tokens[found, :len(expression)], labels[found] = expression, label
            found += 1
    # The last ones are all of the classes that are rare: mix them in.
    order = np.array(sorted(range(count), key=lambda _: draw.below(1 << 53)))
    return tokens[order], labels[order]


@dataclass(frozen=True, eq=False)
class ListOps:
    """Tokens (count, TOKENS) and labels of the training and of the held-out part; no expression is in both."""

    train_tokens: np.ndarray
    train_labels: np.ndarray
    held_tokens: np.ndarray
    held_labels: np.ndarray

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the held-out part: one byte per token and label, expression after expression."""
        rows = np.concatenate([self.held_tokens, self.held_labels[:, None]], axis=1)
        return hashlib.sha256(rows.astype(np.uint8).tobytes()).hexdigest()

    @property
    def majority(self) -> float:
        """Share of the held-out part that has the most frequent label of the training part."""
        return float((self.held_labels == np.bincount(self.train_labels).argmax()).mean())

    @property
    def root_operator(self) -> float:
        """Accuracy on the held-out part of the best guess from the first token alone."""
        guess = {first: np.bincount(self.train_labels[self.train_tokens[:, 0] == first]).argmax()
                 for first in np.unique(self.train_tokens[:, 0])}
        return float(np.mean([guess[row[0]] == label
                              for row, label in zip(self.held_tokens, self.held_labels, strict=True)]))


def load_split(train: int = _TRAIN, held: int = _HELD, seed: int = _SPLIT_SEED) -> ListOps:
    """Expressions of ``seed``: first those held out, whatever ``train`` is, then as many others to train with.

    Both parts are balanced. Raises WingbeatError where a part is empty. A few seconds.
    """
    if min(train, held) < 1:
        raise WingbeatError(f"train, held: {train}, {held}; allowed are 1 and more")
    draw = _Draw(seed)
    expressions = draw.expressions(TOKENS)
    held_part, train_part = (_balanced(draw, expressions, count, TOKENS) for count in (held, train))
    return ListOps(*train_part, *held_part)
