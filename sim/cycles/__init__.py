"""Exact cycle models: how long the hardware takes, and why."""
