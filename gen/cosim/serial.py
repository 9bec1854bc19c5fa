"""A simulated module behind a serial port: rx and tx of its Verilog, bit by bit, for blocking code such as a host.

    with SimulatedLine(text, "linked", primitives, divisor=4) as port:
        port.write(b"...")
        data = port.read(4)
"""

from collections.abc import Sequence
import json
from pathlib import Path
import shutil
import socket
import tempfile
import threading

from .core import build_verilog
from .testbench import simulators
from .testbench.simulators import SimulatorError
from ..files import keep_log

__all__ = ["SimulatedLine"]

_TOP = "verilator"


class SimulatedLine:
    """``verilog`` with the module ``top`` (clk, rst, rx, tx and outputs) and the files ``primitives``, on Verilator.

    ``read`` and ``write`` are those of pyserial. ``divisor``: clock cycles of a bit; ``patience``: bits without a byte
    after which a read ends. The simulation stands still between calls. Raises :class:`SimulatorError` where it ends.
    """

    def __init__(self, verilog: str, top: str, primitives: Sequence[Path] = (), *, divisor: int = 4,
                 patience: int = 4000):
        self._folder = Path(tempfile.mkdtemp(prefix="wb-"))
        try:
            source = self._folder / f"{top}.v"
            source.write_text(verilog, encoding="utf-8")
            self._build, self._top = build_verilog([source, *primitives], top, _TOP), top
            place = self._folder / "port"
            (self._folder / "serial.json").write_text(json.dumps(
                {"socket": str(place), "divisor": divisor, "patience": patience}))
            self._fault: SimulatorError | None = None
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(place))
                listener.listen(1)
                listener.settimeout(1)
                self._thread = threading.Thread(target=self._simulate, daemon=True)
                self._thread.start()
                self._connection = self._accepted(listener)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _simulate(self) -> None:
        try:
            _, n_failed = simulators.run_cocotb(self._build.folder, self._top, _TOP, self._folder, self._folder,
                                                "serial_bench")
            if n_failed:
                self._fault = SimulatorError(f"simulation: {self._top} failed", self._kept())
        except SimulatorError as fault:
            fault.log = self._kept()
            self._fault = fault

    def _kept(self) -> Path | None:
        log = self._folder / "simulation.log"
        return keep_log(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else None

    def _accepted(self, listener: socket.socket) -> socket.socket:
        while self._thread.is_alive():
            try:
                connection, _ = listener.accept()
                connection.settimeout(None)
                return connection
            except TimeoutError:
                continue
        raise self._fault or SimulatorError(f"simulation: {self._top} did not begin", self._kept())

    def __enter__(self) -> "SimulatedLine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the simulation. Raises :class:`SimulatorError` where it has failed."""
        self._connection.close()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._fault:
            raise self._fault

    @property
    def cycles(self) -> int:
        """Clock cycles that were simulated."""
        self._ask(b"c", 0)
        return int.from_bytes(self._exactly(8), "little")

    def write(self, data: bytes) -> int:
        """Send ``data``; they are on the line before the next read."""
        self._ask(b"w", len(data), data)
        return len(data)

    def read(self, size: int = 1) -> bytes:
        """Up to ``size`` bytes, fewer where the line stays quiet."""
        self._ask(b"r", size)
        return self._exactly(int.from_bytes(self._exactly(4), "little"))

    def _ask(self, letter: bytes, count: int, data: bytes = b"") -> None:
        try:
            self._connection.sendall(letter + count.to_bytes(4, "little") + data)
        except OSError:
            self._lost()

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                part = self._connection.recv(count - len(data))
            except OSError:
                part = b""
            if not part:
                self._lost()
            data += part
        return data

    def _lost(self) -> None:
        self._thread.join()
        raise self._fault or SimulatorError(f"simulation: {self._top} has ended", self._kept())
