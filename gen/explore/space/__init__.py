"""Search of a space of configurations: points, objectives, estimates, the Pareto front, and its measurement."""
