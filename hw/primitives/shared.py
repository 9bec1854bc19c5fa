"""A block that stands many times in the design is elaborated once when Verilog is written.

Amaranth elaborates and converts every instance: 32 equal engines take 32 times as long as one. A platform
with a method ``shared`` (gen/rtl/verilog.py) takes equal blocks out of the design and puts instances of one
module in their place. Simulation in Python and boards have no such platform and see the plain component.

Instances of such modules have a reset of their own, so ``restarted`` adds to that too.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from amaranth.hdl import Instance, ResetInserter, Value

__all__ = ["once", "restarted"]


def once(parameters: str) -> Callable:
    """Decorator of ``elaborate``: ``parameters`` names the attribute that decides the hardware.

    Two components of one class whose attributes are equal become the same module. The attribute must be
    hashable and hold everything that ``elaborate`` depends on.
    """
    def decorate(elaborate: Callable) -> Callable:
        @wraps(elaborate)
        def wrapper(self: Any, platform: Any) -> Any:
            shared = getattr(platform, "shared", None)
            instance = shared and shared(self, getattr(self, parameters))
            return elaborate(self, platform) if instance is None else instance

        return wrapper

    return decorate


def restarted(part: Any, restart: Value) -> Any:
    """``part`` and all below it, whose registers a one of ``restart`` resets as the reset of the domain does. Its
    attributes are those of ``part``.

    ``restart`` must be a register that the reset of the domain sets: a ``part`` that is elaborated once is reset by it
    alone, a cycle later, without a gate in front of thousands of registers."""
    return _Restart(restart)(part)


class _Restart(ResetInserter):
    """A ResetInserter that does not pass over the modules of blocks that are elaborated once."""

    def on_fragment(self, fragment):
        found = super().on_fragment(fragment)
        if isinstance(found, Instance) and "rst" in found.ports:
            _, kind = found.ports["rst"]
            found.ports["rst"] = (self.controls["sync"], kind)
        return found
