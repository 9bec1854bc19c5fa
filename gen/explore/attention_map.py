"""Which tokens a softmax attention looks at, read off the simulated Verilog.

Probabilities never leave the array. But a row of results is the sum of the values, each times its probability: where
the values are the rows of an identity matrix, the results are the probabilities.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
import math
from typing import Any

import numpy as np

from ...hw.errors import WingbeatError
from ...sim.cycles.estimate import estimate
from ...sim.reference.functions import attended, attention
from ..compiler.network.builder import Operation, Stored
from ..compiler.network.compile import CompiledNetwork
from ..compiler.network.file import Attention
from ..compiler.network.inputs import input_lengths
from ..compiler.network.lower import Step, lower
from ..compiler.program.attention import Heads
from ..cosim.core import Build
from ..cosim.network import SegmentRun, simulate_segment

__all__ = ["AttentionMaps", "attention_maps"]


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """``probabilities`` (inputs, heads, queries, keys) of the attention ``layer``, as they left the simulated Verilog.
    ``mismatches``: elements of the memory that differ from the integer model, behind all runs that led to them.
    ``error``: the largest distance of a probability from the float64 network's."""

    layer: str
    probabilities: np.ndarray = field(repr=False)
    mismatches: int
    error: float


def attention_maps(compiled: CompiledNetwork, build: Build, inputs: Any) -> AttentionMaps:
    """The first softmax attention of ``compiled`` for ``inputs``, a batch at most.

    All that stands in front of it runs on the Verilog, from the inputs to queries, keys and values. Then the values in
    memory become rows of an identity matrix, and the softmax runs on the queries and keys that are there. Heads of d
    features tell of d keys in a run. Raises WingbeatError where ``compiled`` has no attention.
    """
    softmax = next((each for each in compiled.operations if each.step.kind == "attention"), None)
    if softmax is None:
        raise WingbeatError(f"network: {compiled.network.name!r} has no layer of kind attention; allowed is one that "
                            "has")
    memory, mismatches = compiled.memory(inputs)[0], 0
    for operations in _in_front(compiled, softmax):
        run = _simulated(compiled, build, operations, inputs, [memory])
        memory, mismatches = run.runs[0].data, mismatches + run.mismatches
    values, one = _values(compiled, softmax)
    run = _simulated(compiled, build, [softmax], inputs, [_with_values(memory, values, one * rows)
                                                          for rows in _identities(softmax.step)])
    unit = float(softmax.result.unit) / (one * float(values.unit))
    results = [softmax.result.tensor.unpack(each.data)[:len(inputs)] * unit for each in run.runs]
    probabilities = _by_head(softmax.step, results)
    error = float(np.abs(probabilities - _exact(compiled, softmax, inputs)).max())
    return AttentionMaps(softmax.step.name, probabilities, mismatches + run.mismatches, error)


def _in_front(compiled: CompiledNetwork, softmax: Operation) -> Iterator[tuple[Operation, ...]]:
    """What runs before ``softmax``, program after program."""
    for segment in compiled.segments:
        count = segment.operations.index(softmax) if softmax in segment.operations else len(segment.operations)
        if count:
            yield segment.operations[:count]
        if softmax in segment.operations:
            return


def _simulated(compiled: CompiledNetwork, build: Build, operations: Sequence[Operation], inputs: Any,
               memories: Sequence[np.ndarray]) -> SegmentRun:
    """A program of ``operations``, with the lengths of ``inputs``, on each of ``memories``."""
    segment = compiled.program_of(operations, inputs)
    placed = [compiled.placed(memory, segment) for memory in memories]
    program = segment.program
    predicted = estimate(compiled.config, program.instructions, program.setup, image=placed[0])
    return simulate_segment(compiled.config, build, segment, placed, predicted, operations[-1].step.name)


def _values(compiled: CompiledNetwork, softmax: Operation) -> tuple[Stored, int]:
    """Where the values stand, and the largest power of two whose results have room when a probability is 1."""
    values = next(each.result for each in compiled.operations if each.step.result is softmax.step.operands[1])
    room = min(0, softmax.result.format.exponent - values.format.exponent)
    return values, 1 << compiled.config.element_width - 2 + room


def _with_values(memory: np.ndarray, values: Stored, integers: np.ndarray) -> np.ndarray:
    """``memory`` with the same ``integers`` (tokens, features) as the values of every input."""
    tensor, changed = values.tensor, memory.copy()
    changed[tensor.base:tensor.base + tensor.beats] = tensor.pack(np.stack([integers] * tensor.batch))
    return changed


def _identities(step: Step) -> Iterator[np.ndarray]:
    """Values (keys, features) whose sums are probabilities: in each head of d features the rows of keys n to n + d - 1
    are those of an identity matrix, all others zero."""
    keys, heads = step.operands[1].shape.tokens, _heads(step)
    for first in range(0, keys, heads.features):
        yield np.tile(np.eye(keys, heads.features, -first, dtype=np.int64), heads.keys)


def _by_head(step: Step, results: Sequence[np.ndarray]) -> np.ndarray:
    """What each of :func:`_identities` gave, (inputs, queries, features), as (inputs, heads, queries, keys)."""
    heads = [each.reshape(*each.shape[:2], _heads(step).queries, -1).swapaxes(1, 2) for each in results]
    return np.concatenate(heads, axis=-1)[..., :step.operands[1].shape.tokens]


def _exact(compiled: CompiledNetwork, softmax: Operation, inputs: Any) -> np.ndarray:
    """The probabilities in float64."""
    step = lower(compiled.network, inputs).steps[compiled.operations.index(softmax)]
    assert step.layer is not None and isinstance(step.layer.spec, Attention)
    spec, heads, lengths = step.layer.spec, _heads(step), input_lengths(compiled.network, inputs)
    seen = attended(step.source.shape.tokens, spec.causal, spec.window)
    queries = step.source.floats * math.log(2) * math.sqrt(heads.features)  # those of the network
    return _by_head(step, [attention(queries, step.operands[0].floats,
                                     np.stack([rows] * len(inputs)).astype(np.float64), heads.queries, seen, lengths)
                           for rows in _identities(step)])


def _heads(step: Step) -> Heads:
    assert step.layer is not None
    return step.layer.heads
