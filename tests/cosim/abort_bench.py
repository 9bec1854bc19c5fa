"""cocotb tests of an AxiProcessor in Verilog on the RAM of cocotbext-axi: programs that an abort or an error of the bus
stops at a random time, the bus through that, the clear, and a run of the same core afterwards.

The environment names a file with what the rounds need: programs as setup writes, the memory before and after them, and
the seed. The bus is watched in every cycle, and what the core says of it is compared with what was seen.
"""

from collections import deque
import itertools
import json
import os
from pathlib import Path
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from cocotbext.axi import AxiBus, AxiRam

FACTS = json.loads(Path(os.environ["ABORT_FACTS"]).read_text())
BASE, SEED = 0x3000, FACTS["seed"]
ABORTED, MEMORY_ERROR = FACTS["aborted"], FACTS["memory_error"]
LEFT = 2         # bursts of a kind that may still be accepted: what is on offer, and one behind it
QUICK = 8        # cycles from an abort to its error code, at most
DEADLINE = 40000


class Watch:
    """What moves on the bus, cycle by cycle, and the rules that tie ``drained`` and ``busy`` to it."""

    def __init__(self, dut):
        self.dut, self.cycle, self.note = dut, 0, ""
        self.reads, self.writes, self.data = deque(), deque(), deque()  # [address, transfers left]; transfers ahead
        self.first_error = None   # address, and whether of a write
        self.late = {"ar": 0, "aw": 0}
        self.stopped_at = self.restarts = self.issued = self.was_bus_error = 0

    def value(self, name):
        return int(getattr(self.dut, name).value)

    def status(self, name):
        at, bits = FACTS["status"][name]
        return self.value("status") >> at & (1 << bits) - 1

    def moves(self, channel):
        return self.value(f"m_axi_{channel}valid") and self.value(f"m_axi_{channel}ready")

    async def run(self):
        while True:
            await RisingEdge(self.dut.clk)
            await ReadOnly()
            if self.value("rst"):
                continue
            self.cycle += 1
            self._rules()
            self._move()

    def _rules(self):
        where = f"{self.note}, cycle {self.cycle}"
        offered = [name for name in ("ar", "aw", "w") if self.value(f"m_axi_{name}valid")]
        is_open = bool(self.reads or self.writes or self.data or offered)
        assert not (self.value("drained") and is_open), f"drained with {self.reads} {self.writes} {offered}: {where}"
        assert self.status("busy") or not is_open, f"busy fell with {self.reads} {self.writes} {offered}: {where}"
        if self.value("restart"):
            self.restarts += 1
            assert self.value("drained") and self.status("error"), f"restart: {where}"
        if not self.status("error"):
            self.stopped_at, self.late = 0, {"ar": 0, "aw": 0}
            assert not self.was_bus_error, f"an error of the bus without a fault: {where}"
            self.was_bus_error = self.value("bus_error")  # its fault stands a cycle later
        elif not self.stopped_at:
            self.stopped_at, self.was_bus_error = self.cycle, 0
        if self.stopped_at and self.value("bus_error"):
            assert self.first_error == (self.value("bus_error_address"), self.value("bus_error_write")), (
                f"error at {self.value('bus_error_address'):#x}, first was {self.first_error}: {where}")

    def _move(self):
        after_stop = self.stopped_at and self.cycle > self.stopped_at
        for channel, queue in (("ar", self.reads), ("aw", self.writes)):
            if self.moves(channel):
                queue.append([self.value(f"m_axi_{channel}addr"), self.value(f"m_axi_{channel}len") + 1])
                self.issued += 1
                self.late[channel] += bool(after_stop)
                assert self.late[channel] <= LEFT, f"{channel} after the stop: {self.note}, cycle {self.cycle}"
        if self.moves("w"):
            self.data.append(self.value("m_axi_wlast"))
        errors = []
        if self.moves("r"):
            errors.append((self.value("m_axi_rresp"), self.reads[0][0], 0))
            self.reads[0][1] -= 1
            assert bool(self.reads[0][1]) != bool(self.value("m_axi_rlast")), self.note
            if not self.reads[0][1]:
                self.reads.popleft()
        if self.moves("b"):
            address, left = self.writes.popleft()
            lasts = [self.data.popleft() for _ in range(left)]
            assert lasts == [0] * (left - 1) + [1], f"{lasts} of a burst of {left}: {self.note}"
            errors.append((self.value("m_axi_bresp"), address, 1))
        for response, address, is_write in errors:
            if response >= 2 and self.first_error is None:
                self.first_error = (address, is_write)


class Board:
    """Core and RAM. ``fail``: a kind ("read", "write") and the number of the transfer, from now on, that fails."""

    def __init__(self, dut, rng, pauses, latency):
        self.dut, self.rng, self.fail = dut, rng, (None, 0)
        self.ram = AxiRam(AxiBus.from_prefix(dut, "m_axi"), dut.clk, dut.rst, size=1 << 20)
        self.watch = Watch(dut)
        for channel in (self.ram.write_if.aw_channel, self.ram.write_if.w_channel, self.ram.write_if.b_channel,
                        self.ram.read_if.ar_channel, self.ram.read_if.r_channel):
            channel.set_pause_generator(self._runs(random.Random(rng.random()), pauses))
        self._hook("read", self.ram.read_if, latency)
        self._hook("write", self.ram.write_if, latency)

    def _runs(self, rng, chance):
        while True:
            yield from itertools.repeat(rng.random() < chance, rng.randint(1, 12))

    def _hook(self, kind, side, longest):
        moves = getattr(side, f"_{kind}")

        async def slow(*arguments):
            if longest and self.rng.random() < 0.2:
                await ClockCycles(self.dut.clk, self.rng.randint(1, longest))
            fails, left = self.fail
            if fails == kind:
                self.fail = (kind, left - 1)
                if not left:
                    raise RuntimeError("as it was asked to")
            return await moves(*arguments)

        setattr(side, f"_{kind}", slow)

    async def start(self):
        dut = self.dut
        dut.base.value, dut.limit.value, dut.abort_request.value, dut.i_setup__valid.value = BASE, FACTS["beats"], 0, 0
        dut.rst.value = 1
        Clock(dut.clk, 2, "ns").start()
        await ClockCycles(dut.clk, 4)
        dut.rst.value = 0
        cocotb.start_soon(self.watch.run())

    async def send(self, words):
        for word in words:
            self.dut.i_setup__valid.value, self.dut.i_setup__payload.value = 1, word
            await RisingEdge(self.dut.clk)
            while not int(self.dut.i_setup__ready.value):
                await RisingEdge(self.dut.clk)
        self.dut.i_setup__valid.value = 0

    async def until(self, condition, what, cycles=DEADLINE):
        for count in range(cycles):
            await RisingEdge(self.dut.clk)
            if condition():
                return count
        raise AssertionError(f"{what}: {self.watch.note}, not within {cycles} cycles")

    def load(self, case):
        self.ram.write(0, bytes(1 << 20))
        self.ram.write(BASE, bytes.fromhex(case["before"]))

    async def run(self, case, words):
        """A run to its end; what stands in memory is what the model says."""
        self.load(case)
        await self.send(words)
        count = await self.until(lambda: not self.watch.status("busy"), "end of a good run")
        assert not self.watch.status("error"), f"error {self.watch.status('error')}: {self.watch.note}"
        wanted = bytes.fromhex(case["after"])
        got = self.ram.read(BASE, len(wanted))
        wrong = sum(a != b for a, b in zip(got, wanted, strict=True))
        assert not wrong, f"{wrong} bytes differ: {self.watch.note}"
        return count

    async def stop(self, how, longest):
        """An abort or an error on the way; returns the code that is due."""
        if how == "abort":
            await ClockCycles(self.dut.clk, self.rng.randint(1, longest))
            if not self.watch.status("busy"):
                return None
            self.dut.abort_request.value = 1
            await ClockCycles(self.dut.clk, self.rng.choice([1, 1, 30]))
            self.dut.abort_request.value = 0
            await self.until(lambda: self.watch.status("error"), "abort", QUICK)
            return ABORTED
        await self.until(lambda: self.watch.status("error") or not self.watch.status("busy"), "error of the bus")
        return MEMORY_ERROR

    async def clear(self):
        """At once, or when all is drained, with the start of the next program behind it or not."""
        if self.rng.random() < 0.5:
            await self.until(lambda: int(self.dut.drained.value), "drained")
            await ClockCycles(self.dut.clk, self.rng.randint(0, 20))
        restarts = self.watch.restarts
        await self.send([FACTS["clear"]])
        await self.send([FACTS["nothing"]])  # it is taken when the port is open again
        assert self.watch.restarts == restarts + 1, f"restarts: {self.watch.note}"
        assert not self.watch.status("error") and int(self.dut.drained.value), self.watch.note
        self.watch.first_error = None


@cocotb.test()
@cocotb.parametrize(pauses=[0.0, 0.4], latency=[0, 30])
async def rounds(dut, pauses, latency):
    rng = random.Random(f"{SEED} {pauses} {latency}")
    board = Board(dut, rng, pauses, latency)
    await board.start()
    note, stops = f"seed {SEED}, pauses {pauses}, latency {latency}", []
    lengths = {}
    for case in FACTS["cases"]:  # what a run takes, and how many transfers it has
        board.watch.note = f"{note}, {case['name']}"
        board.fail = ("read", 1 << 30)
        cycles = await board.run(case, case["setup"])
        reads = (1 << 30) - board.fail[1]
        board.fail = ("write", 1 << 30)
        await board.run(case, case["setup"][-1:] if FACTS["keeps"] else case["setup"])
        lengths[case["name"]] = cycles, {"read": reads, "write": (1 << 30) - board.fail[1]}
    for number in range(FACTS["rounds"]):
        case, how = rng.choice(FACTS["cases"]), ("abort", "read", "abort", "write")[number % 4]
        board.watch.note = f"{note}, round {number}, {how} in {case['name']}"
        cycles, transfers = lengths[case["name"]]
        board.load(case)
        if how != "abort":
            last = rng.random() < 0.2  # the very last one
            board.fail = (how, transfers[how] - 1 if last else rng.randrange(transfers[how]))
        await board.send(case["setup"])
        code = await board.stop(how, cycles)
        board.fail = (None, 0)
        assert board.watch.status("error") == (code or 0), f"{board.watch.status('error')}: {board.watch.note}"
        if code:
            stops.append(how)
            await board.clear()
            issued = board.watch.issued
            await ClockCycles(dut.clk, 40)
            assert board.watch.issued == issued and not board.watch.status("busy"), board.watch.note
        keeps = FACTS["keeps"] and code and rng.random() < 0.5
        await board.run(case, case["setup"][-1:] if keeps else case["setup"])
    assert set(stops) == {"abort", "read", "write"}, f"{stops}: {note}"
