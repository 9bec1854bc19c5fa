"""Host side of the serial link: writes programs and coefficients, streams data, reads results and counters.

    with Host.open("/dev/ttyUSB0", Ulx3sArrayTop) as host:
        y = host.run_kernel(kernel, x)

Any object with ``read(n) -> bytes`` (what came before its timeout, possibly less) and ``write(data)`` is a
port, a simulated one as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..gen.compiler.beats import BLOCK_BITS, pack_beats, pack_setup, start_writes, unpack_beats
from ..gen.compiler.kernel.kernel import BlockResult, Job, Kernel
from ..gen.cosim.job import CounterValues
from ..hw.config import CoreConfig
from ..hw.errors import WingbeatError
from ..hw.isa.link_frame import (ERROR, OVERHEAD, RECORD_BYTES, REPLY, VERSION, LinkFault, Kind, decode_frame,
                                 encode_frame, identity)
from .array import ArrayTop
from .uart_bus import SerialPort

__all__ = ["Host", "Identity", "LinkError", "PATIENCE"]

PATIENCE = 2000  # requests without progress before an array counts as stuck; a request takes some 0.1 ms


class LinkError(WingbeatError):
    """The link did not answer, answered nonsense or refused; ``fault`` is its error code, if it gave one."""

    def __init__(self, message: str, fault: LinkFault | None = None):
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True)
class Identity:
    """Answer to IDENTIFY: protocol version, format of the streams, payload limit, CRC of the
    configuration.
    """

    version: int
    element_width: int
    stream_words: int
    limit: int
    configuration: int


class Host:
    """Talks to one array. Raises :class:`LinkError` when the link fails, WingbeatError for a wrong array."""

    def __init__(self, port: SerialPort, config: CoreConfig):
        self.port = port
        self.config = config
        self.identity = self.identify()
        if self.identity.version != VERSION or self.identity.configuration != identity(config):
            raise WingbeatError(f"identity: the array answers {self.identity}; expected is version "
                                f"{VERSION}, configuration {identity(config)}")

    @classmethod
    def open(cls, device: str, board: type[ArrayTop], timeout: float = 1.0) -> "Host":
        """Host on a serial device of this machine; needs pyserial. ``timeout`` in seconds per reply."""
        import serial

        return cls(serial.Serial(device, board.baud, timeout=timeout), board.config())

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *exception: object) -> None:
        close = getattr(self.port, "close", None)
        if close is not None:
            close()

    # --- frames -------------------------------------------------------------------------------

    def ask(self, kind: Kind, payload: bytes = b"") -> bytes:
        """Send one frame and return the payload of its reply."""
        self.port.write(encode_frame(kind, payload))
        frame = self._read(4)
        frame += self._read(int.from_bytes(frame[2:4], "little") + OVERHEAD - 4)
        answer, content = decode_frame(frame)
        if answer == ERROR and len(content) == 1 and content[0] in set(LinkFault):
            fault = LinkFault(content[0])
            raise LinkError(f"{kind.name}: refused, {fault.name}", fault)
        if answer != kind | REPLY:
            raise LinkError(f"{kind.name}: answered by kind {answer:#04x}; expected is {kind | REPLY:#04x}")
        return content

    def _read(self, size: int) -> bytes:
        data = self.port.read(size)
        if len(data) < size:
            raise LinkError(f"port: {len(data)} bytes came before the timeout; expected are {size}")
        return data

    def identify(self) -> Identity:
        """Version, formats and identity of what is at the other end."""
        content = self.ask(Kind.IDENTIFY)
        return Identity(content[0], content[1], *(int.from_bytes(content[at:end], "little")
                                                  for at, end in ((2, 4), (4, 6), (6, 10))))

    def write_setup(self, writes: Iterable[tuple[int, int, int]]) -> None:
        """Setup writes (target, address, data): coefficients and program words. Not the start."""
        records = b"".join(bytes.fromhex(text)[::-1] for text in pack_setup(writes))
        for chunk in self._chunks(records, RECORD_BYTES):
            self.ask(Kind.SETUP, chunk)

    def start(self) -> None:
        """Start the program. Refused as BUSY while one runs or data wait."""
        self.ask(Kind.START)

    def results(self) -> bytes:
        """Output beats that have arrived since the last call, whole beats."""
        return self.ask(Kind.RESULT)

    def counters(self) -> CounterValues:
        """Flags and counters of the array; a single counter is read at one instant, all of them only when
        idle.
        """
        content = self.ask(Kind.STATUS)
        flags, *words = (int.from_bytes(word, "little") for word in self._chunks(content, 4, 4))
        return CounterValues(flags & 1, flags >> 1 & 1, sum(words[:-1]) & 0xFFFFFFFF, *words)

    def reset(self) -> None:
        """Reset array and link; memories keep their contents."""
        self.ask(Kind.RESET)

    def _chunks(self, data: bytes, unit: int, limit: int = 0) -> list[bytes]:
        """``data`` in payloads of whole units of ``unit`` bytes."""
        step = (limit or self.identity.limit) // unit * unit
        return [data[at:at + step] for at in range(0, len(data), step)]

    # --- runs ---------------------------------------------------------------------------------

    def run(self, job: Job) -> list[BlockResult]:
        """Write what ``job`` needs, start it, stream its words, and collect its blocks.

        Blocks come as the model returns them. Raises LinkError when the array is stuck.
        """
        *program, _start = start_writes(job.program)
        self.write_setup([*job.setup, *program])
        self.start()
        beats = pack_beats(job.words, self.config.element_width, self.config.stream_words)
        data = b"".join(bytes.fromhex(beat)[::-1] for beat in beats)
        n_bytes = len(data) // len(beats)
        received = bytearray()
        for chunk in self._chunks(data, n_bytes):
            self._send(chunk, received)
        self._collect(len(beats), received)
        return self._blocks(bytes(received))

    def run_kernel(self, kernel: Kernel, x: np.ndarray) -> np.ndarray:
        """Rows (rows, out_size) of ``x`` on the board."""
        blocks = [block for job in kernel.jobs(x) for block in self.run(job)]
        return kernel.unpack(blocks, len(x))

    def _send(self, chunk: bytes, received: bytearray) -> None:
        """Offer data until they are taken; an array that waits for room for its results is relieved of
        them.
        """
        for _ in range(PATIENCE):
            try:
                self.ask(Kind.DATA, chunk)
                return
            except LinkError as error:
                if error.fault is not LinkFault.BUSY:
                    raise
                received += self.results()
        raise LinkError(f"array: it has taken no data for {PATIENCE} requests")

    def _collect(self, n_beats: int, received: bytearray) -> None:
        idle = 0
        while len(received) < n_beats * self._output_bytes:
            content = self.results()
            received += content
            idle = 0 if content else idle + 1
            if idle > PATIENCE:
                raise LinkError(f"array: {len(received) // self._output_bytes} of {n_beats} beats came, "
                                f"then none for {PATIENCE} requests")

    @property
    def _output_bytes(self) -> int:
        return -(-(2 * self.config.stream_words * self.config.element_width + BLOCK_BITS) // 8)

    def _blocks(self, data: bytes) -> list[BlockResult]:
        config, size = self.config, self._output_bytes
        beats = [chunk[::-1].hex() for chunk in self._chunks(data, size, size)]
        words, exponents, saturated, last = unpack_beats(beats, config.element_width, config.stream_words)
        ends = np.flatnonzero(last)
        parts = np.split(words, (ends[:-1] + 1) * config.stream_words)
        return [BlockResult(part, int(exponents[end]), bool(saturated[end]))
                for part, end in zip(parts, ends)]
