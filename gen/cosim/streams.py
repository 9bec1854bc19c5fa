"""An array between three streams: setup, input and output, each with its own stalls (testbench/array_bench.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.bit_fields import field_places
from ...hw.isa.encoding import decode
from ...hw.isa.instruction import Instruction
from ...hw.isa.setup import SETUP_CONTROL, block_fields
from ...hw.numeric import slot_bits
from ...sim.model.array import BlockResult, block_words
from ..compiler.beats import mark_beats, pack_beats, pack_setup, tag_beats, unpack_beats
from .harness import Files, Harness
from .job import BlockReport, Run, Trial
from .timing import STREAM_STALLS, StreamTiming

__all__ = ["StreamHarness", "block_lines", "input_lines", "line_bits"]


def line_bits(config: CoreConfig) -> int:
    """Bits that an element takes in a line: those of its slot where a line is TDATA of an AXI4-Stream."""
    return slot_bits(config.element_width) if config.has_tlast else config.element_width


def input_lines(config: CoreConfig, words: np.ndarray, program: Sequence[Instruction] | Sequence[int]) -> list[str]:
    """Input beats of ``words`` for ``program``, instructions or words; with has_tlast those that end its blocks are
    marked."""
    beats = pack_beats(words, line_bits(config), config.stream_words)
    if not config.has_tlast:
        return beats
    code = [each for each in program if isinstance(each, int)]
    steps = decode(code, config.layers) if code else [each for each in program if not isinstance(each, int)]
    ends = np.cumsum(block_words(config, steps)) // config.stream_words - 1
    return mark_beats(beats, np.isin(np.arange(len(beats)), ends), line_bits(config), config.stream_words)


def block_lines(config: CoreConfig, blocks: Sequence[BlockResult]) -> list[str]:
    """Output beats of ``blocks``; ``saturated`` is given on the last beat of each, where it is final."""
    lines, bits = [], line_bits(config)
    for block in blocks:
        words = pack_beats(block.words, bits, config.stream_words)
        last = np.arange(len(words)) == len(words) - 1
        lines += tag_beats(words, np.full(len(words), block.exponent), last & bool(block.saturated), last, bits,
                           config.stream_words, config.has_tlast)
    return lines


class StreamHarness(Harness):
    """Nothing but the array; the streams are Python."""

    benches = ("array_bench",)

    def check(self, trial: Trial) -> None:
        if not isinstance(trial.timing, StreamTiming):
            raise WingbeatError(f"memory: {self.config.name} has no [memory]; allowed is a processor")
        if self.config.has_tlast and trial.program is None:
            raise ValueError("program: None; where blocks end is read off the program of a trial")

    def entry(self, trial: Trial, files: Files) -> dict[str, Any]:
        c, timing = self.config, trial.timing
        setup = files.put(f"{trial.name}.setup.hex", ("setup", id(trial.setup), id(trial.program)),
                          lambda: pack_setup(trial.setup_writes))
        words = files.put(f"{trial.name}.input.hex", ("input", id(trial.data), id(trial.program)),
                          lambda: input_lines(c, trial.data, trial.program or ()))
        return {"name": trial.name, "setup": setup, "input": words, "beats": trial.output_words // c.stream_words,
                "blocks": trial.n_blocks, "deadline": trial.deadline, "reset": trial.reset, "seed": timing.seed,
                "stalls": STREAM_STALLS[timing.stalls]}

    def contract(self) -> dict[str, Any]:
        return {"start_target": SETUP_CONTROL, "block_fields": field_places(block_fields(self.config.has_tlast))}

    def lines(self, expected: Sequence[BlockResult]) -> list[str]:
        return block_lines(self.config, expected)

    def run(self, folder: Path, trial: Trial, report: Mapping[str, Any]) -> Run:
        c, lines = self.config, (folder / f"{trial.name}.output.hex").read_text().split()
        words, exponents, saturated, last = unpack_beats(lines, line_bits(c), c.stream_words, c.has_tlast)
        ends, cycles = np.flatnonzero(last), report["last_cycles"]
        parts = np.split(words, (ends[:-1] + 1) * c.stream_words)
        blocks = [BlockReport(cycle, int(exponents[end]), bool(saturated[end]), part)
                  for cycle, end, part in zip(cycles, ends, parts)]
        return Run(trial, words, self.status_of(report), blocks, report["starts"][-1], cycles[-1])

    def check_timings(self, seed: int, number: int) -> dict[str, StreamTiming]:
        return {name: StreamTiming(name, seed + number + n) for n, name in enumerate(STREAM_STALLS)}

    def shipped_timings(self, number: int) -> dict[str, StreamTiming]:
        return {"": StreamTiming(list(STREAM_STALLS)[number % len(STREAM_STALLS)], number)}
