"""`make campaign` collects the tests, hands them out in parts through Dask, and keeps a journal of the parts that pass.

Started again with the same seed it goes on: parts that have passed are not run again, those that failed are. Other
machines need the same checkout, installed, and workers that find tests/support:

    PYTHONPATH=tests .venv/bin/dask worker tcp://HOST:8786 --nthreads 1
    SCHEDULER=tcp://HOST:8786 SEED=1 make campaign
"""

import argparse
from itertools import groupby
from pathlib import Path
import subprocess
import sys

from wingbeat.gen.console import stage_progress
from wingbeat.gen.explore.space.journal import open_journal
from wingbeat.gen.explore.space.workers import open_workers
from wingbeat.hw.errors import WingbeatError

from support.campaign_part import ROOT, checkout_version, environment, part_key, pytest_command, run_part

_MOST = 12  # cases of a part: of one file, so that what it builds is built seldom


def collect(seed, arguments):
    """Names of all cases. Ends the program as pytest does where it cannot collect them."""
    run = subprocess.run(pytest_command(seed, "--collect-only", *arguments), cwd=ROOT, env=environment(seed),
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8")
    if run.returncode:
        sys.stderr.write(run.stdout)
        sys.exit(run.returncode)
    return [line for line in run.stdout.splitlines() if "::" in line]


def parts(seed, names):
    """Tasks of a few cases of one file each."""
    for _, group in groupby(names, lambda name: name.split("::")[0]):
        cases = list(group)
        for begin in range(0, len(cases), _MOST):
            yield {"seed": seed, "version": checkout_version(), "tests": cases[begin:begin + _MOST]}


def run_campaign(tasks, journal, run, report):
    """Faults of the parts that fail, by their tests."""
    wanted = {part_key(task): task for task in tasks}
    missing = {key: task for key, task in wanted.items() if key not in journal}
    done, faults = len(wanted) - len(missing), {}
    if done:
        report("parts", done, len(wanted), f"{done} in the journal")
    for key, answer in run(missing.items()) if missing else ():
        tests = missing[key]["tests"]
        done += 1
        if "fault" in answer:
            faults[" ".join(tests)] = answer["fault"]
        else:
            journal.record(key, "campaign", answer)
        report("parts", done, len(wanted), f"{tests[0]}: {answer.get('passed', 'FAILED')}")
    return faults


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest that choose tests")
    given = parser.parse_args(arguments)
    tasks = list(parts(given.seed, collect(given.seed, given.pytest)))
    try:
        with (open_journal(given.journal) as journal, stage_progress("campaign") as report,
              open_workers(given.workers, given.scheduler, run_part) as run):
            faults = run_campaign(tasks, journal, run, report)
    except (WingbeatError, RuntimeError) as fault:
        print(f"campaign: {fault}", file=sys.stderr)
        return 2
    for tests, fault in faults.items():
        print(f"\n=== {tests}\n{fault}")
    print(f"{len(tasks)} parts, {sum(len(task['tests']) for task in tasks)} cases, {len(faults)} parts failed, seed "
          f"{given.seed}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
