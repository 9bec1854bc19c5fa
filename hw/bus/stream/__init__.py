"""AXI4-Stream in front of the streams of an array."""
