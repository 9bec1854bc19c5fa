"""The memory port as an AXI4 master."""
