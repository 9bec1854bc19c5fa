"""From matrices, transforms and networks to programs."""
