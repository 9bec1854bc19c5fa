"""Board tops, one file a board, and the host side of their serial link."""
