"""The configuration: each refusal by its message, derived values, and the hazard condition by brute force."""

import pytest
from pydantic import ValidationError

from wingbeat.hw.config import CoreConfig, Target
from wingbeat.sim.model.shuffle import pass_indices

REFUSED = [
    (dict(name="1st"), "name: '1st' is not a module name"),
    (dict(name="x;endmodule"), "name: 'x;endmodule' is not a module name"),
    (dict(name="../../etc/x"), "is not a module name; allowed are"),
    (dict(name="a\nb"), r"name: 'a\nb' is not a module name"),
    (dict(name="wing\n"), r"name: 'wing\n' is not a module name"),
    (dict(name=""), "name: '' is not a module name"),
    (dict(name="a" * 64), "is not a module name"),
    (dict(name="Module"), "name: 'Module' is not a module name"),
    (dict(width=16, element_width=17), "element_width: 17 is more than width = 16; allowed are 8..16"),
    (dict(half_words=96), "half_words: 96 is not a power of two"),
    (dict(layers=2, half_words=4), "half_words: 4 is less than 2 rows of 4 lanes = 8"),
    (dict(program_words=100), "program_words: 100 is not a power of two"),
    (
        dict(engines=3, stream_words=4),
        "stream_words: 4 does not divide the work of 3 engines of 2 lanes; allowed are 1, 2, 6",
    ),
    (
        dict(layers=3, engines=2, stream_words=3),
        "stream_words: 3 does not divide the work of 2 engines of 8 lanes; allowed are 1, 2, 4, 8, 16",
    ),
    (dict(stream_words=4), "allowed are 1, 2"),
    (dict(memory_bits=8, block_log=1), "memory.block_log: 1; allowed are 0 and powers of two from 2 on"),
    (dict(memory_bits=8, block_log=24), "memory.block_log: 24; allowed are 0 and powers of two from 2 on"),
]
IDS = dict(engines=2, stream_words=4, memory_bits=8, records=True)
RING = dict(layers=2, stream_words=4, memory_bits=8, records=True, coefficient_words=64, ring_words=16)
REFUSED_RINGS = [
    (dict(ring_words=24), "array.ring_words: 24; allowed are 0 and powers of two from 4 to coefficient_words = 64"),
    (dict(ring_words=2), "array.ring_words: 2; allowed are 0 and powers of two from 4 to coefficient_words = 64"),
    (dict(ring_words=1), "array.ring_words: 1; allowed are 0 and powers of two from 4 to coefficient_words = 64"),
    (dict(ring_words=128), "array.ring_words: 128; allowed are 0 and powers of two from 4 to coefficient_words = 64"),
    (dict(ring_words=16, coefficient_words=15),
     "array.ring_words: 16; allowed are 0 and powers of two from 4 to coefficient_words = 15"),
    (dict(engines=4, stream_words=16, ring_words=8),
     "array.ring_words: 8; allowed are 0 and powers of two from 16 to coefficient_words = 64"),
    (dict(layers=4, stream_words=16, ring_words=4),
     "array.ring_words: 4; allowed are 0 and powers of two from 8 to coefficient_words = 64"),
    (dict(records=False), "array.ring_words: 16 without memory.records; allowed is 0, or records = true"),
    (dict(layers=3, stream_words=8),
     "array.ring_words: 16 with array.layers = 3; allowed is 0, or 1, 2 or 4 layers"),
    (dict(pipeline="short"), "array.ring_words: 16 with pipeline = 'short'; allowed is 0, or a deep pipeline"),
]
PARTIAL = RING | dict(engines=4, stream_words=16, partial_words=16)
REFUSED_SOFTMAX = [
    (dict(softmax_pairs=3), "array.softmax_pairs: 3; allowed are 0, and with array.partial_words powers of two"),
    (dict(softmax_pairs=1023), "array.softmax_pairs: 1023; allowed are 0, and with array.partial_words powers of two"),
    (dict(softmax_pairs=4, partial_words=0),
     "array.softmax_pairs: 4; allowed are 0, and with array.partial_words powers of two"),
    (dict(softmax_pairs=4, finishers=3), "array.finishers: 3; allowed are divisors of 4 engines"),
    (dict(softmax_pairs=4, finishers=8), "array.finishers: 8; allowed are divisors of 4 engines"),
    (dict(finishers=3), "array.finishers: 3; allowed are divisors of 4 engines"),
]


@pytest.mark.parametrize("choices, message", REFUSED)
def test_refused_combinations(choices, message):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**choices)
    assert message in fault.value.errors()[0]["msg"] and fault.value.error_count() == 1


@pytest.mark.parametrize("choices, message", REFUSED_RINGS)
@pytest.mark.thin(1)
def test_refused_rings(choices, message):
    """Each rule alone; without the ring the configuration is one."""
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**RING | choices)
    assert [error["msg"] for error in fault.value.errors()] == [f"Value error, {message}"]
    assert CoreConfig.of(**RING | choices | dict(ring_words=0)).ring_words == 0


@pytest.mark.parametrize("choices, message", REFUSED_SOFTMAX)
def test_refused_softmax(choices, message):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**PARTIAL | choices)
    assert [error["msg"] for error in fault.value.errors()] == [f"Value error, {message}"]


@pytest.mark.parametrize("field, value", [("softmax_pairs", -1), ("softmax_pairs", 2048), ("finishers", 0),
                                          ("finishers", 65)])
def test_softmax_out_of_range(field, value):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**PARTIAL | {field: value})
    assert [error["loc"] for error in fault.value.errors()] == [("array", field)]


def test_softmax():
    """A power of two of row pairs, 1 and most too; finishers serve an equal part of the engines each."""
    pairs = [2 ** n for n in range(11)]
    assert [CoreConfig.of(**PARTIAL, softmax_pairs=number).softmax_pairs for number in pairs] == pairs
    assert [CoreConfig.of(**PARTIAL, softmax_pairs=2, finishers=n).finishers for n in (1, 2, 4)] == [1, 2, 4]
    config = CoreConfig.of(**PARTIAL)
    assert (config.softmax_pairs, config.finishers) == (0, 1)


@pytest.mark.parametrize("choices, row_ids", [(dict(), 1), (dict(), 3), (dict(), 24), (dict(), 65535),
                                              (dict(records=False), 8), (dict(records=False), 3)])
def test_refused_ids(choices, row_ids):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**IDS | choices, row_ids=row_ids)
    assert [error["msg"] for error in fault.value.errors()] == [
        f"Value error, memory.row_ids: {row_ids}; allowed are 0, and with memory.records powers of two from 2 on"]


@pytest.mark.parametrize("row_ids", [-1, 65537, 131072])
def test_ids_out_of_range(row_ids):
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(**IDS, row_ids=row_ids)
    assert [error["loc"] for error in fault.value.errors()] == [("memory", "row_ids")]


def test_ids():
    assert [CoreConfig.of(**IDS, row_ids=1 << bits).row_ids for bits in range(1, 17)] == [2 ** n for n in range(1, 17)]
    assert CoreConfig.of(**IDS | dict(records=False), row_ids=0).row_ids == 0
    assert CoreConfig.of(**IDS).row_ids == CoreConfig.of().row_ids == 0


def test_a_ring_needs_a_memory():
    with pytest.raises(ValidationError, match="array.ring_words: 16 without memory.records; allowed is 0, or records"):
        CoreConfig.of(ring_words=16)


@pytest.mark.parametrize("choices, bits", [(dict(ring_words=4), 2), (dict(ring_words=64), 6), (dict(ring_words=0), 0),
                                           (dict(engines=4, stream_words=16, ring_words=16), 4),
                                           (dict(layers=4, stream_words=16, ring_words=8), 3),
                                           (dict(layers=1, engines=2, ring_words=8), 3)])
def test_rings(choices, bits):
    """The smallest ones hold two panels of two inputs, or two sets of beats."""
    config = CoreConfig.of(**RING | choices)
    assert config.ring_bits == bits and 1 << bits == max(1, config.ring_words)


def test_every_fault_is_named_at_once():
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(engines=0, layers=9, width=99)
    assert {e["loc"] for e in fault.value.errors()} == {("array", n) for n in ("engines", "layers", "width")}
    with pytest.raises(ValidationError) as fault:
        CoreConfig.of(name="case", width=8, half_words=12, program_words=33, stream_words=3)
    lines = fault.value.errors()[0]["msg"].removeprefix("Value error, ").split("\n")
    assert [line.split(":")[0] for line in lines] == [
        "name",
        "array.element_width",
        "array.half_words",
        "array.program_words",
        "array.stream_words",
    ]


@pytest.mark.parametrize("choices, message", [
    (dict(vector={"lanes": 2}), "vector: a vector unit without a memory; give [memory] or leave [vector] out"),
    (dict(bus={"memory": "axi4"}), "bus.memory: 'axi4' without a memory; give [memory], or allowed is native"),
    (dict(memory={}, bus={"stream": "axi4-stream"}), "bus.stream: 'axi4-stream' with a [memory], behind which a core "
                                                     "has no streams; allowed is native"),
    (dict(memory={}, bus={"memory": "axi4", "data_width": 48}), "bus.data_width: 48 is not a power of two")])
def test_refused_sections(choices, message):
    with pytest.raises(ValidationError) as fault:
        CoreConfig(**choices)
    assert [error["msg"] for error in fault.value.errors()] == [f"Value error, {message}"]


def test_absent_sections_are_not_built():
    config = CoreConfig()
    assert config.memory is None and config.vector is None and not config.is_processor and config.vector_lanes == 0
    assert CoreConfig(memory={}).is_processor
    assert CoreConfig(**CoreConfig.of(engines=2, memory_bits=12, vector_lanes=2).choices()).vector_lanes == 2


def test_changed_checks_again():
    config = CoreConfig.of(engines=2, memory_bits=12, vector_lanes=2)
    assert config.changed(memory_bits=13) == CoreConfig.of(engines=2, memory_bits=13, vector_lanes=2)
    assert config.changed(vector_lanes=0).vector is None
    with pytest.raises(ValidationError):
        config.changed(engines=0)
    with pytest.raises(ValidationError):
        config.changed(memory_bits=0)


def test_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        CoreConfig().name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        CoreConfig().array.engines = 2
    with pytest.raises(AttributeError):
        CoreConfig().engines = 2


@pytest.mark.parametrize(
    "choices, derived",
    [
        (
            dict(engines=8, layers=2, width=18, half_words=4096, coefficient_width=17, stream_words=16),
            dict(
                lanes=4,
                n_units=4,
                n_multipliers=128,
                index_bits=12,
                bank_rows=1024,
                row_bits=10,
                engines_per_beat=4,
                beat_groups=2,
                beat_words=16,
                gearbox=1,
                coefficient_bits=36,
                magnitude_bits=3,
                largest_n=12,
            ),
        ),
        (
            dict(engines=3, layers=3, half_words=256, stream_words=2),
            dict(
                lanes=8,
                n_units=12,
                n_multipliers=144,
                index_bits=8,
                bank_rows=32,
                engines_per_beat=1,
                beat_groups=3,
                beat_words=8,
                gearbox=4,
                magnitude_bits=4,
                largest_n=6,
            ),
        ),
        (
            dict(engines=32, layers=1, stream_words=16, coefficient_words=100),
            dict(
                lanes=2,
                n_units=1,
                n_multipliers=128,
                engines_per_beat=8,
                beat_groups=4,
                gearbox=1,
                coefficient_address_bits=7,
                largest_n=8,
            ),
        ),
        (
            dict(layers=4, width=8, element_width=8, stream_words=1),
            dict(n_multipliers=128, gearbox=16, magnitude_bits=5),
        ),
        (dict(target="ecp5"), dict(target=Target.ECP5)),
    ],
)
def test_derived_values(choices, derived):
    config = CoreConfig.of(**choices)
    assert {name: getattr(config, name) for name in derived} == derived


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_block_float_shifts_fit_their_field(layers):
    """A column adds at most two bits (the first that rotates), a pass at most S+1: what z counts up to."""
    config = CoreConfig.of(layers=layers)
    assert 2 < 1 << config.shift_bits
    assert config.magnitude_bits == layers + 1 < 8


@pytest.mark.parametrize(
    "layers, bits",
    [
        (1, 2),
        (1, 7),
        (1, 10),
        (2, 4),
        (2, 6),
        (2, 7),
        (2, 10),
        (3, 6),
        (3, 9),
        (3, 11),
        (4, 8),
        (4, 9),
        (4, 12),
    ],
)
def test_pass_gap_is_sufficient_and_minimal(layers, bits):
    """All digit pairs of a full block, upwards and downwards: with the gap, the first issue of each word in
    the later pass stands at least L+1 cycles behind its issue in the earlier one; one cycle less and some
    word does not."""
    config = CoreConfig.of(layers=layers, half_words=1 << bits)
    groups = config.bank_rows
    issue = [issue_cycles(digit, groups, layers) for digit in range(bits // layers)]
    for before, earlier in enumerate(issue):
        for digit, later in enumerate(issue):
            gap = config.pass_gap(before, digit, groups)
            distance = groups + gap + min(l - e for l, e in zip(later, earlier))
            assert distance >= config.pipeline_latency + 1, f"digits {before} -> {digit}"
            assert gap == 0 or distance == config.pipeline_latency + 1, (
                f"digits {before} -> {digit}: gap {gap}"
            )


@pytest.mark.parametrize("layers, bits", [(1, 6), (2, 6), (3, 8)])
def test_pass_gap_of_shorter_blocks(layers, bits):
    """Passes over fewer row pairs than fit: the gap still suffices for the words that both passes touch."""
    config = CoreConfig.of(layers=layers, half_words=1 << bits)
    digits = range(bits // layers)
    for before in digits:
        for digit in digits:
            unit = 1 << (max(before, digit) * layers)
            for groups in range(unit, config.bank_rows + 1, unit):
                earlier, later = (issue_cycles(d, groups, layers) for d in (before, digit))
                assert len(earlier) == len(later)
                distance = (
                    groups
                    + config.pass_gap(before, digit, groups)
                    + min(l - e for l, e in zip(later, earlier))
                )
                assert distance >= config.pipeline_latency + 1, f"digits {before} -> {digit}, {groups} groups"


def issue_cycles(digit, groups, layers):
    """Cycle of a pass, counted from its first, in which each word is issued."""
    index = pass_indices(digit, groups, layers)
    cycle = {int(i): g for g, row in enumerate(index) for i in row}
    return [cycle[i] for i in sorted(cycle)]


@pytest.mark.parametrize("layers, half_words", [(1, 128), (2, 256), (3, 1024)])
def test_zero_bubble_is_the_condition_of_the_design(layers, half_words):
    """V'*P^(D-1) - (P-1)*P^(D-2) >= L+1, with V' = V / 2^((-n) mod S) row pairs per whole top digit."""
    config = CoreConfig.of(layers=layers, half_words=half_words)
    p = config.lanes
    for n in range(layers + 1, config.index_bits + 1):
        digits = -(-n // layers)
        whole = half_words / 2**n / 2 ** (-n % layers) * p ** (digits - 1)
        assert config.zero_bubble(n) == (
            whole - (p - 1) * p ** (digits - 2) >= config.pipeline_latency + 1
        ), f"n {n}"


def test_bandwidth_of_the_design():
    """At 128 multipliers about 128/(2n) words per cycle, a little more for the latency."""
    config = CoreConfig.of(engines=32, layers=1, half_words=4096, stream_words=16)
    assert 6.4 < config.words_per_cycle_needed(10) < 6.45
    assert 10.66 < config.words_per_cycle_needed(6) < 10.75
    assert CoreConfig.of(half_words=4).words_per_cycle_needed(2) == float("inf")
