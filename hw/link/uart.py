"""UART receiver and transmitter as byte streams: 8 data bits, no parity, 1 stop bit, low bit first."""

from dataclasses import dataclass

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UartParameters", "UartReceiver", "UartTransmitter"]

_TOLERANCE = 0.02  # of the bit time; half a bit over ten leaves 5 % for both ends


@dataclass(frozen=True)
class UartParameters:
    """``divisor``: clock cycles per bit, at least 4. Raises ValueError otherwise."""

    divisor: int

    def __post_init__(self) -> None:
        if not 4 <= self.divisor <= 65536:
            raise ValueError(f"divisor: {self.divisor} is out of range; allowed are 4..65536")

    @classmethod
    def from_rates(cls, clock_hz: float, baud: int) -> "UartParameters":
        """The nearest divisor. Raises ValueError when it misses the rate by more than 2 %."""
        parameters = cls(max(1, round(clock_hz / baud)))
        if abs(parameters.divisor * baud / clock_hz - 1) > _TOLERANCE:
            raise ValueError(f"baud: {baud} is not within 2 % of {clock_hz:.0f} Hz / {parameters.divisor}")
        return parameters

    @property
    def byte_cycles(self) -> int:
        """Start bit, eight data bits, stop bit."""
        return 10 * self.divisor


class UartReceiver(wiring.Component):
    """``rx`` line (idle 1, asynchronous) to bytes. ``lost``, a pulse: a byte was lost.

    Format: 8 data bits, no parity, 1 stop bit, low bit first.
    Latency: a byte is valid 9.5 bit times + 3 cycles after the falling edge of its start bit, in the middle of its stop
    bit.
    Throughput: one byte per 10 bit times.
    Backpressure: none towards the line; a byte that completes while the one before has not been taken is lost, and so
    is a byte whose stop bit is 0.
    Reset: idle; a byte under way is lost.
    Cost: 35 LUT4, 30 flip-flops.
    Source: own.
    """

    def __init__(self, parameters: UartParameters):
        self.parameters = parameters
        super().__init__({"rx": In(1, init=1), "o": Out(stream.Signature(8)), "lost": Out(1)})

    def elaborate(self, platform):
        m = Module()
        rx = Signal(name="rx", init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, rx, init=1)
        divisor = self.parameters.divisor
        timer = Signal(range(divisor), name="timer")
        samples_left = Signal(range(11), name="samples_left")
        shift = Signal(8, name="shift")

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        m.d.sync += timer.eq(timer - 1)
        with m.If(samples_left == 0):
            with m.If(~rx):  # half a bit from here is the middle of the start bit
                m.d.sync += [samples_left.eq(10), timer.eq(divisor // 2 - 1)]
        with m.Elif(timer == 0):
            m.d.sync += [timer.eq(divisor - 1), samples_left.eq(samples_left - 1),
                         shift.eq(Cat(shift[1:], rx))]
            with m.If((samples_left == 10) & rx):  # a glitch, not a start bit
                m.d.sync += samples_left.eq(0)
            with m.If(samples_left == 1):
                with m.If(rx & (self.o.ready | ~self.o.valid)):
                    m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(shift)]
                with m.Else():
                    m.d.comb += self.lost.eq(1)
        return m


class UartTransmitter(wiring.Component):
    """Bytes to the ``tx`` line (idle 1).

    Format: 8 data bits, no parity, 1 stop bit, low bit first.
    Latency: the start bit begins one cycle after the byte has been taken.
    Throughput: one byte per 10 bit times and one cycle.
    Backpressure: ``i.ready`` does not depend on inputs; it goes high when the stop bit has ended.
    Reset: the line goes to idle, a byte under way is lost.
    Cost: 30 LUT4, 20 flip-flops.
    Source: own.
    """

    def __init__(self, parameters: UartParameters):
        self.parameters = parameters
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        divisor = self.parameters.divisor
        # Bits still to send, low bit first, with the stop bits shifted in behind them; tx is the lowest.
        timer = Signal(range(divisor), name="timer")
        bits_left = Signal(range(11), name="bits_left")
        shift = Signal(9, name="shift", init=0x1FF)
        m.d.comb += [self.tx.eq(shift[0]), self.i.ready.eq(bits_left == 0)]

        with m.If(self.i.ready):
            with m.If(self.i.valid):
                m.d.sync += [shift.eq(Cat(0, self.i.payload)), bits_left.eq(10), timer.eq(divisor - 1)]
        with m.Elif(timer == 0):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), bits_left.eq(bits_left - 1), timer.eq(divisor - 1)]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)
        return m
