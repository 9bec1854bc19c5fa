"""Byte link between a host and the array on a board."""
