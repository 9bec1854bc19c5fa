"""Where the cycles went, as pictures and pages."""
