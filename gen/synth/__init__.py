"""Synthesis, place and route of cores and blocks."""
