"""Entry point of the installed script. It imports little: the commands and their libraries take a while to import, and
a signal must not find them half imported and print where."""

import io
import signal
import sys
from typing import Any
import warnings

__all__ = ["run"]


def run() -> None:
    """A signal ends the command as a fault does: what it has half written, and the tools that it has started, go with
    it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            signal.signal(number, _end)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that a plain terminal cannot show is no fault
    try:
        from .app import main

        code = main()
    except _Ended as end:
        code = 128 + end.args[0]
    sys.exit(code)


class _Ended(BaseException):
    """A signal has come: its number."""


def _end(number: int, frame: Any) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)  # a second one must not end the clearing
    warnings.simplefilter("ignore")  # Amaranth complains of a circuit that was left half made
    raise _Ended(number)
