"""Synthesisable blocks in Amaranth, one block a file, and the leaves they share with the models."""
