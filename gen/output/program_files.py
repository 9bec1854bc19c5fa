"""Compiled programs as files: words, setup writes, memory image and listing; and the check of such words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.encoding import encode
from ...sim.model.processor import ProcessorModel
from ..compiler.beats import pack_beats, pack_setup
from ..compiler.program.listing import disassemble
from ..files import write_text
from ..workloads.kernels import Workload

__all__ = ["write_program", "check_program", "read_words"]


def write_program(workload: Workload, folder: Path) -> list[Path]:
    """Write NAME.hex (program words), NAME.setup.hex (setup writes), NAME.memory.hex (beats) and NAME.txt (listing)."""
    config, program = workload.config, workload.program
    name = f"{workload.name}_{workload.points}"
    words = encode(program.instructions)
    contents = {"hex": [f"{word:08x}" for word in words], "setup.hex": pack_setup(program.setup),
                "memory.hex": pack_beats(workload.memory, config.element_width, config.stream_words),
                "txt": disassemble(config, words)}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in contents]
    for path, lines in zip(paths, contents.values()):
        write_text(path, "".join(f"{line}\n" for line in lines))
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

    ``words`` of 32 bits, ``setup`` writes of 64 bits {target 8, address 16, data 40}. Raises WingbeatError with the
    error code of docs/reference/processor.md and the instruction, or for a READ that does not wait for what it reads.
    """
    if len(words) > config.program_words:
        raise WingbeatError(f"program_words: {config.program_words} is too small for {len(words)} words")
    model = ProcessorModel(config, [], [], np.zeros((beats, config.memory_elements), dtype=np.int64))
    try:
        for write in setup:
            model.write_setup(write & 0xFF, write >> 8 & 0xFFFF, write >> 24)
        return model.check([*words, *[0] * (config.program_words - len(words))])
    except ValueError as fault:
        code = getattr(fault, "code", None)
        raise WingbeatError(f"program: {f'error {int(code)}, ' if code else ''}{fault}") from None
