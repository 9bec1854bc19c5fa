"""A part of the campaign, run by a worker in the checkout that this file stands in: plain values in and out."""

from functools import cache
import hashlib
import json
import os
from pathlib import Path
import re
import subprocess
import sys

ROOT = Path(__file__).parents[2]
CASES = 200  # of tests that draw at random
_LINES = 200  # of the output of a part with a failure, from its end


@cache
def checkout_version():
    """Digest of everything that a test can see."""
    digest = hashlib.sha256()
    paths = [path for folder in ("hw", "sim", "gen", "boards", "tests", "docs") for path in (ROOT / folder).rglob("*")]
    for path in sorted([*paths, *(ROOT / name for name in ("Makefile", "README.md", "pyproject.toml"))]):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def environment(seed, **more):
    """Of pytest, in a campaign that begins at ``seed``."""
    return {**os.environ, "WINGBEAT_COSIM_SEEDS": str(CASES), "WINGBEAT_CAMPAIGN_SEED": str(seed), **more}


def pytest_command(seed, *arguments):
    return [sys.executable, "-m", "pytest", "-q", f"--hypothesis-seed={seed}", *arguments]


def part_key(task):
    return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()


def run_part(task):
    """``passed``: what pytest says of tests that all pass; or ``fault``: the end of its output."""
    if task["version"] != checkout_version():
        return {"fault": "the checkout of the worker is not that of the client"}
    run = subprocess.run(pytest_command(task["seed"], *task["tests"]), cwd=ROOT, stdin=subprocess.DEVNULL,
                         env=environment(task["seed"], WINGBEAT_CAMPAIGN_PART="1"), stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    lines = run.stdout.splitlines()
    if run.returncode:
        return {"fault": "\n".join(lines[-_LINES:]) or f"pytest ended with {run.returncode}"}
    return {"passed": re.sub(r" in [\d.]+s.*$", "", lines[-1])}
