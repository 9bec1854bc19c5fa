"""Row buffer: who owns which port, and the words that come out, cycle by cycle against a model."""

import random

import pytest

from wingbeat.hw.array.row_buffer import HalfPorts, RowBuffer
from wingbeat.hw.config import CoreConfig, Pipeline

SEED = 41


def small(layers, pipeline=Pipeline.DEEP):
    return CoreConfig.of(layers=layers, width=8, element_width=8, half_words=8 << layers, stream_words=1,
                         pipeline=pipeline)


def random_rows(rng, c):
    return [rng.randrange(c.bank_rows) for _ in range(c.lanes)]


def row_bits(rows, c):
    return sum(row << c.row_bits * bank for bank, row in enumerate(rows))


def half_bits(control, c):
    """Bit pattern of one half's control: r_en, r_rows, w_rows, from_load, compute_en."""
    n = c.row_bits * c.lanes
    return (control["r_en"] | row_bits(control["r_rows"], c) << 1 | row_bits(control["w_rows"], c) << 1 + n
            | control["from_load"] << 1 + 2 * n | control["compute_en"] << 2 + 2 * n)


# --- HalfPorts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_owners_of_the_ports(drive, layers):
    """Rows of the owner one cycle later; a stall of the store holds the port that it owns and no other."""
    c, rng, steps = small(layers), random.Random(SEED), []
    for _ in range(200):
        steps.append({name: row_bits(random_rows(rng, c), c) for name in ("store_rows", "load_rows")}
                     | {name: rng.getrandbits(2) for name in ("store_owns", "load_owns")}
                     | {"store_en": rng.random() < 0.6, "read": rng.getrandbits(2 + c.row_bits * c.lanes),
                        "write": rng.getrandbits(2 + c.row_bits * c.lanes)})
    seen = drive(HalfPorts(c), [*steps, {}], ("o",), resets=(50,))["o"]
    n, rows_mask, held = c.row_bits * c.lanes, (1 << c.row_bits * c.lanes) - 1, [None, None]
    width = 3 + 2 * n
    for cycle, step in enumerate(steps):
        for half in range(2):
            store, load = (step[name] >> half & 1 for name in ("store_owns", "load_owns"))
            now, after = (seen[cycle + k] >> width * half & (1 << width) - 1 for k in (0, 1))
            r_en = not store or step["store_en"]
            compute_en = step["write"] & 1 and (step["write"] >> 1 & 1) == half
            context = f"cycle {cycle}, half {half}, seed {SEED}"
            assert (now & 1, now >> 1 + 2 * n & 1, now >> 2 + 2 * n) == (r_en, load, compute_en), context
            if r_en:
                held[half] = step["store_rows"] if store else step["read"] >> 2
            assert held[half] is None or after >> 1 & rows_mask == held[half], context
            assert after >> 1 + n & rows_mask == (step["load_rows"] if load else step["write"] >> 2), context


# --- RowBuffer ---------------------------------------------------------------------------------------


class Model:
    """The banks and registers of a row buffer; ``cycle`` gives what ``compute`` and ``store`` show before
    the edge.
    """

    def __init__(self, c):
        self.memory = [[[0] * c.bank_rows for _ in range(c.lanes)] for _ in range(2)]
        self.reads = [[[0] * c.lanes for _ in range(c.ram_latency)] for _ in range(2)]
        self.write_words, self.write_en = [[0] * c.lanes] * 2, [0, 0]
        self.compute, self.store = [0] * c.lanes, [0] * c.lanes

    def cycle(self, s):
        shown = self.compute, self.store
        self.compute = self.reads[s["compute_half"]][-1]
        if s["store_en"]:
            self.store = self.reads[s["store_half"]][-1]
        for half, control in enumerate(s["halves"]):
            banks = self.memory[half]
            if control["r_en"]:
                self.reads[half] = [[bank[row] for bank, row in zip(banks, control["r_rows"])],
                                    *self.reads[half][:-1]]
            if self.write_en[half]:
                for bank, row, word in zip(banks, control["w_rows"], self.write_words[half]):
                    bank[row] = word
            self.write_words[half] = s["load"] if control["from_load"] else s["result"]
            self.write_en[half] = s["load_en"] if control["from_load"] else control["compute_en"]
        return shown


def random_step(rng, c, writing):
    """Inputs of one cycle; ``writing``: halves that are written in it, whose written words are not read."""
    step = {name: rng.getrandbits(1) for name in ("compute_half", "store_half", "load_en")}
    step |= {"store_en": int(rng.random() < 0.7), "halves": []}
    step |= {name: [rng.getrandbits(2 * c.width) for _ in range(c.lanes)] for name in ("load", "result")}
    for half in range(2):
        control = {name: rng.getrandbits(1) for name in ("from_load", "compute_en")}
        control |= {
            "r_en": int(rng.random() < 0.7),
            "r_rows": random_rows(rng, c),
            "w_rows": random_rows(rng, c),
        }
        if writing[half]:
            control["w_rows"] = [w if w != r else (w + 1) % c.bank_rows
                                 for w, r in zip(control["w_rows"], control["r_rows"])]
        step["halves"].append(control)
    return step


def bits(step, c):
    pattern = {name: step[name] for name in ("compute_half", "store_half", "store_en", "load_en")}
    for name in ("load", "result"):
        pattern[name] = sum(word << 2 * c.width * lane for lane, word in enumerate(step[name]))
    low, high = (half_bits(control, c) for control in step["halves"])
    return pattern | {"halves": low | high << 3 + 2 * c.row_bits * c.lanes}


@pytest.mark.parametrize("pipeline", list(Pipeline))
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_reads_and_writes_of_both_halves(drive, layers, pipeline):
    """Both halves read and written in every kind of cycle, compute and store from either, with stalls."""
    c, rng, steps, want = small(layers, pipeline), random.Random(SEED), [], []
    model = Model(c)
    for _ in range(500):
        step = random_step(rng, c, model.write_en)
        steps.append(bits(step, c))
        want.append([sum(word << 2 * c.width * lane for lane, word in enumerate(words))
                     for words in model.cycle(step)])
    seen = drive(RowBuffer(c), steps, ("compute", "store"))
    for cycle, (compute, store) in enumerate(want):
        assert (seen["compute"][cycle], seen["store"][cycle]) == (compute, store), (
            f"cycle {cycle}, seed {SEED}"
        )
    assert len({store for _, store in want}) > 50


@pytest.mark.parametrize("pipeline", list(Pipeline))
def test_latency_and_reset(drive, pipeline):
    """A row shows ram_latency + 1 cycles after its address; a word is kept over a reset, which enables no
    write.
    """
    c = small(1, pipeline)
    idle = {"r_en": 1, "r_rows": [0, 0], "w_rows": [0, 0], "from_load": 0, "compute_en": 0}
    rest = {"compute_half": 0, "store_half": 0, "store_en": 1, "load_en": 0, "load": [0, 0], "result": [0, 0]}

    def step(**changes):
        inputs = {name: value for name, value in changes.items() if name in rest}
        half = {name: value for name, value in changes.items() if name in idle}
        return bits(rest | inputs | {"halves": [idle | half, idle]}, c)

    steps = [step(load=[7, 9], load_en=1, from_load=1), step(w_rows=[3, 3])]
    steps += [step(result=[5, 5], compute_en=1)]  # the reset takes this write back
    steps += [step(w_rows=[3, 3])] * 2 + [step(r_rows=[3, 3])] + [step()] * (c.ram_latency + 2)
    seen = drive(RowBuffer(c), steps, ("compute", "store"), resets=(2,))
    for name, words in seen.items():
        assert [at for at, word in enumerate(words) if word] == [5 + c.ram_latency + 1], name
        assert words[5 + c.ram_latency + 1] == 7 | 9 << 16, name
