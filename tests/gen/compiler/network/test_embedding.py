"""Embeddings: rows of a table against float64, and tokens that are none."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from wingbeat.gen.compiler.network.inputs import encode_inputs
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.hw.errors import WingbeatError


@pytest.mark.parametrize("weights, prefix, name", [("e", "", "e.weight"), ("", "", "weight"),
                                                   ("word", "model.", "model.word.weight")])
def test_embedding(tmp_path, weights, prefix, name):
    """Row n of the table for a token of number n, as torch has it; tokens are one number each, and no other input."""
    rng = np.random.default_rng(11)
    table, place = rng.standard_normal((5, 7)).astype(np.float32), rng.standard_normal((3, 7))
    (tmp_path / "net.toml").write_text(
        f'name = "net"\nprefix = "{prefix}"\nlayers = [{{kind = "embedding", weights = {json.dumps(weights)}}}, '
        '{kind = "position", weights = "p"}]\n[input]\ntokens = 3\nvocabulary = 5\n')
    save_file({name: table.astype(np.float64), f"{prefix}p": place}, tmp_path / "net.safetensors")
    network = load_network(tmp_path / "net.toml", tmp_path / "net.safetensors")
    assert network.takes_ids and (network.input, network.output) == ((3, 1), (3, 7))
    tokens = np.array([[0, 4, 2], [1, 1, 3]], dtype=np.uint8)
    found = forward(network, tokens)
    assert [path for path, _ in found] == ["layers[0]", "layers[1]"]
    one_hot = np.eye(5)[tokens]
    assert np.array_equal(found[0][1], one_hot @ table.astype(np.float64))
    assert np.array_equal(found[1][1], one_hot @ table.astype(np.float64) + place)
    encoded = encode_inputs(network, tokens)
    assert encoded.dtype == np.float64 and np.array_equal(encoded, tokens[:, :, None])
    for bad, message in ((tokens.astype(int) + 1, "inputs: tokens 1..5; allowed are 0..4"),
                         (tokens.astype(int) - 1, "inputs: tokens -1..3"), (tokens[:, :2], "inputs: shape (2, 2)"),
                         (tokens.astype(float), "inputs: float64 (2, 3); allowed are integers (count, 3)"),
                         (one_hot, "inputs: float64 (2, 3, 5)"), (encoded, "inputs: float64 (2, 3, 1)"),
                         (tokens[..., None], "inputs: uint8 (2, 3, 1)"), (tokens[0], "inputs: uint8 (3,)")):
        with pytest.raises(WingbeatError) as caught:
            encode_inputs(network, bad)
        assert message in str(caught.value) and "\n" not in str(caught.value)
