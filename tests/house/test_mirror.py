"""tests/ has the folders of the package, and every module its test file, but for a list that may only shrink."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = ("hw", "sim", "gen", "boards")
OTHER_FOLDERS = {"cosim", "formal", "house", "support"}  # whole cores, proofs, rules, helpers

# Test files that look at a module from one more side, or at several modules.
SEVERAL = {"boards/test_verilog_top.py", "gen/compiler/network/test_attention.py",
           "gen/compiler/network/test_embedding.py", "gen/compiler/network/test_linear.py",
           "gen/report/test_timeline_page.py", "gen/rtl/test_python_versions.py", "gen/train/test_train.py",
           "hw/array/test_sequencer_masks.py", "sim/model/test_transforms.py"}
# Modules without a test file of their own; what tests them stands beside. Take a line away, never add one.
UNTESTED = {
    "boards/build.py": "boards/test_verilog_top.py",
    "boards/command.py": "boards/test_verilog_top.py",
    "boards/icebreaker.py": "boards/test_verilog_top.py",
    "boards/top.py": "boards/test_verilog_top.py",
    "boards/ulx3s.py": "boards/test_verilog_top.py",
    "gen/cli/bench.py": "gen/workloads/test_fabnet.py",
    "gen/cli/doctor.py": "gen/cli/test_app.py",
    "gen/cli/measure.py": "gen/cli/test_app.py",
    "gen/cli/options.py": "gen/cli/test_app.py",
    "gen/cli/simulate.py": "gen/cli/test_app.py",
    "gen/compiler/beats.py": "cosim/test_bench.py",
    "gen/compiler/kernel/kernel.py": "gen/compiler/kernel/test_compile.py",
    "gen/compiler/kernel/layers.py": "gen/compiler/kernel/test_unit_pivot.py",
    "gen/compiler/kernel/passes.py": "gen/compiler/kernel/test_compile.py",
    "gen/compiler/network/compile.py": "gen/cli/test_compile.py",
    "gen/compiler/program/blocks.py": "gen/compiler/program/test_operations.py",
    "gen/compiler/program/coefficients.py": "gen/compiler/program/test_operations.py",
    "gen/compiler/program/listing.py": "gen/output/test_program_files.py",
    "gen/compiler/program/matrix.py": "gen/compiler/program/test_operations.py",
    "gen/console.py": "gen/cli/test_app.py",
    "gen/cosim/axi.py": "cosim/test_axi_core.py",
    "gen/cosim/axi_stream.py": "cosim/test_axi_stream.py",
    "gen/cosim/core.py": "cosim/test_bench.py",
    "gen/cosim/harness.py": "cosim/test_processor_memory.py",
    "gen/cosim/job.py": "cosim/test_bench.py",
    "gen/cosim/kernel.py": "cosim/test_bench.py",
    "gen/cosim/memory.py": "cosim/test_processor_memory.py",
    "gen/cosim/network.py": "cosim/test_network.py",
    "gen/cosim/selftest.py": "cosim/test_testbench.py",
    "gen/cosim/streams.py": "cosim/test_bench.py",
    "gen/cosim/testbench/array_bench.py": "cosim/test_bench.py",
    "gen/cosim/testbench/axi_bench.py": "cosim/test_axi_core.py",
    "gen/cosim/testbench/processor_bench.py": "cosim/test_processor_memory.py",
    "gen/cosim/testbench/run.py": "cosim/test_testbench.py",
    "gen/cosim/testbench/simulators.py": "cosim/test_bench.py",
    "gen/cosim/testbench/trials.py": "cosim/test_bench.py",
    "gen/cosim/timing.py": "cosim/test_processor_memory.py",
    "gen/explore/accuracy.py": "gen/cli/test_app.py",
    "gen/explore/fabnet.py": "gen/workloads/test_fabnet.py",
    "gen/explore/network.py": "gen/cli/test_compile.py",
    "gen/explore/sensitivity.py": "gen/cli/test_app.py",
    "gen/output/manifest.py": "gen/output/test_core_folder.py",
    "gen/output/network_files.py": "gen/cli/test_compile.py",
    "gen/report/network.py": "gen/cli/test_compile.py",
    "gen/report/spans.py": "gen/report/test_timeline.py",
    "gen/rtl/merge.py": "gen/rtl/test_verilog.py",
    "gen/synth/devices.py": "gen/synth/test_flow.py",
    "gen/synth/harness.py": "gen/synth/test_flow.py",
    "gen/synth/units.py": "gen/synth/test_flow.py",
    "gen/train/digits.py": "gen/train/test_train.py",
    "gen/train/export.py": "gen/train/test_train.py",
    "gen/train/fake_quantise.py": "gen/train/test_train.py",
    "gen/train/layers.py": "gen/train/test_train.py",
    "gen/train/listops.py": "gen/train/test_train.py",
    "gen/train/network.py": "gen/train/test_train.py",
    "gen/train/task.py": "gen/train/test_train.py",
    "gen/train/training.py": "gen/train/test_train.py",
    "hw/array/layouts.py": "hw/array/test_array.py",
    "hw/bus/axi4/burst.py": "hw/bus/axi4/test_master.py",
    "hw/bus/axi4/reader.py": "hw/bus/axi4/test_master.py",
    "hw/bus/axi4/writer.py": "hw/bus/axi4/test_master.py",
    "hw/core/unit_counters.py": "cosim/test_processor_cycles.py",
    "hw/errors.py": "gen/cli/test_app.py",
    "hw/isa/instruction.py": "hw/isa/test_encoding.py",
    "hw/isa/link_frame.py": "hw/link/test_link.py",
    "hw/isa/parameter_set.py": "sim/model/test_vector_unit.py",
    "hw/isa/schedule.py": "sim/model/test_array.py",
    "hw/isa/vector_tables.py": "sim/model/test_vector.py",
    "hw/isa/walk.py": "hw/isa/test_encoding.py",
    "hw/layouts.py": "hw/array/test_array.py",
    "hw/link/framer.py": "hw/link/test_link.py",
    "hw/memory/port.py": "hw/memory/test_scratchpad.py",
    "hw/numeric.py": "sim/model/test_butterfly.py",
    "hw/primitives/adder.py": "hw/array/test_butterfly.py",
    "hw/primitives/memory.py": "hw/primitives/test_ram.py",
    "hw/primitives/pipeline.py": "hw/array/test_butterfly.py",
    "hw/primitives/saturate.py": "hw/vector/test_rescale.py",
    "hw/primitives/shared.py": "gen/rtl/test_verilog.py",
    "hw/primitives/signals.py": "gen/rtl/test_python_versions.py",
    "hw/softmax/layouts.py": "hw/softmax/test_row_memory.py",
    "hw/vector/activation.py": "hw/vector/test_rescale.py",
    "hw/vector/statistics.py": "hw/vector/test_normalise.py",
    "sim/bench/stream.py": "hw/primitives/test_stream.py",
    "sim/cycles/array.py": "sim/cycles/test_estimate.py",
    "sim/cycles/memory.py": "sim/cycles/test_estimate.py",
    "sim/cycles/regroup.py": "sim/cycles/test_estimate.py",
    "sim/cycles/skip.py": "sim/cycles/test_estimate.py",
    "sim/cycles/vector.py": "sim/cycles/test_estimate.py",
    "sim/cycles/writer.py": "sim/cycles/test_estimate.py",
    "sim/stimulus/illegal.py": "sim/stimulus/test_processor.py",
    "sim/stimulus/layers.py": "sim/stimulus/test_processor.py",
    "sim/stimulus/vector.py": "sim/stimulus/test_processor.py",
}


def modules() -> set[str]:
    return {path.relative_to(ROOT).as_posix() for part in PARTS for path in (ROOT / part).rglob("*.py")
            if path.name != "__init__.py"}


def path_of_test(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"tests/{folder}/test_{name}"


def untested(names: set[str]) -> set[str]:
    return {module for module in names if not (ROOT / path_of_test(module)).exists()}


def test_every_module_has_its_test_file():
    assert untested(modules()) - set(UNTESTED) == set()


def test_the_list_only_holds_modules_without_one():
    assert set(UNTESTED) <= untested(modules())


@pytest.mark.parametrize("module", sorted(UNTESTED))
def test_what_tests_them_exists(module):
    for path in UNTESTED[module].split():
        assert (ROOT / "tests" / path).exists()


def test_no_test_file_without_its_module():
    """A test that stands alone was left behind by a move."""
    found = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    alone = {path for path in found if path.split("/")[0] not in OTHER_FOLDERS
             and not (ROOT / path.replace("test_", "", 1)).exists()}
    assert alone - SEVERAL == set()


def test_folders_are_those_of_the_package():
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    ours = {folder for folder in folders if folder.split("/")[0] not in OTHER_FOLDERS}
    assert all((ROOT / folder).is_dir() for folder in ours)


def test_the_rule_catches():
    assert untested({"hw/array/nothing.py"}) == {"hw/array/nothing.py"}
    assert not untested({"hw/array/engine.py"})
