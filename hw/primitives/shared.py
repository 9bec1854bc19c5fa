"""A block that stands many times in the design is elaborated once when Verilog is written.

Amaranth elaborates and converts every instance: 32 equal engines take 32 times as long as one. A platform
with a method ``shared`` (gen/rtl/verilog.py) takes equal blocks out of the design and puts instances of one
module in their place. Simulation in Python and boards have no such platform and see the plain component.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

__all__ = ["once"]


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
