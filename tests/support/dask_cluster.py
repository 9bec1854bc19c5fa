"""A Dask scheduler and workers as somebody starts them by hand: processes of the command `dask`."""

from contextlib import ExitStack, contextmanager
import json
from pathlib import Path
import subprocess
import sys
import time


class HandStarted:
    """``address`` of the scheduler; ``workers``: the processes."""

    def __init__(self, address, workers):
        self.address, self.workers = address, workers


@contextmanager
def hand_started(folder, workers=2):
    """Ended with the block."""
    with ExitStack() as stack:
        def start(*words):
            process = subprocess.Popen([sys.executable, "-m", "dask", *words], cwd=folder, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            return process
        file = folder / "scheduler.json"
        start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        address = _address(file)
        yield HandStarted(address, [start("worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny",
                                          "--local-directory", str(folder)) for _ in range(workers)])


def local_workers(pid):
    """Worker processes below the process ``pid``."""
    below = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()]
    return sorted(child for child in below if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


def _address(file):
    for _ in range(600):
        try:
            return json.loads(file.read_text())["address"]
        except (OSError, ValueError):
            time.sleep(0.1)
    raise TimeoutError("the scheduler does not start")


def answered(address):
    """How many tasks each worker has answered."""
    from distributed import Client
    with Client(address) as client:
        return list(client.run(lambda dask_worker: dask_worker.state.executed_count).values())
