"""Listing and check of programs, also over the command line."""

import json
import random

import numpy as np
import pytest

from wingbeat.gen.cli.app import main
from wingbeat.gen.compiler.program.listing import disassemble
from wingbeat.gen.cosim.streams import block_lines
from wingbeat.gen.output.program_files import check_program, read_words, write_program
from wingbeat.gen.output.schema import ArrayProgramFacts, ProgramFacts, ProgramFolderFacts
from wingbeat.gen.workloads.kernels import mixing_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.bit_fields import unpack
from wingbeat.hw.isa.encoding import encode
from wingbeat.hw.isa.setup import SETUP
from wingbeat.sim.model.array import ArrayModel
from wingbeat.sim.model.processor import ProcessorModel
from wingbeat.sim.reference.metrics import sqnr_db
from wingbeat.sim.stimulus.illegal import illegal_programs

FIELDS = {"engines": 4, "layers": 1, "width": 16, "element_width": 16, "coefficient_width": 16, "half_words": 256,
          "coefficient_words": 512, "stream_words": 4, "program_words": 512, "memory_bits": 12}
CONFIG = CoreConfig.of(**FIELDS)


@pytest.fixture(scope="module")
def work():
    return mixing_workload(CONFIG, 16, 32, seed=1)


@pytest.fixture
def folder(work, tmp_path):
    write_program(work, tmp_path)
    sections = CONFIG.choices()
    (tmp_path / "p.toml").write_text("".join(
        f"[{section}]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in sections[section].items())
        for section in ("array", "memory")))
    return tmp_path


def check(folder, *arguments):
    return main(["check", str(folder / "fft2-real_32.hex"), "--config", str(folder / "p.toml"), *arguments])


def test_one_line_per_instruction(work):
    lines = disassemble(CONFIG, encode(work.program.instructions))
    assert len(lines) == len(work.program.instructions)
    assert lines[0].split() == ["0", "SET", "reader", "r0", "=", "0"] and lines[-1].split()[1] == "HALT"
    for line, instruction in zip(lines, work.program.instructions):
        assert line.split()[1] == type(instruction).__name__.upper()
    tags = [line.split()[2] for line in lines if " STORE " in line]
    assert tags == [str(tag) for tag in range(len(tags))]


def test_what_is_written_is_legal(folder, work, capsys):
    assert check(folder) == 0
    assert capsys.readouterr().out.endswith(f"{len(work.program.stages)} blocks: legal\n")
    assert check(folder, "--listing") == 0
    assert capsys.readouterr().out.startswith((folder / "fft2-real_32.txt").read_text()[:200])


@pytest.mark.parametrize("words", [3, 4])
def test_a_program_without_its_end_is_refused(folder, capsys, words):
    """What stands behind it in the program memory is not known: an end that is missing, or cut."""
    path = folder / "fft2-real_32.hex"
    path.write_text("\n".join(path.read_text().split()[:-words]) + "\n")
    assert check(folder) == 2
    assert "has no HALT before its end" in capsys.readouterr().err


def test_every_illegal_program_is_refused_with_its_code():
    rng = random.Random(5)
    for case in illegal_programs(CONFIG, rng):
        setup = [target | address << 8 | data << 24 for target, address, data in case.setup]
        with pytest.raises(WingbeatError, match=f"^program: error {int(case.code)}, ") as caught:
            check_program(CONFIG, case.words, setup, len(case.memory))
        assert "\n" not in str(caught.value), case.name


@pytest.mark.parametrize("spoil, message", [
    (lambda text: text.replace("\n", "\nxyz\n", 1), "line 2: 'xyz' is no hexadecimal number"),
    (lambda text: "1" + text, "line 1: '1"),
    (lambda text: "0000000f" + text[8:], "instruction 0: opcode 15 is unknown"),
    (lambda text: text * 40, "program_words: 512 is too small for"),
])
def test_bad_files_say_why_in_one_line(folder, capsys, spoil, message):
    path = folder / "fft2-real_32.hex"
    path.write_text(spoil(path.read_text()))
    assert check(folder) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1 and not shown.out


def test_a_small_memory_and_missing_files(folder, capsys):
    assert check(folder, "--beats", "20") == 2
    assert "error 8, address: " in capsys.readouterr().err
    (folder / "fft2-real_32.setup.hex").unlink()
    assert check(folder) == 2
    assert "fft2-real_32.setup.hex" in capsys.readouterr().err
    with pytest.raises(WingbeatError, match="line 1"):
        read_words(folder / "p.toml", 32)


# --- Folders that are enough ---------------------------------------------------------------------------------------

def elements(lines, facts):
    """Integers of beats, in order, and what stands above them."""
    width, count = facts["element_width"], facts["beat_elements"]
    numbers = [int(line, 16) for line in lines]
    raw = np.array([number >> width * k & (1 << width) - 1 for number in numbers for k in range(count)])
    return raw - (raw >> width - 1 << width), [number >> width * count for number in numbers]


@pytest.mark.parametrize("scaling", ["static", "safe", "block"])
@pytest.mark.parametrize("kernel", ["bpmm", "fft"])
def test_a_program_of_an_array_explains_itself(tmp_path, kernel, scaling):
    """From the files alone: what goes in are the rows, what must come out are the results."""
    assert main(["program", "--preset", "tiny", "--kernel", kernel, "--sizes", "32", "--scaling", scaling,
                 "--blocks", "3", "-o", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / f"{kernel}_32.json").read_text())
    files, stream = facts["files"], facts["stream"]
    shape = (facts["rows"], facts["points"], 1 + facts["complex"])
    with np.load(tmp_path / files["npz"]) as arrays:
        rows, results, read, written = (arrays[name] for name in ("rows", "results", "input_places", "result_places"))

    def gathered(values, places):
        found = np.zeros(shape)
        found[tuple(places[places[:, 0] >= 0].T)] = values[places[:, 0] >= 0]
        return found[..., 0] + 1j * found[..., 1] if facts["complex"] else found[..., 0]

    given, above = elements((tmp_path / files["input.hex"]).read_text().split(), stream)
    assert not any(above)
    assert np.abs(gathered(given, read) * facts["input_unit"] - rows).max() <= facts["input_unit"]
    found, tags = elements((tmp_path / files["expected.hex"]).read_text().split(), stream)
    place = stream["tag_fields"]["exponent"]
    exponents = [tag >> place["bit"] & (1 << place["width"]) - 1 for tag in tags]
    values = found * 2.0 ** np.repeat(exponents, stream["beat_elements"])
    assert np.array_equal(gathered(values, written) * facts["result_units"], results)
    assert len(facts["exponents"]) == facts["blocks"] == 3 and set(exponents) == set(facts["exponents"])
    assert facts["sqnr_db"] > 60 and not facts["saturated_blocks"]
    assert stream["block_beats"] * facts["blocks"] == len(tags)
    ArrayProgramFacts.model_validate(facts)
    ProgramFolderFacts.model_validate(json.loads((tmp_path / "manifest.json").read_text()))


def test_a_program_of_an_array_says_where_tlast_goes(tmp_path):
    assert main(["program", "--preset", "tiny", "--set", "bus.stream=axi4-stream", "--kernel", "fft", "--sizes", "32",
                 "--blocks", "3", "-o", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "fft_32.json").read_text())
    ArrayProgramFacts.model_validate(facts)
    stream = facts["stream"]
    _, above = elements((tmp_path / "fft_32.input.hex").read_text().split(), stream)
    assert stream["tlast_bit"] == stream["element_width"] * stream["beat_elements"]
    assert above == ([0] * (stream["block_beats"] - 1) + [1]) * 3
    _, tags = elements((tmp_path / "fft_32.expected.hex").read_text().split(), stream)
    places = stream["tag_fields"]
    assert [tag >> places["last"]["bit"] for tag in tags] == above
    assert not any(tag >> places[flag]["bit"] & 1 for tag in tags for flag in ("tlast_unexpected", "tlast_missing"))


def test_a_program_of_a_processor_explains_its_exponents(folder):
    """From the files alone: results, each with the exponent of its block."""
    arguments = ["--config", str(folder / "p.toml"), "--set", "memory.block_log=4", "--kernel", "fft", "--sizes", "32"]
    assert main(["program", *arguments, "--scaling", "block", "-o", str(folder / "blocks")]) == 0
    facts = json.loads((folder / "blocks" / "fft_32.json").read_text())
    ProgramFacts.model_validate(facts)
    memories = {}
    for name in ("memory.hex", "expected.hex"):
        beats, _ = elements((folder / "blocks" / facts["files"][name]).read_text().split(), facts["memory"])
        memories[name] = beats.reshape(facts["memory"]["beats"], -1)

    def complex_rows(place, memory):
        size = place["rows"] * place["row_beats"]
        found = memory[place["base"]:place["base"] + size].reshape(place["rows"], -1)[:, :place["elements"]]
        return (found[:, 0::2] + 1j * found[:, 1::2]) * place["unit"]

    x = complex_rows(facts["memory"]["input"], memories["memory.hex"])
    y = complex_rows(facts["memory"]["result"], memories["expected.hex"])
    exponents = np.repeat(facts["exponents"], facts["block_rows"])
    assert len(exponents) == len(y) and len(facts["exponents"]) == facts["blocks"] == 4
    assert sqnr_db(np.fft.fft(x), y * 2.0 ** exponents[:, None]) > 70


def test_a_program_of_an_array_runs_from_its_files(tmp_path):
    """On the model: nothing but setup.hex and input.hex goes in."""
    assert main(["program", "--preset", "tiny", "--kernel", "fft", "--sizes", "64", "-o", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "fft_64.json").read_text())
    config = CoreConfig(**facts["configuration"])
    model = ArrayModel(config)
    for write in read_words(tmp_path / "fft_64.setup.hex", 64):
        model.write_setup(**unpack(SETUP, write))
    given, _ = elements((tmp_path / "fft_64.input.hex").read_text().split(), facts["stream"])
    found = block_lines(config, model.run(None, given.reshape(-1, 2)))
    assert found == (tmp_path / "fft_64.expected.hex").read_text().split()


def test_a_program_of_a_processor_runs_from_its_files(folder):
    """As above; input and result stand where the description says."""
    facts = json.loads((folder / "fft2-real_32.json").read_text())
    ProgramFacts.model_validate(facts)
    memory, _ = elements((folder / "fft2-real_32.memory.hex").read_text().split(), facts["memory"])
    memory = memory.reshape(facts["memory"]["beats"], -1)
    place, result = facts["memory"]["input"], facts["memory"]["result"]
    size = place["rows"] * place["row_beats"]
    x = memory[place["base"]:place["base"] + size].reshape(place["rows"], -1)[:, :place["elements"]].copy()
    processor = ProcessorModel(CoreConfig(**facts["configuration"]), [], [], memory)
    for write in read_words(folder / "fft2-real_32.setup.hex", 64):
        processor.write_setup(**unpack(SETUP, write))
    processor.run()
    expected, _ = elements((folder / "fft2-real_32.expected.hex").read_text().split(), facts["memory"])
    assert np.array_equal(memory.ravel(), expected)
    size = result["rows"] * result["row_beats"]
    y = memory[result["base"]:result["base"] + size].reshape(result["rows"], -1)[:, :result["elements"]]
    assert sqnr_db(np.fft.fft2(x).real, y * result["unit"]) > 60
