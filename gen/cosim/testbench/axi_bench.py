# SPDX-License-Identifier: BSD-2-Clause
"""cocotb test of one processor with an AXI4 master in Verilog: runs the trials of a folder.

Needs cocotb, cocotbext-axi, the standard library, and trials.py and processor_bench.py beside it; nothing of wingbeat.
The memory is the AxiRam of cocotbext-axi. The design is the processor in a top module with driver.v, which sends the
setup writes and notes what happens, and axi_watch.v, which watches the rules of the bus.

A line of a memory file is a beat as it stands in memory, its highest byte first. Beat 0 stands at the address ``base``.
Around the image stands noise that must still be there afterwards.
"""

import random

from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import AxiBus, AxiRam

from processor_bench import ProcessorTrial
from trials import FOLDER, RESULTS, tests_of

GUARD = 4096        # bytes of noise on either side of the image
LAST_CYCLES = 1000  # in which bursts may be answered after the deadline


class AxiTrial(ProcessorTrial):
    """One entry of trials.json run on the design.

    Besides what ProcessorTrial reads: memory_beats, beat_bytes; ram (latency: cycles before the data or the answer of a
    burst; rate: data transfers per cycle; pauses: chance of a pause on each channel in a cycle; run: mean length of
    runs of equal cycles; seed).
    """

    faults = ("a read burst changed or vanished before it was accepted",
              "a write burst changed or vanished before it was accepted",
              "a data transfer changed or vanished before it was accepted",
              "a burst leaves the memory, crosses 4 KiB or is too long",
              "a burst of data is not as long as its address said",
              "valid or ready of the master is undefined",
              "the master reports an error of the bus")

    logs = ("blocks.txt",)

    def __init__(self, dut, trial):
        super().__init__(dut, trial)
        self.memory, self.beat_bytes = trial["memory"], trial["beat_bytes"]
        self.options, self.size = trial["ram"], trial["memory_beats"] * trial["beat_bytes"]
        self.base = self.settings["base"]
        self.first = max(0, self.base - GUARD)
        self.ram = None

    def prepare(self):
        bus = AxiBus.from_prefix(self.dut, "m_axi")
        self.ram = AxiRam(bus, self.dut.clk, self.dut.rst, size=1 << len(self.dut.m_axi_awaddr))
        lines = (FOLDER / self.memory).read_text().split()
        image = b"".join(int(line, 16).to_bytes(self.beat_bytes, "little") for line in lines)
        behind = min(GUARD, self.ram.size - self.base - self.size)
        rng = random.Random(self.name)
        self.before = rng.randbytes(self.base - self.first) + image + rng.randbytes(behind)
        self.ram.write(self.first, self.before)
        self._pause()
        if self.options["latency"]:
            self._delay(self.options["latency"])

    def _pause(self):
        read, write = self.ram.read_if, self.ram.write_if
        channels = {"ar": read.ar_channel, "r": read.r_channel, "aw": write.aw_channel, "w": write.w_channel,
                    "b": write.b_channel}
        for name, channel in channels.items():
            rate = self.options["rate"] if name in ("r", "w") else [1, 1]
            if self.options["pauses"][name] or rate[0] < rate[1]:
                channel.set_pause_generator(self._pauses(name, self.options["pauses"][name], *rate))

    def _pauses(self, name, chance, gain, cost):
        """Whether a channel pauses, cycle after cycle."""
        rng, paused, credit = random.Random(f"{self.options['seed']} {name}"), False, cost
        while True:
            if rng.random() * self.options["run"] < 1:
                paused = rng.random() < chance
            credit = min(credit, cost) + gain
            if credit >= cost and not paused:
                credit -= cost
                yield False
            else:
                yield True

    def _delay(self, cycles):
        """Every burst that is read, and every answer to one that is written, waits."""
        read, answers = self.ram.read_if._read, self.ram.write_if.b_channel
        send = answers.send

        async def late_read(address, length):
            await ClockCycles(self.dut.clk, cycles)
            return await read(address, length)

        async def late_send(answer):
            await ClockCycles(self.dut.clk, cycles)
            await send(answer)

        self.ram.read_if._read, answers.send = late_read, late_send

    async def finish(self):
        """Not for ever, where a burst is never answered."""
        longest = self.settings["deadline"] + LAST_CYCLES
        await First(RisingEdge(self.dut.done), ClockCycles(self.dut.clk, longest))

    def collect(self):
        super().collect()
        after = self.ram.read(self.first, len(self.before))
        at = self.base - self.first
        image = after[at:at + self.size]
        beats = [int.from_bytes(image[n:n + self.beat_bytes], "little") for n in range(0, self.size, self.beat_bytes)]
        (RESULTS / f"{self.name}.after.hex").write_text(
            "".join(f"{beat:0{2 * self.beat_bytes}x}\n" for beat in beats))
        around = [after[:at], after[at + self.size:]]
        assert around == [self.before[:at], self.before[at + self.size:]], "bytes outside the memory were written"


trial = tests_of(AxiTrial, clock_by="gpi")
