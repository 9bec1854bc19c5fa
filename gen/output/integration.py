"""What takes a core into somebody else's design: FuseSoC, LiteX, constraints, datasheet; from templates/.

Everything comes from the facts of the manifest, so that it cannot say anything else than the Verilog does.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import re
from typing import Any

from ...hw.config import CoreConfig, Target
from ...hw.isa.registers import register_map
from ...hw.sections import ControlBus
from .readme import render

__all__ = ["Interface", "interfaces", "fusesoc_core", "integration_files"]

_CLOCK_MHZ = 100.0  # of the constraint sketches: no field of a configuration names a clock, and a user sets it
_CHANNELS = "aw|ar|w|b|r"  # of AXI; the longer names first
Kind = str  # clock, axi, axi-lite, axi-stream, wishbone, stream or signal


@dataclass(frozen=True)
class Interface:
    """Ports of a core that belong together. ``members``: by port, what the standard of ``kind`` calls it."""

    name: str
    kind: Kind
    title: str
    ports: Sequence[Mapping[str, Any]]
    members: Mapping[str, str]


_PREFIXES = {"m_axi_": ("memory", "axi", "AXI4 master"), "s_axi_ctrl_": ("control", "axi-lite", "AXI4-Lite slave"),
             "wb_": ("control", "wishbone", "Wishbone B4 slave"),
             "s_axis_": ("i", "axi-stream", "AXI4-Stream in"), "m_axis_": ("o", "axi-stream", "AXI4-Stream out")}
_STREAM = ("payload", "valid", "ready")


def interfaces(ports: Sequence[Mapping[str, Any]]) -> list[Interface]:
    """The interfaces of a core, from the ports of its manifest, in their order."""
    streams = {port["name"].removesuffix("__valid") for port in ports if port["name"].endswith("__valid")}
    groups: dict[tuple[str, Kind, str], list[tuple[Mapping[str, Any], str]]] = {}
    for port in ports:
        key, member = _place(port["name"], streams)
        groups.setdefault(key, []).append((port, member))
    return [Interface(*key, [port for port, _ in found], {port["name"]: member for port, member in found})
            for key, found in groups.items()]


def _place(name: str, streams: Iterable[str]) -> tuple[tuple[str, Kind, str], str]:
    """Name, kind and title of the interface that has the port, and its name there."""
    if name in ("clk", "rst"):
        return ("clock", "clock", "Clock and reset"), name
    for prefix, key in _PREFIXES.items():
        if name.startswith(prefix):
            pin = name.removeprefix(prefix)
            if key[1] == "axi-stream":
                return key, pin.removeprefix("t")
            return key, pin if key[1] == "wishbone" else re.sub(rf"^({_CHANNELS})", r"\1.", pin)
    stem, _, last = name.rpartition("__")
    if stem in streams and last in _STREAM:
        return (stem, "stream", f"Stream `{stem}`"), last
    return ("signals", "signal", "Other signals"), name


def integration_files(config: CoreConfig, facts: Mapping[str, Any]) -> dict[str, str]:
    """Text of the LiteX module, the constraint sketches and the datasheet of a core, by their path in its folder.
    ``facts``: its manifest."""
    name = config.name
    found = interfaces(facts["ports"])
    shared = {"name": name, "config": config, "found": found, "facts": facts,
              "ecp5": config.target is Target.ECP5, "period": 1000 / _CLOCK_MHZ, "clock_mhz": _CLOCK_MHZ,
              "has_control": config.bus.control is not ControlBus.NATIVE}
    litex = {"class_name": "".join(part.capitalize() for part in name.split("_")) + "Core",
             "slots": {port["name"]: _litex(interface, port) for interface in found
                       for port in interface.ports}}
    registers = register_map(config) if shared["has_control"] else []
    return {f"litex_{name}.py": render("litex.py.j2", **shared, **litex),
            **{f"constraints/{name}.{kind}": render(f"constraints.{kind}.j2", **shared)
               for kind in ("sdc", "xdc", "lpf")},
            "ip-datasheet.md": render("datasheet.md.j2", registers=registers, **shared)}


def _litex(interface: Interface, port: Mapping[str, Any]) -> str | None:
    """What LiteX connects to a port, as Python; None leaves an output open."""
    member, name, width = interface.members[port["name"]], interface.name, port["width"]
    if interface.kind == "clock":
        return {"clk": "ClockSignal(clock_domain)", "rst": "ResetSignal(clock_domain)"}[member]
    if interface.kind == "signal":
        return f"self.{member}"
    if interface.kind == "stream":
        return f"self.{name}.{'data' if member == 'payload' else member}"
    if interface.kind == "axi-stream":
        return f"self.{name}.{member}"
    if interface.kind == "wishbone":
        pin = member.rpartition("_")[0]
        if pin == "stall":  # LiteX is a classic master
            return None
        # LiteX counts words.
        return f"Cat(Constant(0, 2), self.control.adr[:{width - 2}])" if pin == "adr" else \
            f"self.control.{ {'dat_i': 'dat_w', 'dat_o': 'dat_r'}.get(member, pin)}"
    if member.endswith("prot") and interface.kind == "axi-lite":
        return "Constant(0, 3)"  # which the slave does not look at
    channel, pin = member.split(".")
    whole = f"self.{name}.{channel}.{pin}"
    return f"{whole}[:{width}]" if interface.kind == "axi-lite" and pin == "addr" else whole


def fusesoc_core(config: CoreConfig, facts: Mapping[str, Any], bench: Iterable[str]) -> str:
    """The CAPI2 description. ``bench``: paths of the files of the test bench, from the folder of the core."""
    return render("fusesoc.core.j2", name=config.name, version=facts["tools"]["wingbeat"],
                  bench=sorted(bench), ecp5=config.target is Target.ECP5,
                  multipliers=facts["derived"]["n_multipliers"])
