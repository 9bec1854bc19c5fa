"""The command ``wingbeat run``, registered as an entry point (docs/decisions/0001)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import shutil
import subprocess
import time
from typing import Annotated, Any

import numpy as np
import typer

from ..gen.console import JsonOption, err, out, percent, print_table, progress, refuse_unused
from ..gen.files import write_json
from ..hw.errors import WingbeatError

__all__ = ["run_board", "load_bitstream", "serial_line", "simulated_line"]

_SIMULATOR = "simulator"
_IMAGES = 32
_SHOWN = 20         # predictions that are printed
_TIMEOUT = 1.0      # seconds that a serial port waits for a byte
_SIMULATED_DIVISOR = 4
_SIMULATED_TIMEOUT = 400  # cycles of a quiet line that end a command


def run_board(
        context: typer.Context,
        name: Annotated[str, typer.Argument(metavar="NAME", help="ulx3s or ecpix5")],
        network: Annotated[str, typer.Option(metavar="NET", help="a shipped network, or NET.toml")],
        port: Annotated[str, typer.Option(metavar="P", help="serial device, or `simulator`: the simulated top")],
        checkpoint: Annotated[Path | None, typer.Option(metavar="M.safetensors", help="weights of NET.toml")] = None,
        calibration: Annotated[Path | None, typer.Option(metavar="X.npz", help="inputs to choose formats by")] = None,
        inputs: Annotated[Path | None, typer.Option(metavar="X.npz", help="arrays inputs and, where known, labels; if "
                                                                          "not given, held-out data")] = None,
        images: Annotated[int, typer.Option(min=1, help="inputs at most")] = _IMAGES,
        batch: Annotated[int | None, typer.Option(min=1, help="inputs at once; if not given, as many as fit")] = None,
        bitstream: Annotated[Path | None, typer.Option(metavar="F.bit", help="instead of build/NAME/NAME.bit")] = None,
        load: Annotated[bool, typer.Option(help="load the bitstream first, with openFPGALoader")] = True,
        json_file: JsonOption = None) -> int:
    """Runs a network on a board with a processor. Exit code 1 if a result differs from the integer model."""
    from ..gen.output.network_files import read_calibration
    from .build import find_board
    from .networks import board_network, carries_networks

    board = carries_networks(find_board(name))
    if port == _SIMULATOR:
        refuse_unused(context, "with a serial port", "bitstream", "load")
    found = board_network(board, network, checkpoint, calibration, batch)
    given, labels = found.inputs, found.labels
    if inputs is not None:
        data = read_calibration(inputs, found.compiled.network, "--inputs")
        given, labels = data.inputs, data.labels
    given, labels = given[:images], None if labels is None else labels[:images]
    facts = _classified(board, found.compiled, given, labels, port, bitstream, load)
    _print(facts, labels)
    if json_file is not None:
        write_json(json_file, facts)
    return 1 if facts["mismatches"] else 0


def _classified(board: Any, compiled: Any, inputs: Any, labels: np.ndarray | None, port: str, bitstream: Path | None,
                load: bool) -> dict[str, Any]:
    from ..gen.explore.network import label_accuracy
    from .network_host import NetworkHost
    from .uart_bus import UartBus

    expected = compiled.execute_model(inputs).results
    batches = -(-len(inputs) // compiled.batch)
    with progress("run", batches + 2) as step:
        if port != _SIMULATOR and load:
            load_bitstream(board, bitstream or Path("build") / board.name / f"{board.name}.{board.bitstream}")
        with simulated_line(board) if port == _SIMULATOR else serial_line(board, port) as line:
            host = NetworkHost(UartBus(line), board.config())
            step("connected")
            begin = time.monotonic()
            answer = host.run(compiled, inputs, step)
            seconds = time.monotonic() - begin
    cycles = sum(answer.cycles)
    return {
        "board": board.name, "port": port, "network": compiled.network.name, "inputs": len(inputs),
        "batch": compiled.batch, "predictions": answer.results[:, 0].argmax(axis=-1).tolist(),
        "labels": None if labels is None else labels.tolist(),
        "accuracy": None if labels is None else label_accuracy(answer.results, labels),
        "mismatches": int(np.count_nonzero(answer.results != expected)), "cycles": cycles,
        "clock_mhz": board.clock_hz / 1e6, "core_seconds_per_input": cycles / board.clock_hz / len(inputs),
        "seconds": round(seconds, 3)}


def _print(facts: dict[str, Any], labels: np.ndarray | None) -> None:
    rows = list(enumerate(facts["predictions"]))[:_SHOWN]
    print_table(["input", "prediction", "label"], [
        (number, prediction, "-" if labels is None else labels[number]) for number, prediction in rows])
    if len(facts["predictions"]) > _SHOWN:
        out.print(f"and {len(facts['predictions']) - _SHOWN} more", markup=False)
    where = "the simulated top" if facts["port"] == _SIMULATOR else facts["board"]
    out.print(f"{facts['inputs']} inputs of {facts['network']} on {where}: accuracy {percent(facts['accuracy'])}, "
              f"{facts['mismatches']} results differ from the integer model", markup=False)
    out.print(f"{facts['cycles']} cycles, {1e6 * facts['core_seconds_per_input']:.1f} us an input at "
              f"{facts['clock_mhz']:g} MHz; {facts['seconds']} s with loading and the serial line", markup=False)


def load_bitstream(board: Any, path: Path) -> None:
    """Load the bitstream at ``path``, or say what does. Raises WingbeatError where it is missing, or the loader fails.
    """
    if not path.is_file():
        raise WingbeatError(f"--bitstream: {str(path)!r} is missing; `wingbeat board {board.name} --build` makes it, "
                            "--no-load goes on without")
    command = ["openFPGALoader", "--board", board.loader, str(path)]
    if shutil.which(command[0]) is None:
        err.print(f"openFPGALoader is not installed; the board must have been loaded: {' '.join(command)}",
                  markup=False)
        return
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise WingbeatError(f"openFPGALoader: exit code {done.returncode}: {last}")


@contextmanager
def serial_line(board: Any, device: str) -> Iterator[Any]:
    """The serial port ``device`` at the rate of ``board``. Raises WingbeatError naming the option."""
    import serial

    try:
        port = serial.Serial(device, board.baud, timeout=_TIMEOUT)
    except (serial.SerialException, ValueError) as fault:
        raise WingbeatError(f"--port: {device!r} cannot be opened: {str(fault).splitlines()[0]}") from fault
    with port:
        yield port


@contextmanager
def simulated_line(board: Any) -> Iterator[Any]:
    """The pins of the simulated top of ``board``."""
    from ..gen.cosim.core import primitives
    from ..gen.cosim.serial import SimulatedLine
    from ..gen.rtl.verilog import emit
    from ..hw.link.uart import UartParameters

    text = emit(board.linked(UartParameters(_SIMULATED_DIVISOR), _SIMULATED_TIMEOUT), "linked")
    with SimulatedLine(text, "linked", primitives(board.config()), divisor=_SIMULATED_DIVISOR) as port:
        yield port
