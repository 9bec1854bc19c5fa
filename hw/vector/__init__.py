"""Filters between array and memory: LayerNorm, scale and bias, activation, residual, argmax."""
