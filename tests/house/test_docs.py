"""Documents: links lead somewhere, what is cited exists, commands parse, generated pages cover the code."""

from functools import cache
from pathlib import Path
import re
import shlex
import sys

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(DOCS))  # docs/generate is no part of the package

from generate import blocks, commands, pictures, site, text  # noqa: E402
from wingbeat.gen.presets.select import load_preset  # noqa: E402

FRONT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = sorted([*(ROOT / name for name in FRONT), *DOCS.rglob("*.md")])
PARTS = ("hw", "sim", "gen", "boards", "tests", "docs")
# All but the rules of the house, which name files that are not there to see them found.
CITING = sorted(path for part in PARTS for ending in ("py", "md", "j2", "toml", "v")
                for path in (ROOT / part).rglob(f"*.{ending}")
                if path.parent != Path(__file__).parent) + [ROOT / name for name in (*FRONT, "pyproject.toml")]
COMMANDED = [path for path in PAGES if "decisions" not in path.parts]  # what they tell is history
README_LINES = 120


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(page: str) -> str:
    """A page without its code: blocks between fences and indented ones, and code in a line."""
    page = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^(    |\t).*$", "", page, flags=re.MULTILINE))


@cache
def generated() -> dict[str, str]:
    """Pages without pictures, as they are built; the pages of blocks by name only."""
    return {**dict.fromkeys(site.generated_names(), ""), **site.reference_pages()}


def anchors(page: str) -> set[str]:
    plain = re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#{1,6} (.*)$", plain, re.MULTILINE)
    return {text.slug(re.sub(r"\\(.)", r"\1", head)) for head in heads}


def dead_links(page: str, place: Path) -> list[str]:
    """Links of ``page``, which stands at ``place``, that lead nowhere."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (place.parent / path).resolve() if path else place
        inside = file.relative_to(DOCS).as_posix() if file.is_relative_to(DOCS) else ""
        # Generated pages exist in the site only, so only pages of the site may link to them.
        is_generated = inside in generated() and place.is_relative_to(DOCS)
        if not (is_generated or file.exists()):
            dead.append(target)
        elif anchor:
            there = generated()[inside] if is_generated else page if file == place else file.read_text()
            if anchor not in anchors(there):
                dead.append(target)
    return dead


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_resolve(path):
    assert not dead_links(path.read_text(), path)


@pytest.mark.parametrize("name", sorted(site.reference_pages()))
def test_links_of_generated_pages_resolve(name):
    assert not dead_links(generated()[name], DOCS / name)


def missing_citations(source: str) -> list[str]:
    """Documents and files of the project that a text names and that do not exist."""
    missing = []
    for document in re.findall(r"\bdocs/[A-Za-z0-9_/-]+(?:\.md|\.py|\.toml)?", source):
        path = document.removeprefix("docs/").rstrip("/")
        is_there = (DOCS / path).exists() or any(DOCS.glob(f"{path}-*.md")) or path in generated()
        if not is_there and not document.startswith(("docs/html", "docs/source")):
            missing.append(document)
    if not source.startswith("#"):  # a page may name its neighbour
        missing += re.findall(r"(?<![/\w\"-])(?:design|architecture|processor|vector)\.md", source)
    for file in re.findall(r"(?<![\w./-])(?:hw|sim|gen|boards|tests)/[A-Za-z0-9_/]+\.(?:py|toml|v)\b", source):
        if not (ROOT / file).exists():
            missing.append(file)
    return missing


@pytest.mark.parametrize("path", CITING, ids=name_of)
def test_what_is_cited_exists(path):
    assert not missing_citations(path.read_text())


def test_sections_of_the_design_exist():
    heads = set(re.findall(r"^## (\d)\. ", (DOCS / "design.md").read_text(), re.MULTILINE))
    cited = {section for path in CITING for section in re.findall(r"docs/design\.md section (\d)", path.read_text())}
    assert cited and cited <= heads


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= README_LINES


# --- commands ---------------------------------------------------------------------------------

def command_lines(page: str) -> list[str]:
    """Lines of code that call wingbeat, and calls with options inside a line of text."""
    lines = re.findall(r"^    ((?:time )?wingbeat [^\n]*)$", page, re.MULTILINE)
    inside = re.findall(r"`(wingbeat [^`\n]* -[^`\n]*)`", page)
    return [line.split("  #")[0].removeprefix("time ").strip() for line in (*lines, *inside)]


def refused(line: str) -> str | None:
    """Why the command line would not take ``line``, without running it."""
    words = shlex.split(line)
    tree = commands.command_tree()
    name = max((known for known in tree if line.startswith(f"{known} ") or line == known), key=len, default=None)
    if name is None:
        return "no such command"
    command = tree[name]
    rest = words[len(name.split()):]
    try:
        command.make_context(name, list(rest))
        options = list(zip(words, words[1:]))
        for _, preset in [pair for pair in options if pair[0] == "--preset"]:
            load_preset(preset, [value for option, value in options if option == "--set"])
    except (Exception, SystemExit) as fault:
        return f"{type(fault).__name__}: {fault}"
    return None


@pytest.mark.parametrize("path", [path for path in COMMANDED if command_lines(path.read_text())], ids=name_of)
def test_commands_parse(path):
    assert not {line: why for line in command_lines(path.read_text()) if (why := refused(line))}


def test_make_verbs_exist():
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in PAGES:
        for verb in re.findall(r"(?:^    |`)make ([a-z]+)\b", path.read_text(), re.MULTILINE):
            assert verb in verbs, f"{name_of(path)}: make {verb}"


# --- what every page must not, and must, have -----------------------------------------------------

PLACES = re.compile(r"(?<![\w.:/-])/(?:home|root|tmp|usr|opt|work|srv|mnt)/")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_pages_name_no_place_on_a_machine(path):
    assert not PLACES.findall(path.read_text())


def test_every_component_file_has_pictures_or_a_reason():
    files = {path.relative_to("hw").as_posix() for path in blocks.component_files()}
    assert set(pictures.SHOTS) == files
    assert {name for name, shots in pictures.SHOTS.items() if not shots} == set(pictures.NO_PICTURE)


def test_every_folder_stands_on_the_map():
    page = (DOCS / "contributing/index.md").read_text()
    folders = {path.parent.relative_to(ROOT) for part in ("hw", "sim", "gen") for path in (ROOT / part).rglob("*.py")}
    leaves = {f"`{folder.as_posix()}/`" for folder in folders if len(folder.parts) == 2}
    assert leaves <= set(re.findall(r"`[a-z_/]+/`", page))


def test_every_instruction_field_is_in_the_reference():
    from wingbeat.hw.isa.encoding import FIELDS
    page = generated()["reference/instructions.md"]
    for opcode, fields in FIELDS.items():
        section = page.split(f"## {opcode.name}, opcode {int(opcode)}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [name for name, _ in fields]


# --- the checks catch ---------------------------------------------------------------------------

@pytest.mark.parametrize("page", ["[x](nowhere.md)", "[x](index.md#nothing)", "[x](#nothing)", "[x](../nowhere)"])
def test_dead_links_are_found(page):
    assert dead_links(page, DOCS / "index.md")


def test_a_link_from_the_front_to_a_generated_page_is_found():
    assert dead_links("[x](docs/reference/configuration.md)", ROOT / "README.md")
    assert not dead_links("[x](reference/configuration.md#fields)", DOCS / "index.md")


@pytest.mark.parametrize("source", ["see docs/nowhere.md", "see docs/decisions/0999", "hw/nowhere.py", "design.md 3"])
def test_missing_citations_are_found(source):
    assert missing_citations(source)


@pytest.mark.parametrize("line", ["wingbeat nothing", "wingbeat presets --nothing", "wingbeat evaluate",
                                  "wingbeat bench kernels --blocks many", "wingbeat presets --preset nothing",
                                  "wingbeat bench accuracy --preset tiny --set array.nothing=1"])
def test_bad_commands_are_found(line):
    assert refused(line)


def test_tables_of_docstrings_become_tables():
    assert text.docstring("Ports.\n\n| a | b |\n|---|---|\n| ``x`` | y*z |\n", "x.md") == \
        "Ports.\n\n| a | b |\n|---|---|\n| `x` | y\\*z |\n"


def test_docstrings_become_pages():
    page = text.docstring("Does x*y, see docs/design.md section 3.\n\nLatency: 3. Cost: ``n`` RAMs.\n\n    a  b\n",
                          "x.md")
    assert page == ("Does x\\*y, see [design.md section 3](design.md#3-the-butterfly-unit).\n\n**Latency:** 3.\n\n"
                    "**Cost:** `n` RAMs.\n\n```text\na  b\n```\n")
