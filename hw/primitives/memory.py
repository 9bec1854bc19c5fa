"""Ports of a memory with names of their own.

``Memory.read_port`` of Amaranth looks at the bytecode of its caller for a name, and every version of Python has another
bytecode. The Verilog must not depend on that.
"""

from amaranth.lib.memory import Memory, ReadPort, WritePort
from amaranth.utils import ceil_log2

__all__ = ["read_port", "write_port"]


def write_port(memory: Memory, name: str = "write") -> WritePort:
    """A write port of whole words in the domain ``sync``; its signals are called ``name__...``."""
    signature = WritePort.Signature(shape=memory.shape, addr_width=ceil_log2(memory.depth))
    return WritePort(signature, memory=memory, domain="sync", path=(name,))


def read_port(memory: Memory, domain: str = "comb", name: str = "read") -> ReadPort:
    """A read port; its signals are called ``name__...``. In ``comb`` the word follows its address at once."""
    signature = ReadPort.Signature(shape=memory.shape, addr_width=ceil_log2(memory.depth))
    return ReadPort(signature, memory=memory, domain=domain, path=(name,))
