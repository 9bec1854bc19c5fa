"""Lengths of inputs that are known when a program runs: table, records, results, what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from wingbeat.gen.compiler.network.compile import compile_network
from wingbeat.gen.compiler.network.inputs import Padded
from wingbeat.gen.compiler.network.lengths import Lengths, given_lengths, takes_lengths, write_lengths
from wingbeat.gen.compiler.network.load import load_network
from wingbeat.gen.compiler.network.reference import forward
from wingbeat.gen.compiler.network.split import compile_split
from wingbeat.hw.errors import WingbeatError
from wingbeat.hw.isa.instruction import Mask
from wingbeat.hw.isa.record import records_of
from wingbeat.hw.isa.setup import LENGTHS, SETUP_LENGTHS, SETUP_READER
from wingbeat.sim.reference.metrics import sqnr_db

TEXT = "(norm attention/dddd:2,1,16) (norm d24 gelu d16) (norm attention/dddd:1,1,16)"


def config_of(networks, **changes):
    return networks.ring(**{"partial_words": 256, "softmax_pairs": 16} | changes)


def load(networks, text=TEXT, tokens=11, **fields):
    """The network with lengths, and 24 inputs of which four have the lengths 0, all, 1 and all but one."""
    network, values = networks.load(text, tokens=tokens, features=16, **fields)
    lengths = np.random.default_rng(2).integers(tokens + 1, size=len(values))
    lengths[:4] = 0, tokens, 1, tokens - 1
    return replace(network, has_lengths=True), Padded(values, lengths)


# --- The table ----------------------------------------------------------------------------------------------------


def test_known_numbers_share_entries_and_inputs_do_not():
    lengths = Lengths()
    assert [lengths.number(keys) for keys in (5, 7, 5)] == [1, 2, 1]
    assert lengths.setup() == [(SETUP_LENGTHS, 0, 5), (SETUP_LENGTHS, 1, 7)]
    lengths = Lengths()
    assert lengths.of_inputs(3, 9) == lengths.of_inputs(3, 9) == 1
    assert lengths.setup() == [(SETUP_LENGTHS, number, 9) for number in range(3)]
    assert takes_lengths(lengths.setup()) and not takes_lengths([(SETUP_READER, 0, 1)])
    setup = [(SETUP_READER, 0, 1), *lengths.setup()]
    assert given_lengths(setup, np.array([4, 0])) == [
        (SETUP_READER, 0, 1), (SETUP_LENGTHS, 0, 4), (SETUP_LENGTHS, 1, 0), (SETUP_LENGTHS, 2, 9)]


def test_a_full_table():
    lengths = Lengths()
    for keys in range(LENGTHS):
        lengths.number(keys)
    with pytest.raises(WingbeatError, match=f"^attention: {LENGTHS + 1} different numbers of keys; allowed are"):
        lengths.number(LENGTHS)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_written_into_records(networks, count):
    """Three lengths and what stands behind them in a beat of two records."""
    config = config_of(networks)
    records = np.arange(4 * config.memory_elements).reshape(4, -1)
    before = records.copy()
    write_lengths(config, records, np.arange(count) + 300)
    found = records_of(config, records)
    assert found[:count] == [(SETUP_LENGTHS, number, number + 300) for number in range(count)]
    assert found[count:] == records_of(config, before)[count:]


# --- Networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [{}, {"causal": True}, {"window": 3}], ids=str)
@pytest.mark.parametrize("tokens, batch", [(11, 4), (16, 2), (37, 1)])
def test_array_host_and_float_agree(networks, tokens, batch, mask):
    network, inputs = load(networks, tokens=tokens)

    def masked(layer):
        if layer.kind == "attention":
            return replace(layer, spec=layer.spec.model_copy(update=mask))
        return replace(layer, layers=tuple(map(masked, layer.layers)))

    network = replace(network, layers=tuple(map(masked, network.layers)))
    config, shown = config_of(networks), inputs[:5]
    exact = forward(network, shown)[-1][1]
    compiled = compile_network(network, config, inputs, batch)
    run = compiled.execute_model(shown)
    assert sqnr_db(exact, run.results) > 67 and not run.clamped
    host = compile_split(network, config.changed(softmax_pairs=0), inputs, batch)
    assert len(host.host_steps) == 4 and sqnr_db(exact, host.execute_model(shown).results) > 67
    whole = compile_split(network, config, inputs, batch)
    assert not whole.host_steps and np.array_equal(whole.execute_model(shown).results, run.results)


def test_padding_is_never_seen(networks):
    """Tokens behind the length change nothing but their own rows; without one the softmax gives zeros."""
    network, inputs = load(networks, "attention/dddd:1,1,16", tokens=11)
    compiled = compile_network(network, config_of(networks), inputs, 2, check=False)
    lengths, values = np.array([6, 0]), inputs.values[:2]
    changed = values.copy()
    changed[0, 6:] += 0.5
    one, other = (compiled.execute_model(Padded(x, lengths)).results for x in (values, changed))
    assert np.array_equal(one[0, :6], other[0, :6]) and not np.array_equal(one[0, 6:], other[0, 6:])
    assert sqnr_db(np.broadcast_to(network.layers[0].projections[3].bias, (11, 16)), one[1]) > 68
    exact = forward(network, Padded(values, lengths))[-1][1]
    assert np.array_equal(exact[1], np.broadcast_to(network.layers[0].projections[3].bias, (11, 16)))


def test_lengths_are_the_first_records(networks):
    """Of every program with attention; the image says that all tokens count."""
    network, inputs = load(networks)
    config = config_of(networks, program_words=512)
    compiled = compile_network(network, config, inputs, 2, check=False)
    places = compiled.length_records()
    assert len(compiled.segments) > 1 and len(places) == 2
    for memory, wanted in ((compiled.image(), [11, 11]), (compiled.memory(inputs[2:4])[0], [1, 10]),
                           (compiled.memory(inputs[2:3])[0], [1, 11])):
        for base, beats in places.values():
            found = records_of(config, memory[base:base + len(beats)])
            assert found[:2] == [(SETUP_LENGTHS, number, length) for number, length in enumerate(wanted)]
    assert sqnr_db(forward(network, inputs[:5])[-1][1], compiled.execute_model(inputs[:5]).results) > 67
    assert compile_network(replace(network, has_lengths=False), config, inputs.values, 2,
                           check=False).length_records() == {}


def test_a_second_start_reads_them_again(networks):
    """The host writes inputs and lengths, and starts the program that is there."""
    network, inputs = load(networks, "attention/dddd:2,1,16", tokens=11)
    compiled = compile_network(network, config_of(networks), inputs, 2, check=False)
    [segment] = compiled.segments
    memory, _ = compiled.memory(inputs[:2])
    model = segment.program.model(compiled.config, memory)
    for part in (inputs[:2], inputs[2:4]):
        memory[:] = compiled.memory(part)[0]
        model.run(segment.program.instructions)
        assert np.array_equal(compiled.results(memory, 2), compiled.execute_model(part).results)


@pytest.mark.parametrize("mask", [{}, {"window": 30}], ids=str)
def test_chunks_in_which_nothing_counts(networks, mask):
    """The first of two chunks, the second, both: what is known when the program runs leaves none out."""
    network, values = networks.load("attention/dddd:1,1,16", tokens=100)
    [layer] = network.layers
    network = replace(network, has_lengths=True, layers=(replace(layer, spec=layer.spec.model_copy(update=mask)),))
    inputs = Padded(values[:4], np.array([0, 64, 3, 70]))
    compiled = compile_network(network, config_of(networks, ring_words=64), inputs, 1, check=False)
    masks = [step for step in compiled.segments[0].program.instructions if isinstance(step, Mask)]
    assert {step.key for step in masks} == {0, 64}
    assert sqnr_db(forward(network, inputs)[-1][1], compiled.execute_model(inputs).results) > 68


def test_mean_takes_all_tokens(networks):
    network, inputs = load(networks, "(norm attention/dddd:1,1,16) mean d3")
    values = forward(network, inputs)
    assert np.allclose(values[-2][1], values[-3][1].mean(axis=1, keepdims=True))


# --- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text, message", [
    ("d16 relu", "input.lengths: true, and no layer looks at them; allowed beside attention"),
    ("mean attention/dddd:1,1,16", "layers[1] (attention): 1 tokens and lengths of 4; allowed with input.lengths is "
                                   "attention in front of mean and flatten")])
def test_networks_that_take_none(networks, text, message):
    toml, checkpoint = networks.write(text)
    toml.write_text(f"{toml.read_text()}lengths = true\n")
    with pytest.raises(WingbeatError) as caught:
        load_network(toml, checkpoint)
    assert str(caught.value) == message


def test_the_file_says_it(networks):
    toml, checkpoint = networks.write(TEXT)
    assert not load_network(toml, checkpoint).has_lengths
    toml.write_text(f"{toml.read_text()}lengths = true\n")
    assert load_network(toml, checkpoint).has_lengths


def test_too_large_a_batch(networks):
    network, inputs = load(networks)
    with pytest.raises(WingbeatError, match="^--batch: 128; allowed are 1..64 for a network that takes lengths$"):
        compile_network(network, config_of(networks), inputs, 128)
