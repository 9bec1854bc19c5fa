# SPDX-License-Identifier: BSD-2-Clause
"""What every bench of this folder shares: where its files are, and one cocotb test for each trial of a folder.

Stands alone: needs cocotb and the standard library, nothing of wingbeat. The folder of the trials is named by the
environment variable ARRAY_TRIALS and holds trials.json, a list of trials, and their data, *.hex: one word a line, the
first line first. NAME.result.json and what else a trial leaves go into the folder that ARRAY_RESULTS names, in which
the simulator runs.
"""

import json
import os
from pathlib import Path

import cocotb
from cocotb.clock import Clock

FOLDER = Path(os.environ["ARRAY_TRIALS"])
RESULTS = Path(os.environ["ARRAY_RESULTS"])
TRIALS = json.loads((FOLDER / "trials.json").read_text())
RESET_CYCLES = 3


def tests_of(trial_class, clock_by="py"):
    """A cocotb test for each trial.

    ``trial_class(dut, entry)`` has a ``name``, a coroutine ``run()``, which raises AssertionError for what is wrong,
    and ``leave()``, which writes what the trial leaves besides its result and returns what belongs into that, whatever
    happened. ``clock_by`` toggles the clock: "py", or "gpi" without Python.
    """
    @cocotb.test()
    @cocotb.parametrize(number=range(len(TRIALS)))
    async def trial(dut, number):
        clock = Clock(dut.clk, 2, "ns", impl=clock_by)
        clock.start()
        run = trial_class(dut, TRIALS[number])
        error = None
        try:
            await run.run()
        except Exception as failure:
            error = (str(failure) or repr(failure)).splitlines()[0]
            raise
        except BaseException:  # a task beside the trial, such as the model of a bus, has failed and ends it
            error = "stopped by a fault of the model around the core; see simulation.log"
            raise
        finally:
            result = {"name": run.name, "error": error, **run.leave()}
            (RESULTS / f"{run.name}.result.json").write_text(json.dumps(result))
            clock.stop()

    return trial
