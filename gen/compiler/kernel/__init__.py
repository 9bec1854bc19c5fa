"""One matrix or transform on an array: passes, coefficients, number formats."""
