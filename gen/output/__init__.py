"""The folders that a user gets."""
