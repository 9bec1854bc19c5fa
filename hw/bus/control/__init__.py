"""Registers of a core behind a standard control bus: AXI4-Lite or Wishbone."""
