"""Tasks on many processes, through Dask: local ones, or the workers of a scheduler that somebody has started.

Only the name of a function (:func:`~.task.answer_task`; of `make campaign` one of tests/support) and plain values go
over the wire. Dask itself wraps them in pickle, so a scheduler and its workers can run any code here, and whoever
reaches a scheduler can run any code there: give addresses of your own alone. The local processes speak TLS with a key
of this run.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
import os
from typing import Any

from ....hw.errors import WingbeatError
from .task import answer_task

__all__ = ["Answer", "Runner", "local_count", "open_workers", "CONNECT_SECONDS"]

Answer = Callable[[Mapping[str, Any]], dict[str, Any]]
Runner = Callable[[Iterable[tuple[str, Mapping[str, Any]]]], Iterator[tuple[str, dict[str, Any]]]]

CONNECT_SECONDS = 60  # seconds in which a scheduler and a worker of it must answer
_AHEAD = 3      # tasks for each thread that were handed out and have no answer


def local_count() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def open_workers(count: int, scheduler: str | None = None, answer: Answer = answer_task) -> Iterator[Runner]:
    """A function that runs tasks and gives their answers as they come, each with its key. ``count``: local processes,
    where no ``scheduler`` is named. They are started, or the scheduler is called, with the first task. ``answer`` is
    what workers run; plain values go in and out.

    A worker that dies has its tasks run again by others; a task whose workers died too often is a ``fault``. The
    function raises WingbeatError where Dask is missing or the scheduler does not answer, RuntimeError when it is lost.
    """
    with ExitStack() as stack:
        clients: list[Any] = []

        def run(tasks: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
            if not clients:
                clients.append(_client(stack, count, scheduler))
            yield from _run(clients[0], answer, tasks)

        yield run


def _client(stack: ExitStack, count: int, scheduler: str | None) -> Any:
    try:
        import dask
        import distributed
    except ImportError as error:
        raise WingbeatError(f"explore: {error.name} is not installed; `pip install 'wingbeat[explore]'` mends it"
                            ) from error
    stack.enter_context(dask.config.set({"distributed.logging.distributed": "critical"}))
    if scheduler is None:
        cluster = stack.enter_context(distributed.LocalCluster(
            n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0", security=True, memory_limit=0,
            silence_logs="CRITICAL"))
        return stack.enter_context(distributed.Client(cluster))
    try:
        client = stack.enter_context(distributed.Client(scheduler, timeout=CONNECT_SECONDS))
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WingbeatError(f"--scheduler: {scheduler!r} does not answer: {reason}") from error
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise WingbeatError(f"--scheduler: {scheduler!r} has no worker after {CONNECT_SECONDS} seconds") from error
    return client


def _run(client: Any, answer: Answer, tasks: Iterable[tuple[str, Mapping[str, Any]]]
         ) -> Iterator[tuple[str, dict[str, Any]]]:
    """Hands out a few tasks more than there are threads, so that little is lost with this process."""
    import distributed

    waiting = iter(tasks)
    running = distributed.as_completed()
    keys: dict[Any, str] = {}

    def hand_out(room: int) -> None:
        for key, task in islice(waiting, room):
            future = client.submit(answer, task, key=f"wingbeat-{key}", pure=False)
            keys[future] = key
            running.add(future)

    def threads() -> int:
        return sum(client.nthreads().values())

    hand_out(_AHEAD * max(1, threads()))
    for future in running:
        key = keys.pop(future)
        if future.status == "finished":
            found = future.result()
        elif future.status == "error":
            found = {"fault": " ".join(str(future.exception()).split())}
        else:
            raise RuntimeError("explore: the scheduler is lost; what was measured is in the journal")
        future.release()
        hand_out(max(0, _AHEAD * max(1, threads()) - len(keys)))
        yield key, found
