"""Listing and check of programs, also over the command line."""

import random

import pytest

from wingbeat.gen.cli.app import main
from wingbeat.gen.compiler.program.listing import disassemble
from wingbeat.gen.output.program_files import check_program, read_words, write_program
from wingbeat.gen.workloads.kernels import mixing_workload
from wingbeat.hw.config import CoreConfig
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.encoding import encode
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
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in sections[section].items())
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
