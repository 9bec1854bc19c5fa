"""Random and illegal programs for the regressions."""
