"""Generated Verilog on a simulator, against the integer model."""
