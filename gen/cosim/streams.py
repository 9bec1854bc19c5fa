"""An array between three streams: setup, input and output, each with its own stalls (testbench/array_bench.py)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ...hw.isa.bit_fields import field_places
from ...hw.isa.setup import BLOCK_FIELDS, SETUP_CONTROL
from ...sim.model.array import BlockResult
from ..compiler.beats import pack_beats, pack_setup, tag_beats, unpack_beats
from .harness import Files, Harness
from .job import BlockReport, Run, Trial
from .timing import STREAM_STALLS, StreamTiming

__all__ = ["StreamHarness", "block_lines"]


def block_lines(config: CoreConfig, blocks: Sequence[BlockResult]) -> list[str]:
    """Output beats of ``blocks``; ``saturated`` is given on the last beat of each, where it is final."""
    lines = []
    for block in blocks:
        words = pack_beats(block.words, config.element_width, config.stream_words)
        last = np.arange(len(words)) == len(words) - 1
        lines += tag_beats(words, np.full(len(words), block.exponent), last & bool(block.saturated), last,
                           config.element_width, config.stream_words)
    return lines


class StreamHarness(Harness):
    """Nothing but the array; the streams are Python."""

    benches = ("array_bench",)

    def check(self, trial: Trial) -> None:
        if not isinstance(trial.timing, StreamTiming):
            raise WingbeatError(f"memory: {self.config.name} has no [memory]; allowed is a processor")

    def entry(self, trial: Trial, files: Files) -> dict[str, Any]:
        c, timing = self.config, trial.timing
        setup = files.put(f"{trial.name}.setup.hex", ("setup", id(trial.setup), id(trial.program)),
                          lambda: pack_setup(trial.setup_writes))
        words = files.put(f"{trial.name}.input.hex", ("input", id(trial.data)),
                          lambda: pack_beats(trial.data, c.element_width, c.stream_words))
        return {"name": trial.name, "setup": setup, "input": words, "beats": trial.output_words // c.stream_words,
                "blocks": trial.n_blocks, "deadline": trial.deadline, "reset": trial.reset, "seed": timing.seed,
                "stalls": STREAM_STALLS[timing.stalls]}

    def contract(self) -> dict[str, Any]:
        return {"start_target": SETUP_CONTROL, "block_fields": field_places(BLOCK_FIELDS)}

    def lines(self, expected: Sequence[BlockResult]) -> list[str]:
        return block_lines(self.config, expected)

    def run(self, folder: Path, trial: Trial, report: Mapping[str, Any]) -> Run:
        c, lines = self.config, (folder / f"{trial.name}.output.hex").read_text().split()
        words, exponents, saturated, last = unpack_beats(lines, c.element_width, c.stream_words)
        ends, cycles = np.flatnonzero(last), report["last_cycles"]
        parts = np.split(words, (ends[:-1] + 1) * c.stream_words)
        blocks = [BlockReport(cycle, int(exponents[end]), bool(saturated[end]), part)
                  for cycle, end, part in zip(cycles, ends, parts)]
        return Run(trial, words, self.status_of(report), blocks, report["starts"][-1], cycles[-1])

    def check_timings(self, seed: int, number: int) -> dict[str, StreamTiming]:
        return {name: StreamTiming(name, seed + number + n) for n, name in enumerate(STREAM_STALLS)}

    def shipped_timings(self, number: int) -> dict[str, StreamTiming]:
        return {"": StreamTiming(list(STREAM_STALLS)[number % len(STREAM_STALLS)], number)}
