"""Random MACs: legal, of every kind, and no matter to the cycle model whether it skips; illegal programs of a ring."""

from collections import Counter
from fractions import Fraction
import random

import numpy as np
import pytest

from support.faults import fault_of
from support.programs import executed

from wingbeat.hw.config import CoreConfig
from wingbeat.hw.isa.encoding import INSTRUCTION_WORDS, encode
from wingbeat.hw.isa.instruction import (Destination, Fault, Fetch, Load, Loop, Mac, Mode, Pass, Read, Set, Store,
                                         Unit)
from wingbeat.sim.cycles import array as array_cycles
from wingbeat.sim.cycles import ring as ring_cycles
from wingbeat.sim.cycles.estimate import estimate
from wingbeat.sim.cycles.memory import MemorySpeed
from wingbeat.sim.model.processor import ProcessorModel, fetched_records
from wingbeat.sim.model.ring import panel_words
from wingbeat.sim.stimulus.illegal import illegal_programs
from wingbeat.sim.stimulus.macs import behind_ring
from wingbeat.sim.stimulus.processor import random_processor_config, random_processor_job, random_softmax_config
from wingbeat.sim.stimulus.records import with_records
from wingbeat.sim.stimulus.ring import with_macs

SEEDS = (*range(15), 26, 31, 46)
FOUR_LAYERS = CoreConfig.of(engines=1, layers=4, width=14, element_width=12, coefficient_width=12, half_words=256,
                            coefficient_words=32, ring_words=16, stream_words=16, memory_bits=13, records=True)


def config_of(rng):
    """Any processor with a ring, now and then one of four layers."""
    if rng.random() < 0.15:
        return FOUR_LAYERS.changed(ring_words=rng.choice((8, 16, 32)))
    while True:
        config = random_processor_config(rng)
        if config.ring_words and config.bank_rows > 2:
            return config


def case_of(seed):
    """Configuration, a job with MACs and now and then records, and how many beats it had without either."""
    rng = random.Random(f"ring {seed}")
    config = config_of(rng)
    plain = random_processor_job(config, rng)
    job = with_macs(config, plain, rng)
    return config, with_records(config, job, rng) if rng.random() < 0.3 else job, len(plain.memory)


@pytest.fixture(scope="module")
def cases():
    return [case_of(seed) for seed in SEEDS]


def model_of(config, job):
    model = ProcessorModel(config, [], [], job.memory.copy())
    for write in job.setup:
        model.write_setup(*write)
    return model


def of_ring(program):
    return [step for step in program if isinstance(step, Fetch) and step.destination is not Destination.SETUP]


def blocks_of(program):
    """The passes of every block, and its STORE."""
    passes, found = [], []
    for step in executed(program):
        if isinstance(step, Pass | Mac):
            passes.append(step)
        elif isinstance(step, Store):
            found.append((passes, step))
            passes = []
    return found


def test_jobs_are_legal(cases):
    """They leave no word behind, and no coefficient that is used stands in the ring."""
    for seed, (config, job, _) in zip(SEEDS, cases):
        model = model_of(config, job)
        assert len(model.run(job.program)) == job.blocks and model.ring.words == 0, f"seed {seed}"
        assert len(job.program) * INSTRUCTION_WORDS <= config.program_words, f"seed {seed}"
        assert len(job.memory) <= 1 << config.memory_bits, f"seed {seed}"
        for step in job.program:
            if isinstance(step, Pass) and step.active:
                assert step.coef_base >= config.ring_words, f"seed {seed}, {step}"
        written = [address for beats in fetched_records(config, job.program, job.setup, job.memory) for beat in beats
                   for target, address, _ in beat if target < config.n_units]
        assert min(written, default=config.ring_words) >= config.ring_words, f"seed {seed}"


def test_jobs_follow_from_the_seed(cases):
    for seed in (2, 5, 9):
        config, job, _ = cases[seed]
        again, other, _ = case_of(seed)
        assert config == again and job.program == other.program and job.setup == other.setup, f"seed {seed}"
        assert np.array_equal(job.memory, other.memory), f"seed {seed}"


def test_jobs_reach_every_case(cases):
    """Shapes and places of MACs, passes around them, and FETCHes of all kinds."""
    met, with_macs_in, blocks, with_mac = set(), 0, 0, 0
    for config, job, own in cases:
        met |= {("S", config.layers), ("vector unit", config.vector_lanes > 0)}
        with_macs_in += bool(of_ring(job.program))
        for passes, store in blocks_of(job.program):
            macs = [step for step in passes if isinstance(step, Mac)]
            blocks, with_mac = blocks + 1, with_mac + bool(macs)
            met |= {("base", store.base > 0)} if macs else set()
            for before, step in zip(passes, passes[1:]):
                met |= {(type(before).__name__, type(step).__name__)} if Mac in (type(before), type(step)) else set()
                met |= {("block float in front", before.block_float)} if isinstance(before, Pass) and macs else set()
            for mac in macs:
                met |= {("pairs", min(mac.pairs, 3)), ("odd inputs", mac.inputs % 2), ("outputs", min(mac.outputs, 4)),
                        ("wide stride", mac.inputs < 1 << mac.log2_in_stride),
                        ("wide output stride", mac.outputs < 1 << mac.log2_out_stride), ("gap", mac.gap > 0),
                        ("first", mac.first), ("last", mac.last), ("keep", mac.keep), ("merge", mac.merge),
                        ("sparse", mac.log2_group > 0), ("sparse and kept", mac.log2_group > 0 and mac.keep),
                        ("fills the ring", panel_words(config, mac) == config.ring_words)}
        met |= {("after", step.after > 0) for step in of_ring(job.program)}
        met |= {("fence", step.fence) for step in of_ring(job.program)}
        met |= kinds_of_places(config, job, own)
    want = {*(("S", s) for s in (1, 2, 4)), *(("pairs", n) for n in (1, 2, 3)), *(("outputs", n) for n in (1, 2, 3, 4)),
            *((name, flag) for flag in (False, True) for name in (
                "vector unit", "base", "wide stride", "wide output stride", "gap", "first", "last", "fills the ring",
                "after", "fence", "block float in front", "keep", "merge", "sparse", "sparse and kept")),
            ("odd inputs", 0), ("odd inputs", 1), ("Mac", "Mac"), ("Mac", "Pass"), ("Pass", "Mac"),
            "in front of the READ", "behind the READ", "behind the MAC", "behind the next READ", "in a loop", "goes on",
            "of the job", "part of a set", "butterfly", "FFT", "records"}
    assert met >= want, f"missing {want - met}"
    assert with_macs_in > 0.8 * len(cases) and with_mac > blocks / 4, (with_macs_in, with_mac, blocks)


def kinds_of_places(config, job, beats):
    """Where the FETCHes of a job, which had so many beats before, stand in front of its MACs, and what they bring."""
    found, program = set(), list(executed(job.program))
    reads, macs = (np.cumsum([kind(step) for step in program]) for kind in (
        lambda step: type(step) is Read, lambda step: isinstance(step, Mac)))
    begun = np.cumsum([isinstance(step, Pass | Mac) and step.first for step in program])
    of_block = [int(begun[at]) for at, step in enumerate(program) if isinstance(step, Mac)]  # from 1 on
    words = 0
    needs = np.cumsum([0, *(panel_words(config, step) * step.outputs for step in program if isinstance(step, Mac))])
    for at, step in enumerate(program):
        if isinstance(step, Fetch) and step.destination is not Destination.SETUP:
            mac = int(np.searchsorted(needs, words, side="right")) - 1
            block = of_block[min(mac, len(of_block) - 1)]
            found |= {"in front of the READ" if reads[at] < block else "behind the READ"}
            found |= {"behind the MAC"} if macs[at] > mac else set()
            found |= {"behind the next READ"} if reads[at] > block else set()
            found |= {"part of a set"} if step.rows % config.layers else set()
            words += step.rows // config.layers * (config.memory_elements // config.lanes)  # about
    loops = [job.program[step.target:at] for at, step in enumerate(job.program) if isinstance(step, Loop)]
    for steps in (steps for steps in loops if of_ring(steps)):
        is_set = any(isinstance(step, Set) and step.register == of_ring(steps)[0].register and step.unit is Unit.READER
                     for step in steps)
        found |= {"in a loop" if is_set else "goes on"}
    own = {(Unit.READER, step.register) for step in of_ring(program)}
    bases = [step.value for step in program if isinstance(step, Set) and (step.unit, step.register) in own]
    found |= {"of the job"} if min(bases, default=beats) < beats else set()
    passes = [step for step in program if isinstance(step, Pass) and step.active]
    found |= {"butterfly"} if any(step.mode is Mode.BPMM for step in passes) else set()
    found |= {"FFT"} if any(step.mode is Mode.FFT for step in passes) else set()
    return found | ({"records"} if len(of_ring(program)) < sum(isinstance(step, Fetch) for step in program) else set())


def test_some_results_are_clamped_and_most_are_not(cases):
    """Of the blocks with MACs alone: nothing else clamps there."""
    clamped = []
    for config, job, _ in cases:
        outcomes = model_of(config, job).run(job.program)
        clamped += [outcome.saturated for (passes, _), outcome in zip(blocks_of(job.program), outcomes)
                    if all(isinstance(step, Mac) for step in passes)]
    assert len(clamped) > 10 and 0 < np.mean(clamped) < 0.8, (len(clamped), np.mean(clamped))


def test_rings_are_full_and_macs_starve(cases, monkeypatch):
    """And the cycle model skips nothing of it."""
    met = Counter()
    unpack, sequencer = ring_cycles.Unpack.step, array_cycles.SequencerUnit.step

    def watch_unpack(self, *arguments):
        unpack(self, *arguments)
        met["full"] += self.full

    def watch_sequencer(self, *arguments):
        met["starved"] += self.starved
        met["between panels"] += self.between
        sequencer(self, *arguments)

    for seed in SEEDS[:6]:
        config, job, _ = cases[seed]
        found = []
        for skip in (False, True):
            with monkeypatch.context() as patch:
                if not skip:
                    patch.setattr(ring_cycles.Unpack, "step", watch_unpack)
                    patch.setattr(array_cycles.SequencerUnit, "step", watch_sequencer)
                speed = MemorySpeed(*((1,) if seed % 2 else (23, Fraction(config.stream_words, 3))))
                found.append(estimate(config, job.program, job.setup, speed, skip, job.memory))
        assert found[0] == found[1], f"seed {seed}"
    assert min(met["full"], met["starved"], met["between panels"]) > 30, met


def test_without_room_there_are_no_macs():
    """No descriptor or no register is left: the job stays as it was, but for its coefficients."""
    config, rng = FOUR_LAYERS.changed(descriptors=1), random.Random(3)
    job = random_processor_job(config, rng)
    found = with_macs(config, job, rng)
    assert not of_ring(found.program) and len(found.program) == len(job.program)
    assert np.array_equal(found.memory, job.memory) and model_of(config, found).check(encode(found.program))


def test_a_ring_that_is_all_of_the_coefficients():
    """Then no pass has any."""
    config = FOUR_LAYERS.changed(ring_words=32)
    destinations = set()
    for seed in range(3):
        rng = random.Random(f"all {seed}")
        job = with_records(config, with_macs(config, random_processor_job(config, rng), rng), rng)
        assert not any(step.active for step in job.program if isinstance(step, Pass)), f"seed {seed}"
        destinations |= {step.destination for step in job.program if isinstance(step, Fetch)}
    assert destinations == {Destination.SETUP, Destination.RING}  # four layers have no picks
    step = Load(None)
    assert behind_ring(config, step, random.Random(0)) is step


# --- illegal programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_illegal_programs_end_in_their_code(seed):
    rng = random.Random(f"illegal {seed}")
    config = config_of(rng) if seed else FOUR_LAYERS
    for case in illegal_programs(config, rng):
        found = fault_of(config, case)
        assert found.code is case.code, f"seed {seed}, {case.name}: {found}"


def test_every_code_of_a_ring_is_met():
    without = {case.name for case in illegal_programs(FOUR_LAYERS.changed(ring_words=0), random.Random(0))}
    added = [case for case in illegal_programs(FOUR_LAYERS, random.Random(0)) if case.name not in without]
    assert {case.code for case in added} == {Fault.OPCODE, Fault.PASS, Fault.WALK, Fault.INPUT, Fault.OUTPUT,
                                             Fault.AFTER, Fault.REFUSED, Fault.WATCHDOG, Fault.RING}
    for name in ("circle-after", "circle-room", "circle-next"):
        assert sum(name in case.name for case in added) == 3, name


def test_illegal_softmaxes():
    """Every code that a core with softmax alone meets, and all of them as the model says."""
    rng = random.Random("illegal softmax")
    config = random_softmax_config(rng)
    without = {case.name for case in illegal_programs(config.changed(softmax_pairs=0, finishers=1), random.Random(0))}
    added = [case for case in illegal_programs(config, rng) if case.name not in without]
    assert {case.code for case in added} == {Fault.PASS, Fault.WATCHDOG, Fault.OUTPUT}
    assert len(added) >= 40 and all("mask" in case.name or "logits" in case.name or "values" in case.name
                                    or "softmax" in case.name for case in added)
    for case in added:
        found = fault_of(config, case)
        assert found.code is case.code, f"{case.name}: {found}"


def test_the_corpus_refuses_too_few_descriptors():
    with pytest.raises(ValueError, match="^descriptors: 3 is not in 4..63"):
        illegal_programs(FOUR_LAYERS.changed(descriptors=3), random.Random(0))
