# SPDX-License-Identifier: BSD-2-Clause
"""cocotb test of one processor in Verilog with its memory: runs the trials of a folder.

Stands alone: needs cocotb, the standard library and trials.py beside it, nothing of wingbeat. The design is the
processor in a top module with gen/cosim/verilog/memory.v and gen/cosim/verilog/driver.v, which do the work of every
cycle; this file starts them, waits, and reads what they counted. The data of a trial are its setup writes and the beats
of its memory before and after.

For each trial NAME.after.hex, NAME.blocks.txt and, where it is traced, NAME.activity.txt go into the folder of the
results.
"""

from cocotb.triggers import RisingEdge

from trials import FOLDER, RESET_CYCLES, RESULTS, tests_of

COUNTS = ("timeout", "fault", "setup_writes", "start_cycle", "end_cycle", "written_cycle", "reads", "writes",
          "late_requests", "reads_left", "writes_left")


class ProcessorTrial:
    """One entry of trials.json run on the design.

    name; setup, memory (files); settings (what the inputs of the top module are set to); error_bits (width and place of
    the error code in ``status``); blocks_bits (those of the number of blocks), blocks (how many there must be, 0 where
    that is not known); log (optional: ``size`` of the log of blocks, ``latency`` of a read, ``shift`` from the report
    of a block to its entry); expected (optional file: the memory afterwards, of a run without an error). A trial passes
    when the processor ends it before the deadline, keeps the rules of the memory port, has logged what it reported of
    its blocks, and, unless it stopped with an error, leaves nothing under way and has stored all blocks.

    ``faults``: what each bit of ``fault`` says. ``logs``: files that the models have written.
    """

    faults = ("a read request changed or vanished before it was accepted",
              "a write request changed or vanished before it was accepted",
              "valid or ready of the memory port is undefined")
    logs = ("after.hex", "blocks.txt")

    def __init__(self, dut, trial):
        self.dut, self.name, self.settings = dut, trial["name"], trial["settings"]
        self.files = {"setup.hex": trial["setup"], "memory.hex": trial["memory"]}
        self.error_bits, self.blocks_bits, self.blocks = trial["error_bits"], trial["blocks_bits"], trial["blocks"]
        self.log, self.entries = trial.get("log"), []
        self.expected = trial.get("expected")
        self.counts = {}

    async def run(self):
        dut, edge = self.dut, RisingEdge(self.dut.clk)
        for name, target in self.files.items():
            (RESULTS / name).unlink(missing_ok=True)
            (RESULTS / name).symlink_to((FOLDER / target).resolve())
        await edge  # the first one of a simulation comes before anything can be set
        for name, value in self.settings.items():
            getattr(dut, name).value = value
        dut.dump.value = 0
        dut.rst.value = dut.load.value = 1
        await edge
        dut.load.value = 0
        self.prepare()
        for _ in range(RESET_CYCLES):
            await edge
        dut.rst.value = 0
        await self.finish()
        self.counts = {name: int(getattr(dut, name).value) for name in COUNTS}
        status = str(dut.status.value)
        if self.log:
            await self._read_log()
        dut.dump.value = 1
        await edge
        dut.dump.value = 0
        await edge
        self.collect()
        assert not set(status) - {"0", "1"}, f"status has undefined bits: {status}"
        self.counts["status"] = hex(int(status, 2))
        self._check(int(status, 2))

    def prepare(self):
        """During the reset: what does not stand in the models."""

    async def finish(self):
        """Until the driver says that nothing more comes."""
        await RisingEdge(self.dut.done)

    def collect(self):
        """Afterwards: give what was written the name of the trial."""
        for name in (*self.logs, *(["activity.txt"] if self.settings["tracing"] else [])):
            (RESULTS / name).replace(RESULTS / f"{self.name}.{name}")

    async def _read_log(self):
        edge = RisingEdge(self.dut.clk)
        for address in range(self.log["size"]):
            self.dut.log_address.value = address
            for _ in range(self.log["latency"] + 2):
                await edge
            self.entries.append(str(self.dut.log_data.value))

    def _check_log(self, blocks=None):
        """The entries of the last blocks are what was reported of them; ``blocks``: so many since the last start, else
        all."""
        reports = (RESULTS / f"{self.name}.blocks.txt").read_text().split()[1::2]
        reports = reports[len(reports) - blocks:] if blocks is not None else reports
        for number in range(max(0, len(reports) - self.log["size"]), len(reports)):
            entry, want = self.entries[number % self.log["size"]], int(reports[number], 16) >> self.log["shift"]
            assert not set(entry) - {"0", "1"}, f"the log entry of block {number} has undefined bits: {entry}"
            assert int(entry, 2) == want, f"the log has {int(entry, 2)} of block {number}, which reported {want}"

    def _check(self, status):
        counts = self.counts
        for bit, text in enumerate(self.faults):
            assert not counts["fault"] >> bit & 1, f"cycle {counts['end_cycle']}: {text}"
        assert not counts["timeout"], (
            f"deadline of {self.settings['deadline']} cycles passed: {counts['setup_writes']} setup writes sent, "
            f"{counts['reads']} beats asked for, {counts['writes']} written")
        error, blocks = (status >> at & (1 << bits) - 1 for at, bits in (self.error_bits, self.blocks_bits))
        if not error:
            assert self.blocks in (0, blocks), (
                f"busy fell in cycle {counts['end_cycle']} without an error, with {blocks} of {self.blocks} blocks")
            for name in ("reads_left", "writes_left", "late_requests"):
                assert not counts[name], f"busy fell in cycle {counts['end_cycle']} with {name} = {counts[name]}"
        if self.log:
            self._check_log(None if error else blocks)
        if self.expected:
            assert not error, f"cycle {counts['end_cycle']}: the program was stopped with error {error}"
            self._compare()

    def _compare(self):
        got, want = (path.read_text().split("\n") for path in
                     (RESULTS / f"{self.name}.after.hex", FOLDER / self.expected))
        beats = ([line for line in lines if line and not line.startswith("//")] for lines in (got, want))
        for number, (beat, expected) in enumerate(zip(*beats, strict=True)):
            assert beat.lstrip("0") == expected.lstrip("0"), f"beat {number} is {beat} where {expected} was expected"

    def leave(self):
        return self.counts


trial = tests_of(ProcessorTrial, clock_by="gpi")
