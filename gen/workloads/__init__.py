"""What is measured: kernels, FABNet blocks, the shipped networks and their data."""
