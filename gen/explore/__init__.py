"""Measurements: utilisation, accuracy, sensitivity, networks."""
