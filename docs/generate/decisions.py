"""Index of the decision records."""

from .text import ROOT, escape

__all__ = ["page"]


def page() -> str:
    lines = ["# Decisions", "", "A record says what was decided, why, what follows from it, and what was rejected.", ""]
    for path in sorted((ROOT / "docs/decisions").glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"* [{escape(title)}]({path.name})")
    return "\n".join(lines) + "\n"
