"""The source folder of the site: hand-written pages are copied, generated pages are written beside them.

The links of an `index.md` are the table of contents of its folder: the hand-written pages need no directive of Sphinx.
"""

from collections.abc import Callable
from pathlib import Path
import re
import shutil

from . import blocks, commands, configuration, decisions, instructions, latencies, register_map, setup_map

__all__ = ["DOCS", "generated_names", "reference_pages", "write_site"]

DOCS = Path(__file__).parents[1]
_REFERENCE: dict[str, Callable[[], str]] = {
    "reference/configuration.md": configuration.page, "reference/instructions.md": instructions.page,
    "reference/setup_map.md": setup_map.page, "reference/command_line.md": commands.page,
    "reference/latencies.md": latencies.page, "reference/register_map.md": register_map.page,
    "decisions/index.md": decisions.page, "blocks/index.md": blocks.index}
_LINK = re.compile(r"\]\(([a-z0-9_/-]+\.md)\)")


def generated_names() -> list[str]:
    """Path below docs/ of every generated page."""
    return [*_REFERENCE, *(blocks.page_name(path) for path in blocks.component_files())]


def reference_pages() -> dict[str, str]:
    """Text of every generated page that needs no simulation, by its path below docs/."""
    return {name: page() for name, page in _REFERENCE.items()}


def write_site(folder: Path) -> None:
    """Replace ``folder`` by all pages, pictures and the configuration of Sphinx."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(DOCS.rglob("*.md")):
        _write(folder / path.relative_to(DOCS), path.read_text(encoding="utf-8"))
    for name, text in reference_pages().items():
        _write(folder / name, text)
    blocks.write_pages(folder)
    shutil.copy(DOCS / "conf.py", folder)
    for path in sorted(folder.rglob("index.md")):
        _write(path, path.read_text(encoding="utf-8") + _contents(path))


def _contents(index: Path) -> str:
    """Directive with the pages that an index links to, without those of another index on the way."""
    names = dict.fromkeys(_LINK.findall(index.read_text(encoding="utf-8")))
    own = [name for name in names if not name.startswith("..")]
    return "\n```{toctree}\n:hidden:\n\n" + "\n".join(own) + "\n```\n" if own else ""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
