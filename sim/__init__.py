"""What the hardware must compute: a float64 outside truth and bit-exact integer models."""
