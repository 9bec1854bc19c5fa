"""The command ``wingbeat explore``: a space file in; a journal, a record and a page out."""

from pathlib import Path

from ...hw.errors import WingbeatError
from ..console import out, print_table, stage_progress
from ..explore.space.exploration import Exploration, explore
from ..explore.space.file import read_space
from ..explore.space.journal import open_journal
from ..explore.space.workers import local_count, open_workers
from ..files import write_json, write_text
from ..report.front import front_html, front_rows

__all__ = ["run_explore"]

_JOURNAL, _RECORD, _PAGE = "journal.jsonl", "explore.json", "explore.html"
_MOST_WORKERS = 256


def run_explore(path: Path, output: Path, workers: int | None, scheduler: str | None) -> int:
    """Explore, write the files, print the front. Returns 0, or 1 when something could not be measured or is wrong.
    Raises WingbeatError."""
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise WingbeatError(f"--workers: {workers}; allowed are 1..{_MOST_WORKERS}")
    space = read_space(path)
    _check_folder(output)
    with (open_journal(output / _JOURNAL) as journal, open_workers(workers or local_count(), scheduler) as run,
          stage_progress("explore") as report):
        result = explore(space, journal, run, report)
    write_json(output / _RECORD, result.record())
    write_text(output / _PAGE, front_html(result, path.stem))
    _print(result)
    out.print(f"page: {output / _PAGE}", markup=False)
    return 1 if result.faults or any(found.is_wrong or found.notes for found in result.points) else 0


def _check_folder(output: Path) -> None:
    """Only what an exploration has written is replaced."""
    others = [name for name in (_RECORD, _PAGE) if (output / name).exists()]
    if others and not (output / _JOURNAL).exists():
        raise WingbeatError(f"--output: {str(output)!r} holds {others[0]!r} without {_JOURNAL!r}; allowed are a new "
                            "folder and one of an exploration")


def _print(result: Exploration) -> None:
    header, rows = front_rows(result)
    print_table(header, rows)
    refused = [found for found in result.points if found.refused is not None]
    missed = [found for found in result.points if found.missed]
    out.print(f"{result.space.combinations} combinations: {len(result.illegal)} are no configuration, {len(refused)} "
              f"do not take the workloads, {len(missed)} miss a limit; {result.whole_front} of the others are on the "
              f"front, {len(result.front)} of them were chosen", markup=False)
    examples = [*(each.fault for each in result.illegal[:1]), *(str(each.refused) for each in refused[:1]),
                *(f"{' '.join(each.point.settings)} misses {', '.join(each.missed)}" for each in missed[:1])]
    for example in examples:
        out.print(f"such as: {example}", markup=False)
    for fault in result.faults:
        out.print(f"not measured: {fault}", markup=False)
