"""Bit-exact integer models of what the hardware computes."""
