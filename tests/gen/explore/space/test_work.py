"""Workloads: the cycle model beside the generated Verilog, and what does not fit."""

import pytest

from wingbeat.gen.explore.space.work import KernelWork, NetworkWork
from wingbeat.gen.presets.select import load_preset
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.sections import BusSection

ARRAY = load_preset("tiny")
PROCESSOR = load_preset("processor-16", ["target=portable", "half_words=512", "memory_bits=14"])


@pytest.mark.parametrize("config, work", [
    (ARRAY, KernelWork(kernel="fft", points=16)), (ARRAY, KernelWork(kernel="bpmm", points=64)),
    (PROCESSOR, KernelWork(kernel="fft", points=64, memory="delay:10,2")),
    (PROCESSOR, KernelWork(kernel="fft2-real", tokens=16, hidden=16))], ids=lambda each: getattr(each, "kernel", ""))
def test_the_verilog_takes_the_cycles_of_the_model(config, work):
    run = work.simulate(config)
    assert run.mismatches == 0 and run.cycles == work.model_cycles(config) > 0


def test_cycles_are_those_of_a_row():
    """In steady state: 64 points are three passes of two layers on four lanes, so 48 groups for a row where nothing
    waits. Of real rows a word holds two."""
    config = load_preset("ulx3s-16", ["target=portable"])
    assert 48 <= KernelWork(kernel="fft", points=64).model_cycles(config) < 48.1
    assert 24 <= KernelWork(kernel="bpmm", points=64).model_cycles(config) < 24.1


def test_an_operation_is_one():
    """Twice the rows take nearly twice the cycles."""
    one, two = (KernelWork(kernel="fft2-real", tokens=n, hidden=64).model_cycles(PROCESSOR) for n in (64, 128))
    assert 1.7 < two / one < 2.6


def test_a_slow_memory_takes_longer():
    fast, slow = (KernelWork(kernel="fft", points=64, memory=memory).model_cycles(PROCESSOR)
                  for memory in ("ideal", "delay:40,1"))
    assert fast < 48 < slow == 64  # a word a cycle


@pytest.mark.parametrize("config, work, message", [
    (ARRAY, KernelWork(kernel="ffn"), "^ffn, memory ideal: tiny has no "),
    (ARRAY, KernelWork(kernel="fft", memory="delay:1,1"), "^fft, memory delay:1,1: tiny has no "),
    (ARRAY, KernelWork(kernel="fft", points=256), "^points: 256; allowed are 2..64 on tiny$"),
    (PROCESSOR, KernelWork(kernel="dense", tokens=4, inputs=16, outputs=16), "ring_words"),
    (PROCESSOR.model_copy(update={"bus": BusSection(memory="axi4")}), KernelWork(kernel="fft"), "^bus.memory: 'axi4'"),
    (ARRAY, NetworkWork(network="digits"), "^memory: tiny has no "),
    (PROCESSOR, NetworkWork(network="digits"), "^embed: vector: processor_16 has no ")])
def test_what_does_not_fit(config, work, message):
    with pytest.raises(WingbeatError, match=message):
        work.model_cycles(config)


def test_a_network_of_files(networks):
    """Two inputs at once take less for each. Facts follow the files, not their place; what changed is read again."""
    config = load_preset("hybrid-16", ["half_words=512"])
    toml, tensors = networks.write("b16 norm gelu b8")
    one, two = (NetworkWork(network=str(toml), checkpoint=str(tensors), batch=batch) for batch in (1, 2))
    assert two.model_cycles(config) < one.model_cycles(config)
    copy_toml, copy_tensors = (path.rename(path.with_name(f"copy{path.suffix}")) for path in (toml, tensors))
    copy = NetworkWork(network=str(copy_toml), checkpoint=str(copy_tensors), batch=1)
    before, cycles = copy.facts(), copy.model_cycles(config)
    other_toml, other_tensors = networks.write("b16 norm gelu b16 b8", seed=2)
    other_toml.rename(copy_toml), other_tensors.rename(copy_tensors)
    assert copy.facts() != before and copy.model_cycles(config) > cycles
    with pytest.raises(WingbeatError, match="^network: .* cannot be read: "):
        one.facts()


@pytest.mark.slow
def test_a_network_on_the_verilog(networks):
    toml, tensors = networks.write("b16 norm gelu b8")
    work = NetworkWork(network=str(toml), checkpoint=str(tensors), batch=2, memory="delay:10,4")
    config = load_preset("hybrid-16", ["half_words=512", "target=portable", "memory_bits=12"])
    run = work.simulate(config)
    assert run.mismatches == 0 and run.cycles == work.model_cycles(config)
