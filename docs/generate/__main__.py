"""`python -m generate DIR`: write every source of the site, hand-written and generated, into DIR."""

from pathlib import Path
import sys

from .site import write_site

if __name__ == "__main__":
    write_site(Path(sys.argv[1]))
