"""tests/ has the folders of the package, and every module its test file, but for a list that may only shrink."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards")
OTHER_FOLDERS = {"cosim", "formal", "house", "support"}  # whole cores, proofs, rules, helpers

# Modules without a test file of their own; what tests them stands beside. Take a line away, never add one.
UNTESTED = {
}


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for part in PARTS for path in (ROOT / part).rglob("*.py")
            if path.name != "__init__.py"}


def test_of(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"tests/{folder}/test_{name}"


def untested(names: set[str]) -> set[str]:
    return {module for module in names if not (ROOT / test_of(module)).exists()}


def test_every_module_has_its_test_file():
    assert untested(modules()) - set(UNTESTED) == set()


def test_the_list_only_holds_modules_without_one():
    assert set(UNTESTED) <= untested(modules())


@pytest.mark.parametrize("module", sorted(UNTESTED))
def test_what_tests_them_exists(module):
    for path in UNTESTED[module].split():
        assert (ROOT / "tests" / path).exists()


def test_no_test_file_without_its_module():
    """A test that stands alone was left behind by a move."""
    found = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    alone = {path for path in found if path.split("/")[0] not in OTHER_FOLDERS
             and not (ROOT / path.replace("test_", "", 1)).exists()}
    assert alone - SEVERAL == set()


# Test files that look at one side of a module which another test file covers as a whole.
SEVERAL: set[str] = set()


def test_folders_are_those_of_the_package():
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    ours = {folder for folder in folders if folder.split("/")[0] not in OTHER_FOLDERS}
    assert all((ROOT / folder).is_dir() for folder in ours)


def test_the_rule_catches():
    assert untested({"hw/array/nothing.py"}) == {"hw/array/nothing.py"}
    assert not untested({"hw/array/engine.py"})
