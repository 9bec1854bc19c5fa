"""Drivers and monitors for components under the Amaranth simulator."""
