"""Compiled programs as files that are enough to run them: words, setup writes, what goes in, what must come out, and a
description of all of it; and the check of such words.

NAME.setup.hex means the same everywhere: all that is written to the setup port, in order. Coefficients and tables come
first, then the program, whose words also stand in NAME.hex, then the start.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.bit_fields import field_places, unpack
from ...hw.isa.encoding import encode
from ...hw.isa.instruction import Instruction, Mode
from ...hw.isa.setup import SETUP, SETUP_PROGRAM, block_fields
from ...sim.model.processor import BlockOutcome, ProcessorModel
from ..compiler.beats import pack_beats, pack_setup, start_writes
from ..compiler.program.listing import disassemble
from ..compiler.program.matrix import Matrix
from ..cosim.selftest import model_blocks
from ..cosim.streams import block_lines, input_lines, line_bits
from ..files import write_json, write_manifest, write_text
from ..workloads.kernels import ArrayWorkload, Workload
from .schema import SCHEMA, ArrayProgramFacts, ProgramFacts, ProgramFolderFacts, json_schema

__all__ = ["write_programs", "write_array_program", "write_program", "check_program", "read_words"]

_SCHEMA = "program.schema.json"  # of NAME.json
_COMPUTES = {
    "fft": "y[k] = sum over n of x[n] * exp(-2j * pi * n * k / points), not divided, in natural order",
    "bpmm": "y = B x of each row x; B is a random butterfly matrix, which the coefficients hold",
    "fft2-real": "the real part of the transform over both axes of the matrix, neither of them divided",
    "ffn": "y = B2 B1 x of each row x; B1 and B2 are random butterfly matrices, which the coefficients hold"}


def write_programs(work: Sequence[Workload | ArrayWorkload], folder: Path) -> list[Path]:
    """Every program of ``work`` as :func:`write_program` or :func:`write_array_program` writes it, and the manifest of
    the whole folder, which exists and is empty. Returns the files of the programs."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [path for each in work for path in (write_program(each, folder) if isinstance(each, Workload) else
                                                  write_array_program(each, folder))]
    for kind in {ProgramFacts if isinstance(each, Workload) else ArrayProgramFacts for each in work}:
        write_json(folder / _SCHEMA, json_schema(kind))
    write_json(folder / SCHEMA, json_schema(ProgramFolderFacts))
    write_manifest(folder, {"programs": [path.stem for path in written if path.suffix == ".json"]})
    return written


def write_program(workload: Workload, folder: Path) -> list[Path]:
    """A program of a processor: NAME.hex (words), NAME.txt (listing), NAME.setup.hex, NAME.memory.hex (beats before)
    and NAME.expected.hex (after), and NAME.json, which says where input and result stand and what they mean."""
    config, program = workload.config, workload.program
    memory, outcomes = workload.run_model()
    contents = _program_lines(config, program.instructions, program.setup) | {
        suffix: pack_beats(beats, config.element_width, config.stream_words)
        for suffix, beats in (("memory.hex", workload.memory), ("expected.hex", memory))}
    facts = {
        "memory": {**_line(config, config.element_width), "beats": len(memory),
                   "order": "row r begins at beat base + r * row_beats; element e is element e mod beat_elements of "
                            "beat e div beat_elements of its row; of a complex number re comes first",
                   "input": _matrix(workload.source, workload.input_scale, workload.is_complex),
                   "result": _matrix(workload.target, workload.scale, workload.is_complex)},
        **_block_exponents(workload, outcomes),
        "computes": _COMPUTES[workload.name], "blocks": len(outcomes),
        "saturated_blocks": sum(bool(each.saturated) for each in outcomes),
        "clamped_elements": sum(each.clamped for each in outcomes)}
    return _write(folder, f"{workload.name}_{workload.points}", config, contents, facts)


def _block_exponents(workload: Workload, outcomes: Sequence[BlockOutcome]) -> dict[str, Any]:
    """Where the results have an exponent of each block, which stand in the log of the processor."""
    if not workload.block_rows:
        return {}
    return {"exponents": [each.exponent for each in outcomes], "block_rows": workload.block_rows,
            "exponent": "row r of the result is worth integer * 2^exponents[r div block_rows] * unit; entry n of the "
                        "log has exponent n"}


def write_array_program(workload: ArrayWorkload, folder: Path) -> list[Path]:
    """A program of an array alone: NAME.hex, NAME.txt and NAME.setup.hex as of a processor, NAME.input.hex (beats of
    the stream in) and NAME.expected.hex (beats out), NAME.npz and NAME.json, which say what each element of them is."""
    kernel, config = workload.kernel, workload.kernel.config
    (job,) = kernel.jobs(workload.x)
    results = model_blocks(config, job)
    run = kernel.gathered(results, len(workload.x), kernel.quantise(workload.x)[1])
    name = f"{workload.name}_{workload.points}"
    contents = _program_lines(config, job.program, job.setup) | {
        "input.hex": input_lines(config, job.words, job.program),
        "expected.hex": block_lines(config, results)}
    read, written = kernel.places(len(workload.x))
    facts = {
        "stream": {**_line(config, line_bits(config)),
                   "tag": "bits above the elements of a line of expected.hex, from bit tag_bit on",
                   "tag_bit": config.memory_elements * line_bits(config),
                   "tag_fields": {field: {"bit": at, "width": bits} for field, (at, bits) in
                                  field_places(block_fields(config.has_tlast)).items()},
                   **({"tlast_bit": config.memory_elements * line_bits(config)} if config.has_tlast else {}),
                   "block_beats": sum(each.words.shape[0] for each in results) // len(results) // config.stream_words,
                   "order": "number k of a stream, counted through all beats from 0, is part c (0: re, 1: im) of "
                            "element e of row r, where (r, e, c) is row k of input_places for what goes in and of "
                            "result_places for what comes out; it is nothing where that row is -1"},
        "arrays": {"rows": "(rows, points): the rows before they are rounded to integers and clamped",
                   "results": "(rows, points): the results, integer * 2^exponent of the block * result_units",
                   "input_places": "(numbers that go in, 3)", "result_places": "(numbers that come out, 3)"},
        "computes": _COMPUTES[workload.name],
        "rows": len(workload.x), "points": workload.points, "complex": kernel.mode is Mode.FFT,
        "scaling": kernel.scaling, "input_unit": kernel.input_step,
        "result": "integer * 2^exponent of its block * result_units[e]", "result_units": kernel.output_scale.tolist(),
        "blocks": len(results), "exponents": run.exponents, "saturated_blocks": run.saturated_blocks,
        "clamped_inputs": run.clamped_inputs, "sqnr_db": workload.sqnr_db(run.y)}
    return _write(folder, name, config, contents, facts,
                  {"rows": workload.x, "results": run.y, "input_places": read, "result_places": written})


def _program_lines(config: CoreConfig, program: Sequence[Instruction],
                   setup: Sequence[tuple[int, int, int]]) -> dict[str, list[str]]:
    words = encode(program)
    return {"hex": [f"{word:08x}" for word in words], "txt": disassemble(config, words),
            "setup.hex": pack_setup([*setup, *start_writes(words)])}


def _line(config: CoreConfig, bits: int) -> dict[str, Any]:
    return {"line": "one beat, hexadecimal; element k at bit k * element_width", "element_width": bits,
            "element": "an integer, two's complement", "beat_elements": config.memory_elements}


def _matrix(matrix: Matrix, unit: np.ndarray | float, is_complex: bool) -> dict[str, Any]:
    units = np.asarray(unit)
    return {"base": matrix.base, "rows": matrix.rows, "elements": matrix.elements, "row_beats": matrix.pitch,
            "complex": is_complex, "unit": float(units) if units.ndim == 0 else units.tolist()}


def _write(folder: Path, name: str, config: CoreConfig, contents: Mapping[str, Sequence[str]], facts: dict[str, Any],
           arrays: Mapping[str, Any] | None = None) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in contents]
    for path, lines in zip(paths, contents.values()):
        write_text(path, "".join(f"{line}\n" for line in lines))
    if arrays is not None:
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], **arrays)
    paths.append(folder / f"{name}.json")
    write_json(paths[-1], {"core": config.name, "configuration": config.choices(),
                           "files": {path.name.removeprefix(f"{name}."): path.name for path in paths[:-1]},
                           "setup": "one write a line, in order, as the payload of i_setup",
                           **facts})
    return paths


def read_words(path: Path, bits: int) -> list[int]:
    """Numbers of a file with one hexadecimal number a line; WingbeatError naming the line that is none."""
    try:
        lines = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError) as fault:
        raise WingbeatError(f"{str(path)!r}: {getattr(fault, 'strerror', None) or 'not a text file'}") from None
    numbers = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            numbers.append(int(line, 16))
        except ValueError:
            raise WingbeatError(f"{str(path)!r} line {number}: {line[:40]!r} is no hexadecimal number") from None
        if not 0 <= numbers[-1] < 1 << bits:
            raise WingbeatError(f"{str(path)!r} line {number}: {line[:40]!r} is more than {bits} bits")
    return numbers


def check_program(config: CoreConfig, words: Sequence[int], setup: Sequence[int], beats: int) -> int:
    """Number of blocks of a program that a processor with a memory of ``beats`` beats runs to its end.

    ``words`` of 32 bits, ``setup`` writes of 64 bits {target 8, address 16, data 40}, of which those of a program do
    not count. Raises WingbeatError with the
    error code of docs/reference/processor.md and the instruction, or for a READ that does not wait for what it reads.
    """
    if len(words) > config.program_words:
        raise WingbeatError(f"program_words: {config.program_words} is too small for {len(words)} words")
    model = ProcessorModel(config, [], [], np.zeros((beats, config.memory_elements), dtype=np.int64))
    try:
        for write in setup:
            fields = unpack(SETUP, write)
            if fields["target"] != SETUP_PROGRAM:
                model.write_setup(fields["target"], fields["address"], fields["data"])
        return model.check(words)  # nothing behind them: what the program memory holds there is left from before
    except ValueError as fault:
        code = getattr(fault, "code", None)
        raise WingbeatError(f"program: {f'error {int(code)}, ' if code else ''}{fault}") from None
