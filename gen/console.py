"""What the commands print: results on standard output, progress and faults on standard error."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
import typer

from ..hw.errors import WingbeatError

__all__ = ["out", "err", "percent", "print_table", "progress", "stage_progress", "file_option", "refuse_unused",
           "JsonOption"]

out = Console(highlight=False, soft_wrap=True)
err = Console(highlight=False, soft_wrap=True, stderr=True)


def percent(share: float | None) -> str:
    """A share 0..1 as a cell of a table."""
    return "-" if share is None else f"{100 * share:.2f} %"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table on a terminal, one line of tab-separated cells per row elsewhere. The cells are plain text."""
    if not out.is_terminal:
        for row in [columns, *rows]:
            print("\t".join(map(str, row)))  # rich would turn the tabs into spaces
        return
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Console().render_str(str(cell), markup=False) for cell in row))
    out.print(table)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[str], None]]:
    """Progress over ``total`` steps. The block calls the function it gets with the name of each step that
    ends.

    A bar on a terminal, one line per step elsewhere.
    """
    if not err.is_terminal:
        done = 0

        def line(step: str) -> None:
            nonlocal done
            done += 1
            err.print(f"{title} {done}/{total}: {step}", markup=False)

        yield line
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda step: bar.update(task, advance=1, description=f"{title}: {step}")


@contextmanager
def stage_progress(title: str) -> Iterator[Callable[[str, int, int, str], None]]:
    """Progress over stages whose lengths show on the way. The block calls the function it gets with a stage, how many
    of its steps are done, of how many, and the last one.

    A bar for each stage on a terminal, one line per step elsewhere.
    """
    if not err.is_terminal:
        yield lambda stage, done, total, step: err.print(f"{title} {stage} {done}/{total}: {step}", markup=False)
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int, step: str) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(f"{title}: {stage}")
            bar.update(tasks[stage], completed=done, total=total)

        yield show


def _writable(parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse a place that cannot take the file before hours of work instead of after."""
    if path is None:
        return None
    folder = next((parent for parent in Path(os.path.abspath(path)).parents if parent.exists()), path)
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise WingbeatError(f"{parameter.opts[0]}: {str(path)!r} cannot be written; give a file in a writable folder")
    return path


def refuse_unused(context: typer.Context, where: str, *names: str) -> None:
    """Raise WingbeatError for the first of the options ``names`` that was given and would do nothing."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            raise WingbeatError(f"{option}: {context.params[name]}; allowed only {where}")


def file_option(option: str, metavar: str, text: str) -> Any:
    """Option that names a file to write, refused before any work where it cannot be."""
    return typer.Option(option, metavar=metavar, help=text, callback=_writable)


JsonOption = Annotated[Path | None, file_option("--json", "FILE", "write the numbers there too")]
