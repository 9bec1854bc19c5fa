"""Places of tensors in memory: alignment, no overlap, reuse, and the same beats seen as different matrices."""

import random

import numpy as np
import pytest

from wingbeat.gen.compiler.network.tensors import Tensor, TensorMemory
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError

CONFIG = CoreConfig.of(engines=2, layers=1, stream_words=2, half_words=64, memory_bits=10)  # 4 elements a beat


@pytest.mark.parametrize("features, pitch", [(1, 1), (4, 1), (5, 2), (8, 2), (9, 4), (12, 4), (16, 4), (17, 8)])
def test_a_row_has_a_power_of_two_of_beats(features, pitch):
    tensor = TensorMemory(CONFIG, 2).take(3, features)
    assert tensor == Tensor(0, 3, 2, features, pitch, 4)
    assert tensor.beats == 3 * 2 * pitch


@pytest.mark.parametrize("seed", range(20))
def test_places_are_aligned_and_do_not_overlap(seed):
    rng, batch = random.Random(seed), 2 ** (seed % 4)
    memory, held, ever = TensorMemory(CONFIG, batch), [], 0
    for _ in range(60):
        if held and rng.random() < 0.5:
            memory.release(held.pop(rng.randrange(len(held))))
            continue
        unused = rng.random() < 0.2
        try:
            found = memory.take(rng.randint(1, 4), rng.randint(1, 40), unused=unused)
        except WingbeatError:
            continue
        assert found.base % (found.pitch * batch) == 0, f"seed {seed}"
        assert found.base + found.beats <= 1 << CONFIG.memory_bits, f"seed {seed}"
        for other in held:
            assert found.base >= other.base + other.beats or other.base >= found.base + found.beats, f"seed {seed}"
        assert not unused or found.base >= ever, f"seed {seed}"
        ever = max(ever, found.base + found.beats)
        assert memory.end == ever, f"seed {seed}"
        held.append(found)


def test_what_is_released_is_taken_again():
    memory = TensorMemory(CONFIG, 1)
    first, second = memory.take(4, 16), memory.take(1, 4)
    memory.release(first)
    assert memory.take(2, 4).base == first.base
    assert memory.take(4, 4, unused=True).base == second.base + second.beats
    assert memory.take(1, 4).base == first.base + 2


@pytest.mark.parametrize("rows, features, pitch", [(1, 4, 1), (7, 5, 2), (5, 9, 4), (3, 17, 8)])
def test_a_table_stands_behind_all(rows, features, pitch):
    """Whatever the batch; rows are a power of two of beats apart, and nothing that was free is taken."""
    memory = TensorMemory(CONFIG, 8)
    first, second = memory.take(4, 16), memory.take(1, 3)
    memory.release(first)
    table = memory.take_table(rows, features)
    assert table == Tensor(second.base + second.beats, rows, 1, features, pitch, 4)
    assert memory.end == table.base + rows * pitch
    assert memory.take(9, 16).base >= table.base + table.beats
    with pytest.raises(WingbeatError, match="^memory.address_bits: 10 are too few for "):
        memory.take_table(1 << CONFIG.memory_bits, features)


def test_a_copy_goes_its_own_way():
    memory = TensorMemory(CONFIG, 1)
    memory.take(4, 16)
    other = memory.copy()
    assert (other.end, other.batch) == (memory.end, 1)
    assert other.take(4, 16) == memory.take(4, 16)
    other.take(4, 16)
    assert other.end == memory.end + 16


def test_a_full_memory_names_the_field():
    memory = TensorMemory(CONFIG, 8)
    memory.take(16, 16)
    for options in ({}, {"unused": True}):
        with pytest.raises(WingbeatError) as caught:
            memory.take(16, 20, **options)
        assert str(caught.value) == ("memory.address_bits: 10 are too few for 1536 beats; allowed are 11 and more, or "
                                     "a smaller batch than 8")
    assert memory.end == 512


@pytest.mark.parametrize("tokens, batch, features", [(3, 2, 5), (1, 4, 16), (4, 1, 4), (5, 8, 9)])
def test_pack_and_unpack(tokens, batch, features):
    rng = np.random.default_rng([tokens, batch])
    memory = TensorMemory(CONFIG, batch)
    memory.take(2, 8)
    tensor = memory.take(tokens, features)
    values = rng.integers(-100, 100, (batch, tokens, features))
    beats = np.full((1 << CONFIG.memory_bits, 4), 99)
    beats[tensor.base:tensor.base + tensor.beats] = tensor.pack(values)
    assert np.array_equal(tensor.unpack(beats), values)
    for token in range(tokens):
        for number in range(batch):
            at = tensor.base + (token * batch + number) * tensor.pitch
            row = beats[at:at + tensor.pitch].ravel()
            assert np.array_equal(row[:features], values[number, token]) and not row[features:].any()
    fewer = tensor.pack(values[:1])
    assert np.array_equal(fewer.reshape(tokens, batch, -1)[:, 0, :features], values[0])
    assert not fewer.reshape(tokens, batch, -1)[:, 1:].any()


@pytest.mark.parametrize("tokens, batch, features", [(3, 2, 8), (4, 4, 16), (2, 1, 4)])
def test_matrices_over_the_same_beats(tokens, batch, features):
    rng = np.random.default_rng([tokens, batch, 1])
    tensor = TensorMemory(CONFIG, batch).take(tokens, features)
    values = rng.integers(-100, 100, (batch, tokens, features))
    beats = tensor.pack(values)
    assert np.array_equal(tensor.rows.unpack(beats), values.swapaxes(0, 1).reshape(-1, features))
    assert np.array_equal(tensor.flat.unpack(beats), values.reshape(batch, -1))
    assert np.array_equal(tensor.tokens_down.unpack(beats), values.swapaxes(0, 1).reshape(tokens, -1))
    for matrix in (tensor.rows, tensor.flat, tensor.tokens_down):
        assert (matrix.base, matrix.end) == (tensor.base, tensor.base + tensor.beats)
