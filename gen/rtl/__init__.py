"""Amaranth components to Verilog."""
