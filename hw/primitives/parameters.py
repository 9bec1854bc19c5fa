"""Depths and widths of the parts that everything is built of.

A leaf without Amaranth: the cycle model counts the words that wait in the same parts.
"""

__all__ = ["LATE_WORDS", "SKID_WORDS", "LUT_PLACES", "RAM_BITS"]

SKID_WORDS = 2   # that wait in a skid buffer
LUT_PLACES = 16  # of a whole memory of LUTs: what is less deep costs as much
RAM_BITS = 144   # of a word of the widest Ram
# Words that a condition in a register has not seen: those of the two cycles before, and that of its own.
LATE_WORDS = 3
