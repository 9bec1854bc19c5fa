"""What the model says of a program that a processor must stop."""

import pytest

from wingbeat.hw.isa.instruction import Fault
from wingbeat.hw.isa.setup import SETUP_PROGRAM
from wingbeat.sim.model.handout import ProgramFault
from wingbeat.sim.model.processor import ProcessorModel

# No program ends in these: the memory or the host stops it.
OF_NO_PROGRAM = (Fault.NONE, Fault.MEMORY_ERROR, Fault.ABORTED)


def fault_of(config, case):
    """The ProgramFault that the model raises for an illegal program."""
    model = ProcessorModel(config, [], [], case.memory.copy())
    for write in case.setup:
        model.write_setup(*write)
    for address, word in enumerate(case.words):
        model.write_setup(SETUP_PROGRAM, address, word)
    with pytest.raises(ProgramFault) as found:
        model.run()
    return found.value
