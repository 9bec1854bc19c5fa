"""`wingbeat compile` from the command line: what it writes can be run by somebody else, and what it refuses leaves
nothing behind."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest

from wingbeat.gen.cli.app import main
from wingbeat.gen.compiler.network.compile import default_batch
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.output import network_files
from wingbeat.gen.output.program_files import read_words
from wingbeat.gen.output.schema import NetworkFacts
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.bit_fields import unpack
from wingbeat.hw.isa.encoding import decode
from wingbeat.hw.isa.setup import CONTROL_START, SETUP, SETUP_CONTROL, SETUP_PROGRAM
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.reference.metrics import sqnr_db

TEXT = "b16 position (norm mix) (norm b24 gelu b16-) norm flatten b10"


@pytest.fixture(scope="module")
def model(networks):
    return networks.write(TEXT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Inputs and labels in a file."""
    path, rng = tmp_path_factory.mktemp("data") / "data.npz", np.random.default_rng(1)
    np.savez(path, inputs=rng.standard_normal((20, 4, 16)), labels=rng.integers(10, size=20))
    return path


def compile_(model, output, *more, preset="hybrid-16"):
    toml, checkpoint = model
    return main(["compile", str(checkpoint), "--network", str(toml), "--preset", preset, "-o", str(output),
                 *map(str, more)])


@pytest.fixture(scope="module")
def folder(model, data, tmp_path_factory):
    """One compiled network, in several programs."""
    output = tmp_path_factory.mktemp("out") / "net"
    assert compile_(model, output, "--calibration", data, "--batch", 4, "--set", "coefficient_words=64") == 0
    return output


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_beats(path, width, elements):
    """Beats (n, elements) of a file with one hexadecimal number for each, element 0 lowest."""
    beats = [[int(line, 16) >> width * at & (1 << width) - 1 for at in range(elements)]
             for line in path.read_text().split()]
    return np.array([[value - (value >> width - 1 << width) for value in beat] for beat in beats], dtype=np.int64)


# --- What is written ----------------------------------------------------------------------------------------------

def test_the_files(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    programs = len(manifest["programs"])
    assert programs > 1
    names = {f"{number}.{suffix}" for number in range(programs) for suffix in ("hex", "setup.hex", "txt")}
    assert set(contents(folder)) >= names | {"golden.input.hex", "golden.output.hex", "golden.npz", "manifest.json",
                                            "memory.hex"}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents(folder).items()}
    del sums["manifest.json"]
    assert manifest["sha256"] == sums and list(sums := manifest["sha256"]) == sorted(sums)
    for number, program in enumerate(manifest["programs"]):
        writes = [unpack(SETUP, write) for write in read_words(folder / f"{number}.setup.hex", 64)]
        words = read_words(folder / f"{number}.hex", 32)
        assert [write["data"] for write in writes if write["target"] == SETUP_PROGRAM] == words
        assert writes[-1] == {"target": SETUP_CONTROL, "address": 0, "data": CONTROL_START}
        counts = program["setup_writes"]
        assert counts["coefficients"] == sum(write["target"] < SETUP_PROGRAM for write in writes)
        assert program["words"] == counts["program"] == len(words) and sum(counts.values()) == len(writes)


def test_golden_vectors_from_the_files_alone(folder):
    """As somebody without this compiler would do it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    config = CoreConfig(**manifest["configuration"])
    memory, wanted = (read_beats(folder / f"golden.{name}.hex", config.element_width, config.memory_elements)
                      for name in ("input", "output"))
    assert len(memory) == len(wanted) == manifest["memory_beats"] and not np.array_equal(memory, wanted)
    for number in range(len(manifest["programs"])):
        processor = ProcessorModel(config, [], [], memory)
        for write in read_words(folder / f"{number}.setup.hex", 64):
            processor.write_setup(write & 0xFF, write >> 8 & 0xFFFF, write >> 24)
        processor.run(decode(read_words(folder / f"{number}.hex", 32), config.layers))
    assert np.array_equal(memory, wanted)


def placed(memory, place):
    """Elements (inputs, tokens, features) of the tensor that the manifest describes."""
    rows = place["tokens"] * place["batch"]
    flat = memory[place["base"]:place["base"] + rows * place["row_beats"]].reshape(rows, -1)[:, :place["features"]]
    return flat.reshape(place["tokens"], place["batch"], -1).swapaxes(0, 1)


def region(manifest, role):
    [found] = [each for each in manifest["memory"]["regions"] if each["role"] == role]
    return found


def test_image_and_inputs_are_all_that_a_host_writes(folder, data):
    """The image holds what the network adds; the map says where inputs go; nothing else stands in the golden memory."""
    manifest = json.loads((folder / "manifest.json").read_text())
    config, place = CoreConfig(**manifest["configuration"]), region(manifest, "input")
    image, first = (read_beats(folder / name, config.element_width, config.memory_elements)
                    for name in (manifest["memory"]["image"], "golden.input.hex"))
    assert image.shape == first.shape and not placed(image, place).any()
    constants = [each for each in manifest["memory"]["regions"] if each["role"] == "constant"]
    assert constants and all(placed(image, each).any() for each in constants)
    rows = np.zeros((place["tokens"], place["batch"], place["row_beats"] * config.memory_elements), dtype=np.int64)
    integers = np.rint(np.load(data)["inputs"][:4] / place["unit"]).astype(np.int64)
    rows[:, :, :place["features"]] = integers.swapaxes(0, 1)
    beats = rows.reshape(-1, config.memory_elements)
    image[place["base"]:place["base"] + len(beats)] = beats
    assert np.array_equal(image, first)


def test_the_manifest_tells_where_inputs_and_results_stand(folder, model, data):
    manifest = json.loads((folder / "manifest.json").read_text())
    NetworkFacts.model_validate(manifest)
    config, inputs = CoreConfig(**manifest["configuration"]), np.load(data)["inputs"]
    assert manifest["batch"] == 4 and manifest["calibration"] == "data.npz"
    first, last = (read_beats(folder / f"golden.{name}.hex", config.element_width, config.memory_elements)
                   for name in ("input", "output"))
    given_place, found_place = region(manifest, "input"), region(manifest, "output")
    given = placed(first, given_place) * np.array(given_place["unit"])
    assert np.abs(given - inputs[:4]).max() <= np.max(given_place["unit"]) / 2
    found = placed(last, found_place) * np.array(found_place["unit"])
    assert sqnr_db(forward(load_network(*model), inputs[:4])[-1][1], found) > 68
    with np.load(folder / "golden.npz") as golden:
        assert np.array_equal(golden["inputs"], inputs[:4]) and np.array_equal(golden["results"], found)
        assert np.array_equal(golden["input_integers"], placed(first, given_place))
        assert np.array_equal(golden["output_integers"], placed(last, found_place))
        assert np.array_equal(golden["reference"], forward(load_network(*model), inputs[:4])[-1][1])


def test_the_readme_says_how_to_run_it(folder):
    """Of several programs; test_without_data reads that of a single one."""
    text, manifest = (folder / "README.md").read_text(), json.loads((folder / "manifest.json").read_text())
    for role in ("input", "output"):
        place = region(manifest, role)
        row = [role, *(str(place[name]) for name in ("base", "tokens", "batch", "features", "row_beats"))]
        assert f"| {' | '.join(row)} | " in text
    assert f"The memory has {manifest['memory_beats']} beats" in text and "each needs its whole `K.setup.hex`" in text
    assert f"{sum(layer['cycles'] for layer in manifest['layers'])} cycles" in text
    assert all(f"| `{name}` |" in text for name in manifest["files"])
    assert [each["setup"] for each in manifest["programs"]] == [
        f"{number}.setup.hex" for number in range(len(manifest["programs"]))]


def test_the_report(folder, model, data, tmp_path, capsys):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [layer["layer"] for layer in manifest["layers"]] == [name for program in manifest["programs"]
                                                                for name in program["layers"]]
    assert [width["width"] for width in manifest["widths"]] == [16, 12, 8]
    assert all(each["sqnr_db"] > floor for each, floor in zip(manifest["widths"], (68, 45, 21), strict=True))
    assert all(0 <= width["accuracy"] <= 1 for width in manifest["widths"])
    for layer in manifest["layers"]:
        assert layer["sqnr_db"] > 68 and layer["cycles"] > 0
        assert not layer["clamped"] and not layer["saturated_blocks"]
        assert layer["multiplier_cycles"] == 16 * layer["cycles"] and 0 <= layer["utilisation"] <= 1
    assert compile_(model, tmp_path / "x", "--calibration", data, "--batch", 4) == 0
    shown = capsys.readouterr().out
    assert "net for hybrid_16: 4 inputs at once" in shown and "all layers" in shown and str(tmp_path) in shown


def test_the_same_bytes_twice(folder, model, data, tmp_path):
    more = ("--calibration", data, "--batch", 4, "--set", "coefficient_words=64")
    assert compile_(model, tmp_path / "again", *more) == 0
    assert contents(tmp_path / "again") == contents(folder)
    with zipfile.ZipFile(folder / "golden.npz") as golden:
        assert {info.date_time[0] for info in golden.infolist()} == {1980}
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_without_data_random_inputs_with_a_seed(networks, tmp_path):
    model = networks.write("b16 relu mean b3", vocabulary=True)
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        assert compile_(model, tmp_path / name, "--seed", seed) == 0
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == c != b
    manifest = json.loads(a["manifest.json"])
    assert manifest["calibration"] == "32 random inputs, seed 1" and manifest["batch"] == 32
    assert manifest["widths"][0]["accuracy"] is None
    readme = a["README.md"].decode()
    assert f"and `blocks` {manifest['programs'][0]['blocks']}." in readme and "Token number v is a row" in readme
    assert "the last line of `0.setup.hex` is enough" in readme and "32 random inputs, seed 1" in readme


def test_fewer_inputs_than_a_batch(model, tmp_path):
    np.savez(tmp_path / "data.npz", inputs=np.random.default_rng(1).standard_normal((3, 4, 16)))
    assert compile_(model, tmp_path / "x", "--calibration", tmp_path / "data.npz", "--batch", 8) == 0
    with np.load(tmp_path / "x" / "golden.npz") as golden:
        assert golden["results"].shape == (3, 1, 10)


@pytest.mark.parametrize("tokens, rows, batch", [(4, 1024, 32), (4, 64, 16), (3, 32, 8), (16, 8, 1), (1, 4, 4)])
def test_default_batch(networks, tokens, rows, batch):
    network, _ = networks.load("b16", tokens)
    assert default_batch(network, networks.config(statistics_rows=rows)) == batch


@pytest.fixture(scope="module")
def with_lengths(networks):
    """A network that takes lengths."""
    toml, checkpoint = networks.write("(norm attention/dddd:2,1,16) (norm d24 gelu d16) attention/dddd:1,1,16 mean d3",
                                      tokens=6)
    toml.write_text(f"{toml.read_text()}lengths = true\n")
    return toml, checkpoint


def test_a_host_writes_lengths_as_the_manifest_says(with_lengths, tmp_path):
    """From the files alone: image, inputs and lengths are the golden memory, whose run is the golden one."""
    values, lengths = np.random.default_rng(3).standard_normal((5, 6, 16)), np.array([2, 0, 6, 5, 1])
    np.savez(tmp_path / "data.npz", inputs=values, lengths=lengths)
    assert compile_(with_lengths, tmp_path / "x", "--calibration", tmp_path / "data.npz", "--batch", 4,
                    preset="attention-16") == 0
    test_golden_vectors_from_the_files_alone(tmp_path / "x")
    manifest = json.loads((tmp_path / "x" / "manifest.json").read_text())
    NetworkFacts.model_validate(manifest)
    config, facts = CoreConfig(**manifest["configuration"]), manifest["memory"]["lengths"]
    image, first = (read_beats(tmp_path / "x" / name, config.element_width, config.memory_elements)
                    for name in (manifest["memory"]["image"], "golden.input.hex"))
    place = region(manifest, "input")
    beats = slice(place["base"], place["base"] + place["tokens"] * place["batch"] * place["row_beats"])
    image[beats] = first[beats]
    assert not np.array_equal(image, first) and len(facts["places"]) == 1
    size, width = facts["record_elements"], config.element_width
    for where in facts["places"]:
        elements = image[where["base"]:].reshape(-1)
        for number, length in enumerate(lengths[:4].tolist()):
            record = facts["target"] + (number << facts["address_bit"]) + (length << facts["data_bit"])
            for at in range(size):
                part = record >> width * at & (1 << width) - 1
                elements[number * size + at] = part - (part >> width - 1 << width)
    assert np.array_equal(image, first)
    readme = (tmp_path / "x" / "README.md").read_text()
    assert f"one after the other from beat {facts['places'][0]['base']} on. Attention sees no tokens" in readme
    with np.load(tmp_path / "x" / "golden.npz") as golden:
        assert np.array_equal(golden["inputs"], values[:4]) and np.array_equal(golden["lengths"], lengths[:4])
        assert sqnr_db(golden["reference"], golden["results"]) > 65


def test_random_lengths(with_lengths, tmp_path):
    assert compile_(with_lengths, tmp_path / "x", "--batch", 2, preset="attention-16") == 0
    with np.load(tmp_path / "x" / "golden.npz") as golden:
        assert golden["lengths"].shape == (2,) and 1 <= golden["lengths"].min() <= golden["lengths"].max() <= 6


# --- What is refused ----------------------------------------------------------------------------------------------

def refused(capsys, code, message):
    shown = capsys.readouterr()
    assert code == 2 and shown.err.count("\n") == 1 and not shown.out
    assert shown.err.removeprefix("wingbeat: ").startswith(message) or message[0] != "-" and message in shown.err


ROWS = np.random.default_rng(2).standard_normal((5, 4, 16))


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def archive(**members):
    """A zip file with these bytes as its arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def compressed_badly():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, inputs=np.zeros((50, 4, 16)))
    raw = bytearray(buffer.getvalue())
    raw[60:90] = b"\xff" * 30
    return bytes(raw)


BAD_DATA = {
    "no archive": (b"hello\n", "--calibration: 'data.npz' is not an .npz file"),
    "empty": (b"", "--calibration: 'data.npz' is not an .npz file"),
    "cut": (archive(inputs=npy(ROWS))[:-30], "--calibration: 'data.npz' is not an .npz file"),
    "damaged": (compressed_badly(), "--calibration: 'data.npz' is not an .npz file"),
    "one array": (npy(ROWS), "--calibration: 'data.npz' is one array; allowed are .npz files"),
    "pickle": (archive(inputs=npy(np.array([{}, 1], dtype=object), allow_pickle=True)),
               "--calibration: 'data.npz' is not an .npz file without pickle"),
    "pickle alone": (b"\x80\x04K\x01.", "--calibration: 'data.npz' is not an .npz file without pickle"),
    "array cut": (archive(inputs=npy(ROWS)[:-8]), "--calibration: 'data.npz' is not an .npz file"),
    "huge": (archive(inputs=npy(ROWS).replace(b"(5, 4, 16), }   ", b"(9876543210123,)")),
             "--calibration: 'data.npz' is not an .npz file"),
    "bad header": (archive(inputs=npy(ROWS).replace(b"{'descr'", b"{{descr'")),
                   "--calibration: 'data.npz' is not an .npz file"),
    "no array file": (archive(inputs=npy(ROWS), labels=b"text"), "--calibration: 'labels' of 'data.npz' is no array"),
    "no arrays": (archive(), "--calibration: 'data.npz' has the arrays none; allowed are 'inputs'"),
    "other arrays": (archive(inputs=npy(ROWS), x=npy(ROWS)), "has the arrays 'inputs', 'x'; allowed are 'inputs' and"),
    "labels alone": (archive(labels=npy(ROWS)), "has the arrays 'labels'; allowed are 'inputs'"),
    "NaN": (archive(inputs=npy(np.where(ROWS > 2, np.nan, ROWS))), "inputs: nan at ["),
    "infinity": (archive(inputs=npy(np.where(ROWS > 2, np.inf, ROWS))), "inputs: inf at ["),
    "complex": (archive(inputs=npy(1j * ROWS)), "inputs: dtype complex128"),
    "text": (archive(inputs=npy(np.full((5, 4, 16), "x"))), "inputs: dtype <U1"),
    "shape": (archive(inputs=npy(ROWS[:, :3])), "inputs: shape (5, 3, 16); allowed is (count, 4, 16)"),
    "flat": (archive(inputs=npy(ROWS[0])), "inputs: shape (4, 16); allowed is (count, 4, 16)"),
    "none": (archive(inputs=npy(ROWS[:0])), "inputs: none; allowed are one or more"),
    "few labels": (archive(inputs=npy(ROWS), labels=npy(np.zeros(4, int))), "labels: int64 (4,); allowed are integers"),
    "label of no class": (archive(inputs=npy(ROWS), labels=npy(np.arange(5) + 8)), "labels: 10; allowed are 0..9"),
    "negative label": (archive(inputs=npy(ROWS), labels=npy(np.arange(5) - 1)), "labels: -1; allowed are 0..9"),
    "lengths for nothing": (archive(inputs=npy(ROWS), lengths=npy(np.ones(5, int))),
                            "lengths: int64 (5,); allowed are none, as the network file has no input.lengths"),
    "huge numbers": (archive(inputs=npy(ROWS * 1e300)), "allowed are -1e+15..1e+15"),
    "float labels": (archive(inputs=npy(ROWS), labels=npy(np.zeros(5))), "labels: float64 (5,); allowed are integers"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_calibration_data(model, tmp_path, capsys, case):
    raw, message = BAD_DATA[case]
    (tmp_path / "data.npz").write_bytes(raw)
    refused(capsys, compile_(model, tmp_path / "x", "--calibration", tmp_path / "data.npz"), message)
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


OPTIONS = {
    "preset": ({"preset": "nothing"}, (), "nothing"),
    "preset without memory": ({"preset": "ulx3s-16"}, (), "memory: ulx3s_16 has no [memory]"),
    "no vector unit": ({}, ("--set", "vector_lanes=0"), "b0: vector: hybrid_16 has no [vector]"),
    "small memory": ({}, ("--set", "memory_bits=7"), "memory.address_bits: 7 are too few"),
    "small table": ({}, ("--set", "channel_beats=1"), "b0: channel_beats: 1 are too few"),
    "few rows": ({}, ("--set", "statistics_rows=2"), "statistics_rows: 2 are too few for 4 rows"),
    "short programs": ({}, ("--set", "program_words=64"), "program_words: 64 is too small"),
    "batch 0": ({}, ("--batch", "0"), "--batch: 0; allowed are powers of two"),
    "batch 3": ({}, ("--batch", "3"), "--batch: 3; allowed are powers of two"),
    "negative batch": ({}, ("--batch", "-8"), "--batch: -8; allowed are powers of two"),
    "large batch": ({}, ("--batch", "512"), "statistics_rows: 1024 are too few for 2048 rows"),
    "no number": ({}, ("--batch", "many"), "batch"),
    "no data": ({}, ("--calibration", "/nowhere/data.npz"), "--calibration: '/nowhere/data.npz' cannot be read"),
    "folder as data": ({}, ("--calibration", "/"), "--calibration: '/' cannot be read"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(model, tmp_path, capsys, case):
    fields, more, message = OPTIONS[case]
    refused(capsys, compile_(model, tmp_path / "x", *more, **fields), message)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lengths, message", [
    (None, "lengths: missing; allowed are integers 0..6, one for each input"),
    (np.ones(4, int), "lengths: int64 (4,); allowed are integers (5,)"),
    (np.full(5, 7), "lengths: 7; allowed are 0..6"),
    (np.ones(5), "lengths: float64 (5,); allowed are integers (5,)")])
def test_bad_lengths(with_lengths, tmp_path, capsys, lengths, message):
    np.savez(tmp_path / "data.npz", inputs=np.zeros((5, 6, 16)), **({} if lengths is None else {"lengths": lengths}))
    refused(capsys, compile_(with_lengths, tmp_path / "x", "--calibration", tmp_path / "data.npz",
                             preset="attention-16"), message)


def test_missing_files(model, tmp_path, capsys):
    toml, checkpoint = model
    refused(capsys, compile_((tmp_path / "no.toml", checkpoint), tmp_path / "x"), "no.toml' cannot be read")
    refused(capsys, compile_((toml, tmp_path / "no.safetensors"), tmp_path / "x"), "no.safetensors")
    assert not list(tmp_path.iterdir())


def test_attention_names_its_layer(networks, tmp_path, capsys):
    model = networks.write("b16 (norm attention)")
    refused(capsys, compile_(model, tmp_path / "x"), "array.softmax_pairs: 0; allowed are powers of two, for attention")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_left_alone(model, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    refused(capsys, compile_(model, tmp_path), "holds 'notes.txt', which is not ours")
    refused(capsys, compile_(model, tmp_path / "notes.txt"), "is not a folder")
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_the_old_output_stays_when_a_later_compile_fails(networks, tmp_path, capsys, monkeypatch):
    model, output = networks.write("b16"), tmp_path / "net"
    assert compile_(model, output) == 0
    before = contents(output)
    capsys.readouterr()
    refused(capsys, compile_(model, output, "--set", "memory_bits=2"), "memory.address_bits: 2 are too few")

    def full(folder, facts):
        raise WingbeatError("--output: no space left")

    monkeypatch.setattr(network_files, "write_manifest", full)  # in the middle of writing
    assert compile_(model, output, "--seed", "2") == 2
    assert capsys.readouterr().err.endswith("wingbeat: --output: no space left\n")
    assert contents(output) == before and [path.name for path in tmp_path.iterdir()] == ["net"]
    monkeypatch.undo()
    assert compile_(model, output, "--seed", "2") == 0 and contents(output) != before
