"""The one error a user sees."""

__all__ = ["WingbeatError"]


class WingbeatError(ValueError):
    """A user's mistake: one line naming the field, the value and what is allowed."""
