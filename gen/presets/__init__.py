"""Named configurations and how they are selected."""
