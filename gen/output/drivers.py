"""Drivers of a core with a control bus, in C and Python, and the simulator that both run on; from templates/."""

from ...hw.bus.axi4.burst import PAGE_BYTES, AxiParameters
from ...hw.config import CoreConfig, Target
from ...hw.isa.bit_fields import pack
from ...hw.isa.instruction import Fault
from ...hw.isa.registers import counter_names, register_map
from ...hw.isa.setup import CONTROL_START, SETUP, SETUP_CONTROL
from ...hw.numeric import largest
from ...hw.sections import MemoryBus
from .readme import render

__all__ = ["driver_files"]

_FAULTS = {
    Fault.NONE: "none", Fault.OPCODE: "unknown instruction", Fault.WALK: "illegal walk", Fault.PASS: "illegal pass",
    Fault.LOOP: "illegal loop", Fault.INPUT: "wrong order of reads, loads and passes",
    Fault.OUTPUT: "wrong order of stores and writes", Fault.AFTER: "a read waits for a block that is not there",
    Fault.REFUSED: "beat outside of the memory", Fault.WATCHDOG: "nothing has moved for too long",
    Fault.MEMORY: "illegal read or write", Fault.RECORD: "record for a target that is not its own",
    Fault.RING: "words of a matrix are left", Fault.ID: "no such row", Fault.MEMORY_ERROR: "error of the memory",
    Fault.ABORTED: "aborted"}
# Fields of STATUS that the templates name.
_KNOWN = ("busy", "done", "saturated", "drained", "fault", "tag", "bus_error", "bus_error_write")


def driver_files(config: CoreConfig) -> dict[str, str]:
    """Text of every file of the folder driver/ of a core with a control bus, by its name. A core without a memory has
    no simulator: what stands at its streams is the design around it."""
    name, is_axi = config.name, config.bus.memory is MemoryBus.AXI4
    registers = {register.name: register for register in register_map(config)}
    memory = {}
    if config.is_processor:
        axi = AxiParameters.of(config)
        memory = {"slot_bytes": axi.slot_bits // 8, "beat_elements": config.memory_elements,
                  "element_width": config.element_width, "largest": largest(config.element_width),
                  "memory_bits": config.memory_bits, "data_bytes": axi.data_bytes}
    facts = {
        "name": name, "NAME": name.upper(), "counters": counter_names(config),
        "faults": [_FAULTS[fault] for fault in Fault],
        "events": [field.name for field in registers["INTERRUPT_STATE"].fields],
        "is_processor": config.is_processor, "has_axi": is_axi, "has_loader": config.has_loader,
        "has_log": bool(config.block_log), "log_blocks": config.block_log, "control": config.bus.control.value,
        "ecp5": config.target is Target.ECP5, "can_simulate": config.is_processor,
        "address_width": config.bus.address_width, "base_alignment": PAGE_BYTES,
        "wide_address": "BASE_HIGH" in registers, "wide_limit": "LIMIT_HIGH" in registers,
        "flags": [field for field in registers["STATUS"].fields if field.name not in _KNOWN],
        "control_target": SETUP_CONTROL,
        "start_word": pack(SETUP, {"target": SETUP_CONTROL, "address": 0, "data": CONTROL_START}), **memory}
    files = {f"{name}_driver.h": "driver.h.j2", f"{name}_driver.c": "driver.c.j2", f"{name}_driver.py": "driver.py.j2"}
    if config.is_processor:
        files |= {"simulator.h": "simulator.h.j2", "simulator.cpp": "simulator.cpp.j2",
                  "simulator_main.cpp": "simulator_main.cpp.j2"}
    return {file: render(template, **facts) for file, template in files.items()}
