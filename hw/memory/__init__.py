"""The memory port and the units that move beats over it."""
