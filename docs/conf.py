"""Configuration of Sphinx for the site that `make docs` builds. Nothing in it reaches for the network."""

from importlib import metadata

project = "wingbeat"
author = copyright = "wingbeat contributors"
version = release = metadata.version("wingbeat")

extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"wingbeat {version}"
html_show_sphinx = False
exclude_patterns: list[str] = []
nitpicky = True             # a reference that leads nowhere is a warning, and `make docs` stops at warnings
myst_heading_anchors = 4    # anchors as on GitHub, so that one link serves both
pygments_style = "friendly"
