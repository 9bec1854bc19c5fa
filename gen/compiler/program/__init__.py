"""Kernels between memory and memory: tasks, stages, programs of a processor."""
