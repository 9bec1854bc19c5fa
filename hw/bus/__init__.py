"""The memory port and the control as standard buses."""
