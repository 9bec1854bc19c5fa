"""Parts and technologies: what they have, and how Yosys and nextpnr are told."""

from dataclasses import dataclass, field
import re

from ...hw.config import Target

__all__ = ["Device", "Family", "TARGETS", "ecp5_part"]


@dataclass(frozen=True)
class Device:
    """One part: nextpnr's options for it and what it has."""

    options: tuple[str, ...]
    package: str
    comb: int
    bram: int
    dsp: int


@dataclass(frozen=True)
class Family:
    """One technology: how Yosys maps to it, which cells count as what, and its parts (the default first).

    ``logic`` says how many logic cells a counted cell takes; ``logic_cell`` is nextpnr's name of a logic
    cell. ``frequency`` in MHz is what nextpnr aims at unless told otherwise: a little more than it can
    reach.
    """

    script: str
    cells: tuple[tuple[str, str], ...]
    logic: dict[str, int]
    hardware: Target = Target.PORTABLE
    nextpnr: str = ""
    logic_cell: str = ""
    frequency: float = 0.0
    devices: dict[str, Device] = field(default_factory=dict)

    def comb(self, counts: dict[str, int]) -> int:
        return sum(number * counts.get(kind, 0) for kind, number in self.logic.items())


# Multipliers and memories stay whole; everything else becomes 4-input LUTs and flip-flops. techmap runs twice
# because the carry cells that the first run makes are outside its selection.
_GENERIC = ("hierarchy -top {top}; proc; flatten; opt; wreduce; peepopt; opt_clean; memory -nomap; "
            "opt -full; techmap t:* t:$mul %d t:$mem_v2 %d; techmap t:* t:$mul %d t:$mem_v2 %d; "
            "opt -full; abc -lut 4; opt_clean; write_json {top}.json")

TARGETS = {
    "ecp5": Family(
        "synth_ecp5 -top {top} -json {top}.json",
        (("LUT4", "lut"), ("CCU2C", "carry"), ("TRELLIS_FF", "ff"), ("DP16KD", "bram"), ("MULT18X18D", "dsp"),
         ("TRELLIS_DPR16X4", "lutram")),
        {"lut": 1, "carry": 2, "lutram": 4}, Target.ECP5, "nextpnr-ecp5", "TRELLIS_COMB", 240.0,
        {"85k": Device(("--85k",), "CABGA381", 83640, 208, 156),
         "45k": Device(("--45k",), "CABGA381", 43848, 108, 72),
         "25k": Device(("--25k",), "CABGA381", 24288, 56, 28)}),
    "ice40": Family(
        "synth_ice40 -device u -dsp -top {top} -json {top}.json",
        (("SB_LUT4", "lut"), ("SB_CARRY", "carry"), ("SB_DFF.*", "ff"), ("SB_RAM40_4K.*", "bram"),
         ("SB_MAC16", "dsp")),
        {"lut": 1}, Target.PORTABLE, "nextpnr-ice40", "ICESTORM_LC", 48.0,
        {"up5k": Device(("--up5k",), "sg48", 5280, 30, 8)}),
    "generic": Family(
        _GENERIC,
        ((r"\$lut", "lut"), (r"\$_\w*DFF\w*_", "ff"), (r"\$mul", "dsp"), (r"\$mem_v2", "bram")),
        {"lut": 1}),
}


def ecp5_part(name: str) -> Device | None:
    """The part that its maker calls ``name``, such as LFE5U-85F; None for one that is no ECP5 of the table."""
    found = re.fullmatch(r"LFE5UM?(?:5G)?-(\d+)F", name)
    return TARGETS["ecp5"].devices.get(f"{found[1]}k") if found else None
