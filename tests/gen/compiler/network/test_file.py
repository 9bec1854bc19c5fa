"""The network file: what is read, and that everything malformed is one line: field, value, what is allowed."""

from pathlib import Path
import re

import pytest

from wingbeat.gen.compiler.network.file import read_network_file
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.hw.errors import WingbeatError


def text(*layers):
    return f'name = "net"\nlayers = [{", ".join(layers)}]\n[input]\ntokens = 1\nfeatures = 8\n'


B = '{kind = "butterfly", weights = "q"}'
LONG = "p" * 129
OK = text(B)
TOP = 'layers = [{kind = "relu"}]\n[input]\ntokens = 1\nfeatures = 8\n'
BAD_TOML = {
    # the text, what the one line must hold
    "no TOML": ("name = ", ["network: 'net.toml' is not a TOML file"]),
    "cut off": (OK[:-12] + "\nfeat", ["network: 'net.toml'"]),
    "duplicate key": ('name = "a"\nname = "b"\n' + TOP, ["network: 'net.toml'"]),
    "duplicate table": (OK + "[input]\ntokens = 1\n", ["network: 'net.toml'"]),
    "no UTF-8": (b"name = \"\xff\xfe\"", ["network: 'net.toml'"]),
    "pickle": (b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", ["network: 'net.toml'"]),
    "nested too deep": ("name = " + "[" * 5000, ["network: 'net.toml'"]),
    "number too long": ("name = " + "1" * 5000, ["network: 'net.toml'"]),
    "empty": ("", ["name: missing"]),
    "name missing": (TOP, ["name: missing"]),
    "name a number": ("name = 3\n" + TOP, ["name: 3", "string"]),
    "name a path": ('name = "../../etc/x"\n' + TOP, ["name: '../../etc/x'", "allowed"]),
    "name a keyword": ('name = "module"\n' + TOP, ["name: 'module'", "allowed"]),
    "name with Verilog": ('name = "x;endmodule"\n' + TOP, ["name: 'x;endmodule'", "allowed"]),
    "name of two lines": ('name = "a\\nb"\n' + TOP, ["name: 'a\\nb'", "allowed"]),
    "name empty": ('name = ""\n' + TOP, ["name: ''", "allowed"]),
    "name too long": (f'name = "{"n" * 64}"\n' + TOP, ["name: ", "allowed"]),
    "unknown key": ('name = "n"\ncolour = 1\n' + TOP, ["colour: unknown", "allowed are name, prefix"]),
    "unknown key of two lines": ('name = "n"\n"a\\nb" = 1\n' + TOP, ["unknown"]),
    "prefix without a dot": ('name = "n"\nprefix = "model"\n' + TOP, ["prefix: 'model'"]),
    "prefix a path": ('name = "n"\nprefix = "../"\n' + TOP, ["prefix: '../'"]),
    "ignore no list": ('name = "n"\nignore = "a"\n' + TOP, ["ignore: 'a'"]),
    "ignore of numbers": ('name = "n"\nignore = [1]\n' + TOP, ["ignore[0]: 1"]),
    "input missing": ('name = "n"\nlayers = [{kind = "relu"}]', ["input: missing"]),
    "input a number": ('name = "n"\ninput = 8\nlayers = [{kind = "relu"}]', ["input: 8"]),
    "tokens missing": (OK.replace("tokens = 1", ""), ["input.tokens: missing"]),
    "tokens zero": (OK.replace("tokens = 1", "tokens = 0"), ["input.tokens: 0", "greater than or equal to 1"]),
    "tokens negative": (OK.replace("tokens = 1", "tokens = -8"), ["input.tokens: -8"]),
    "tokens huge": (OK.replace("tokens = 1", "tokens = 1000000000000"), ["input.tokens: 1000000000000", "65536"]),
    "tokens of 40,000 bits": (OK.replace("tokens = 1", "tokens = 0x" + "f" * 10000),
                              ["input.tokens: a number of 40000 bits"]),
    "tokens a float": (OK.replace("tokens = 1", "tokens = 1.0"), ["input.tokens: 1.0", "integer"]),
    "tokens a truth value": (OK.replace("tokens = 1", "tokens = true"), ["input.tokens: True", "integer"]),
    "tokens a text": (OK.replace("tokens = 1", 'tokens = "1"'), ["input.tokens: '1'", "integer"]),
    "features missing": (OK.replace("features = 8", ""), ["input: features = None", "exactly one"]),
    "features twice": (OK + "vocabulary = 3\n", ["input: features = 8, vocabulary = 3", "exactly one"]),
    "features zero": (OK.replace("features = 8", "features = 0"), ["input.features: 0"]),
    "vocabulary huge": (OK.replace("features = 8", "vocabulary = 65537"), ["input.vocabulary: 65537", "65536"]),
    "unknown key of the input": (OK + "channels = 3\n", ["input.channels: unknown", "vocabulary"]),
    "no layers": (text(), ["layers: ", "at least 1"]),
    "layers a number": (OK.replace(f"[{B}]", "3"), ["layers: 3"]),
    "layers one table": (OK.replace(f"[{B}]", B), ["layers: {"]),
    "layer a number": (text("3"), ["layers[0]"]),
    "layer without a kind": (text("{}"), ["layers[0].kind: missing", "allowed are butterfly, linear, embedding"]),
    "unknown kind": (text(B, '{kind = "conv"}'), ["layers[1].kind: 'conv'", "allowed are butterfly"]),
    "kind a number": (text("{kind = 3}"), ["layers[0].kind: 3"]),
    "kind a list": (text("{kind = [3]}"), ["layers[0].kind: [3]"]),
    "weights missing": (text('{kind = "butterfly"}'), ["layers[0].weights: missing"]),
    "weights a number": (text('{kind = "butterfly", weights = 3}'), ["layers[0].weights: 3"]),
    "weights a path": (text('{kind = "butterfly", weights = "../../q"}'), ["layers[0].weights: '../../q'"]),
    "weights absolute": (text('{kind = "position", weights = "/etc/passwd"}'), ["layers[0].weights: '/etc/passwd'"]),
    "weights with dots": (text('{kind = "layernorm", weights = "a..b"}'), ["layers[0].weights: 'a..b'"]),
    "weights of two lines": (text('{kind = "layernorm", weights = "a\\nb"}'), ["layers[0].weights: 'a\\nb'"]),
    "weights at the end of a line": (text('{kind = "layernorm", weights = "a\\n"}'), ["layers[0].weights: 'a\\n'"]),
    "weights with NUL": (text('{kind = "layernorm", weights = "a\\u0000"}'), ["layers[0].weights"]),
    "weights too long": (text(f'{{kind = "position", weights = "{LONG}"}}'), ["layers[0].weights", "128"]),
    "weights empty": (text('{kind = "position", weights = ""}'), ["layers[0].weights: ''"]),
    "embedding without weights": (text('{kind = "embedding"}'), ["layers[0].weights: missing"]),
    "embedding with a size": (text('{kind = "embedding", weights = "e", features = 8}'),
                              ["layers[0].features: unknown", "allowed are kind, weights"]),
    "embedding a path": (text('{kind = "embedding", weights = "../e"}'), ["layers[0].weights: '../e'"]),
    "unknown field": (text('{kind = "relu", weights = "r"}'), ["layers[0].weights: unknown", "allowed are kind"]),
    "out_features zero": (text('{kind = "butterfly", weights = "q", out_features = 0}'), ["layers[0].out_features: 0"]),
    "out_features huge": (text('{kind = "butterfly", weights = "q", out_features = 1099511627776}'),
                          ["layers[0].out_features: 1099511627776"]),
    "stride a number": (text('{kind = "butterfly", weights = "q", increasing_stride = 1}'),
                        ["layers[0].increasing_stride: 1", "boolean"]),
    "epsilon zero": (text('{kind = "layernorm", weights = "n", epsilon = 0.0}'), ["layers[0].epsilon: 0.0"]),
    "epsilon nan": (text('{kind = "layernorm", weights = "n", epsilon = nan}'), ["layers[0].epsilon: nan", "finite"]),
    "epsilon infinite": (text('{kind = "layernorm", weights = "n", epsilon = inf}'), ["layers[0].epsilon: inf"]),
    "norm unknown": (text('{kind = "mixing", norm = "backward"}'), ["layers[0].norm: 'backward'", "'ortho' or 'none'"]),
    "approximate unknown": (text('{kind = "gelu", approximate = "erf"}'), ["layers[0].approximate: 'erf'", "'tanh'"]),
    "heads missing": (text('{kind = "attention", weights = "a"}'), ["layers[0].heads: missing"]),
    "window zero": (text('{kind = "attention", weights = "a", heads = 2, window = 0}'), ["layers[0].window: 0"]),
    "window too wide": (text('{kind = "attention", weights = "a", heads = 2, window = 4096}'),
                        ["layers[0].window: 4096", "4095"]),
    "causal in a string": (text('{kind = "attention", weights = "a", heads = 2, causal = "yes"}'),
                           ["layers[0].causal: 'yes'"]),
    "alibi without causal": (text('{kind = "attention", weights = "a", heads = 2, alibi = true}'),
                             ["layers[0]", "alibi = true, causal = false; allowed is causal = true"]),
    "head_features zero": (text('{kind = "attention", weights = "a", heads = 2, head_features = 0}'),
                           ["layers[0].head_features: 0", "greater than or equal to 1"]),
    "key_heads a text": (text('{kind = "attention", weights = "a", heads = 2, key_heads = "1"}'),
                         ["layers[0].key_heads: '1'", "integer"]),
    "sparsity of a matrix that is none": (
        text('{kind = "attention", weights = "a", heads = 2, sparsity = {o = "2:4"}}'),
        ["layers[0].sparsity.o: unknown", "allowed are q, k, v, out"]),
    "sparsity a number": (text('{kind = "attention", weights = "a", heads = 2, sparsity = 2}'),
                          ["layers[0].sparsity: 2"]),
    "sparsity too long": (text('{kind = "attention", weights = "a", heads = 2, sparsity = "22222:4444"}'),
                          ["layers[0].sparsity.q: '22222:4444'", "8 characters", "(and 3 more)"]),
    "sparsity of a LayerNorm": (text('{kind = "layernorm", weights = "n", sparsity = "2:4"}'),
                                ["layers[0].sparsity: unknown", "allowed are kind, weights, epsilon"]),
    "rotary positions": (text('{kind = "attention", weights = "a", heads = 2, rope = true}'),
                         ["layers[0].rope: no positions turn queries and keys in the core", "allowed are weights"]),
    "bias of queries and keys": (text('{kind = "encoder", weights = "a", heads = 2, relative_bias = "b"}'),
                                 ["layers[0].relative_bias: no number is added to the product of", "norm_first"]),
    "token by token": (text('{kind = "attention", weights = "a", heads = 2, decode = true}'),
                       ["layers[0].decode: all queries of an input come at once", "allowed are weights"]),
    "bias of a ReLU": (text('{kind = "relu", bias = "b"}'), ["layers[0].bias: unknown", "allowed are kind"]),
    "lengths a number": (OK + "lengths = 1\n", ["input.lengths: 1", "boolean"]),
    "heads zero": (text('{kind = "attention", weights = "a", heads = 0}'), ["layers[0].heads: 0"]),
    "residual empty": (text('{kind = "residual", layers = []}'), ["layers[0].layers: "]),
    "residual without layers": (text('{kind = "residual"}'), ["layers[0].layers: missing"]),
    "residual nested": (text('{kind = "residual", layers = [{kind = "residual", layers = [{kind = "gelu"}]}]}'),
                        ["layers[0].layers[0].kind: 'residual'"]),
    "fault in a residual": (text('{kind = "relu"}',
                                 '{kind = "residual", layers = [{kind = "gelu"}, {kind = "relu", x = 1}]}'),
                            ["layers[1].layers[1].x: unknown", "allowed are kind"]),
    "too many layers": (text(*['{kind = "relu"}'] * 1025), ["layers: ", "1024"]),
    "several faults": (text('{kind = "conv"}', '{kind = "relu", x = 1}'), ["layers[0].kind: 'conv'", "(and 1 more)"]),
}


def one_line(error, parts):
    message = str(error.value)
    assert error.type is WingbeatError
    assert len(message.splitlines()) == 1 and len(message) < 500, message
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("case", BAD_TOML)
def test_malformed_network_file(tmp_path, case):
    content, parts = BAD_TOML[case]
    (tmp_path / "net.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as caught:
        read_network_file(tmp_path / "net.toml")
    one_line(caught, parts)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_network_file_that_is_none(tmp_path, make):
    make(tmp_path / "net.toml")
    with pytest.raises(ValueError) as caught:
        load_network(tmp_path / "net.toml", tmp_path / "net.safetensors")
    one_line(caught, ["network: ", "cannot be read"])


def test_the_example_of_the_guide_is_read(tmp_path):
    page = (Path(__file__).parents[4] / "docs" / "guide" / "attention.md").read_text(encoding="utf-8")
    (tmp_path / "net.toml").write_text(re.search("```toml\n(.*?)```", page, re.DOTALL)[1])
    network = read_network_file(tmp_path / "net.toml")
    assert network.input.lengths and [layer.kind for layer in network.layers] == ["residual", "encoder"]


def test_attention_and_unaffected_files_are_read(tmp_path):
    """The corpus above fails for its faults only: its base files are good."""
    for good in (OK, 'name = "n"\n' + TOP, text('{kind = "attention", weights = "a", heads = 2}', '{kind = "mixing"}'),
                 text('{kind = "residual", layers = [{kind = "gelu"}, {kind = "relu"}]}'),
                 text('{kind = "embedding", weights = "e"}', '{kind = "embedding", weights = ""}')):
        (tmp_path / "net.toml").write_text(good)
        assert read_network_file(tmp_path / "net.toml").layers
