"""Whole cores."""
