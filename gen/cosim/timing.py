"""How fast what stands around a simulated core is: the stalls of its streams, or the speed of its memory."""

from dataclasses import dataclass
from fractions import Fraction
import re

import numpy as np

from ...hw.errors import WingbeatError

__all__ = ["MEMORY_STALLS", "STREAM_STALLS", "MemoryTiming", "StreamTiming"]

_LONGEST_LATENCY = 400
_MOST_WORDS = 256
_DELAY = re.compile(r"(?:delay|axi):(\d+),(\d+(?:\.\d+)?)")

# Stalls of the three streams: chance to be willing in a cycle, or runs of 1..burst cycles, willing and not.
STREAM_STALLS: dict[str, dict[str, dict]] = {
    "none": {},
    "input_gaps": {"setup": {"chance": 0.7}, "input": {"chance": 0.4}},
    "output_stalls": {"output": {"chance": 0.4}},
    "both": {"setup": {"chance": 0.5}, "input": {"chance": 0.6}, "output": {"chance": 0.6}},
    "bursty": {"setup": {"burst": 8}, "input": {"burst": 24}, "output": {"burst": 24}},
    "shy": {"input": {"chance": 0.9}, "output": {"shy": True}},
}

# Stalls of read.ready, beats.valid, write.ready and `written`: chance of each in a cycle, and the mean length of the
# runs of equal cycles, a power of two.
MEMORY_STALLS: dict[str, tuple[tuple[float, float, float, float], int]] = {
    "none": ((0, 0, 0, 0), 1),
    "gaps": ((0.4, 0.4, 0.4, 0.4), 1),
    "bursts": ((0.5, 0.5, 0.5, 0.5), 16),
    "slow_reads": ((0.5, 0.7, 0, 0), 4),
    "slow_writes": ((0, 0, 0.5, 0.7), 4),
}


@dataclass(frozen=True)
class StreamTiming:
    """When the streams of an array stall: a profile of STREAM_STALLS, random by ``seed``. Raises
    :class:`WingbeatError` naming the field."""

    stalls: str = "none"
    seed: int = 0

    def __post_init__(self):
        if self.stalls not in STREAM_STALLS:
            raise WingbeatError(f"stalls: {self.stalls!r} is not known; allowed are {', '.join(STREAM_STALLS)}")

    @property
    def note(self) -> str:
        """What a message about a run says of it."""
        return f"{self.stalls}, seed {self.seed}"


@dataclass(frozen=True)
class MemoryTiming:
    """How fast the memory is.

    ``latency``: cycles, 1..400, from an accepted read to its beat and from an accepted write to ``written``.
    ``words_per_cycle``: what each direction moves on average, at most one beat ahead; 0 is a beat per cycle.
    ``stalls``: a profile of MEMORY_STALLS, random by ``seed``. ``overtaking``: a write shows in reads that were
    accepted before it, which the port allows, too. Raises :class:`WingbeatError` naming the field.
    """

    latency: int = 1
    words_per_cycle: Fraction = Fraction(0)
    stalls: str = "none"
    seed: int = 0
    overtaking: bool = False

    def __post_init__(self):
        if not 1 <= self.latency <= _LONGEST_LATENCY:
            raise WingbeatError(f"latency: {self.latency} cycles; allowed are 1..{_LONGEST_LATENCY}")
        rate = Fraction(self.words_per_cycle).limit_denominator(1000)
        if self.words_per_cycle and not Fraction(1, 1000) <= rate <= _MOST_WORDS:
            raise WingbeatError(f"words_per_cycle: {self.words_per_cycle}; allowed are 0.001..{_MOST_WORDS}, "
                                "or 0 for a beat per cycle")
        object.__setattr__(self, "words_per_cycle", rate)
        if self.stalls not in MEMORY_STALLS:
            raise WingbeatError(f"stalls: {self.stalls!r} is not known; allowed are {', '.join(MEMORY_STALLS)}")

    @classmethod
    def parse(cls, text: str, **others) -> "MemoryTiming":
        """Timing of the option ``ideal`` or ``delay:LATENCY,WORDS_PER_CYCLE``; ``others`` are fields it does not name.
        ``axi:`` is the word of version 0.1 for ``delay:``; it is read for one release.

        Raises :class:`WingbeatError` for any other text.
        """
        found = _DELAY.fullmatch(text)
        if text != "ideal" and not (found and float(found[2])):
            raise WingbeatError(f"memory: {text!r}; allowed are ideal and delay:LATENCY,WORDS_PER_CYCLE, "
                                "such as delay:40,12")
        return cls(int(found[1]), Fraction(found[2]), **others) if found else cls(**others)

    @property
    def note(self) -> str:
        """What a message about a run says of it."""
        return f"latency {self.latency}, stalls {self.stalls}, seed {self.seed}"

    def settings(self, stream_words: int) -> dict[str, int]:
        """Inputs of gen/cosim/verilog/memory.v for beats of ``stream_words`` words."""
        rate = self.words_per_cycle or Fraction(stream_words)
        chances, run = MEMORY_STALLS[self.stalls]
        state = np.random.SeedSequence(self.seed).generate_state(1, np.uint64)[0]
        return {"latency": self.latency, "gain": rate.numerator, "cost": stream_words * rate.denominator,
                "overtaking": int(self.overtaking), "holds": run - 1, "seed": int(state) | 1,
                "chances": sum(round(256 * chance) << 8 * n for n, chance in enumerate(chances))}
