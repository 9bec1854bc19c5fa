"""AXI master against a small AXI memory in Python: the bus rules, values and order under stalls, refusals, errors,
latency and throughput as stated, reset.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field, replace
import random

import pytest

from wingbeat.hw.bus.axi4.burst import AxiParameters
from wingbeat.hw.bus.axi4.master import AxiMaster
from wingbeat.hw.memory.port import MemoryParameters
from wingbeat.sim.bench.stream import Bench, Stall

pytestmark = pytest.mark.thin(4)

BASE = 0x5000
BUS = {"aw": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"), "w": ("data", "strb", "last"),
       "b": ("id", "resp"), "ar": ("id", "addr", "len", "size", "burst", "lock", "cache", "prot", "qos"),
       "r": ("id", "data", "resp", "last")}
READY_FROM_MEMORY = ("aw", "w", "ar")


def axi(elements=4, element_width=16, data_width=64, address_bits=11, **more):
    return AxiParameters(MemoryParameters(elements, element_width, address_bits), data_width, **more)


CONFIGS = {
    "equal": axi(longest_burst=8, reads=16, writes=4),
    "padded": axi(element_width=12, data_width=64, longest_burst=5, reads=8),
    "wide-beat": axi(data_width=16, longest_burst=16, reads=4, writes=2),
    "split-element": axi(2, 17, 8, address_bits=12, longest_burst=32, reads=5),
    "narrow": axi(2, 8, 64, address_bits=13, longest_burst=16, reads=32),
    "single": axi(2, 18, 64, address_bits=12, longest_burst=1, reads=2, writes=3),
    "page": axi(32, 18, 256, address_bits=7, longest_burst=256, reads=32),
}
STALLS = {
    "never": {},
    "random": dict.fromkeys([*BUS, "read", "beats", "write"], Stall.RANDOM),
    "bursts": dict.fromkeys([*BUS, "read", "beats", "write"], Stall.BURSTS),
    "slow-memory": dict.fromkeys(BUS, Stall.OFTEN),
    "slow-reader": {"beats": Stall.OFTEN},
    "slow-addresses": {"aw": Stall.OFTEN, "ar": Stall.OFTEN},
    "slow-data": {"w": Stall.RANDOM, "r": Stall.RANDOM},
    "shy": dict.fromkeys(["aw", "w", "ar", "beats"], Stall.SHY),  # ready only for a valid that was there before
}


# --- the memory -----------------------------------------------------------------------------------------------


@dataclass
class Burst:
    """One burst on the bus; ``cycle`` of its address handshake."""

    address: int
    transfers: int
    cycle: int
    sent: int = 0


@dataclass
class Memory:
    """AXI memory and referee of the bus: valid and payload hold under stall on all five channels, bursts stay
    in their page and in [base, base + limit), WLAST stands where it must, W is not ahead of AW.

    ``cycles`` lists the handshakes of each channel.
    """

    parameters: AxiParameters
    base: int
    limit: int
    stalls: dict = field(default_factory=dict)
    latency: int = 1
    seed: int = 0
    bad: Collection[int] = ()  # addresses that answer SLVERR

    def __post_init__(self):
        rng = random.Random(self.seed)
        self.data = bytearray(rng.randbytes(self.base + (self.limit << 1) * self.parameters.beat_bytes))
        self._go = {channel: self.stalls.get(channel, Stall.NEVER).willing(random.Random(rng.random()))
                    for channel in BUS}
        self.note = f"seed {self.seed}"
        self._clear()

    def _clear(self):
        self.cycles = {channel: [] for channel in BUS}
        self.bursts = {"aw": [], "ar": []}
        self._writes, self._reads, self._answers = deque(), deque(), deque()
        self._data, self._stored, self._begun = [], 0, 0
        self._held, self._cycle = {}, 0
        self.answered = 0  # beats

    async def run(self, ctx, dut):
        pins = {channel: [getattr(dut, f"m_axi_{channel}{name}") for name in ("valid", "ready", *names)]
                for channel, names in BUS.items()}
        self._drive(ctx, dut)
        async for _, reset, *values in ctx.tick().sample(*(pin for channel in BUS for pin in pins[channel])):
            seen = {}
            for channel in BUS:
                seen[channel], values = values[:len(pins[channel])], values[len(pins[channel]):]
            if reset:
                self._clear()
            else:
                for channel, (valid, ready, *payload) in seen.items():
                    self._rules(channel, valid, ready, payload)
                    if valid and ready:
                        self.cycles[channel].append(self._cycle)
                        getattr(self, f"_{channel}")(dict(zip(BUS[channel], payload)))
                self._store()
                self._cycle += 1
            self._drive(ctx, dut)

    def _rules(self, channel, valid, ready, payload):
        held, where = self._held.get(channel), f"{channel} in cycle {self._cycle}, {self.note}"
        assert held is None or valid, f"valid fell: {where}"
        assert held is None or payload == held, f"payload changed: {where}"
        self._held[channel] = payload if valid and not ready else None

    def _command(self, channel, fields):
        p, note = self.parameters, f"{channel} {fields} in cycle {self._cycle}, {self.note}"
        burst = Burst(fields["addr"], fields["len"] + 1, self._cycle)
        end = burst.address + burst.transfers * p.transfer_bytes
        constant = (fields["id"], 1 << fields["size"], fields["burst"], fields["lock"], fields["prot"], fields["qos"])
        assert constant == (0, p.transfer_bytes, 1, 0, 0, 0), note
        assert burst.address % p.beat_bytes == 0 and burst.transfers <= p.longest_burst, note
        assert burst.address // 4096 == (end - 1) // 4096, f"page crossed: {note}"
        assert self.base <= burst.address and end <= self.base + self.limit * p.beat_bytes, f"outside: {note}"
        self.bursts[channel].append(burst)
        return burst

    def _aw(self, fields):
        self._writes.append(self._command("aw", fields))

    def _ar(self, fields):
        self._reads.append(self._command("ar", fields))

    def _w(self, fields):
        self._begun += not self._data or self._data[-1]["last"]
        assert self._begun <= len(self.bursts["aw"]) + 2, f"W ahead of AW in cycle {self._cycle}, {self.note}"
        self._data.append(fields)

    def _b(self, _):
        self.answered += self._answers.popleft()[1]

    def _r(self, _):
        burst = self._reads[0]
        burst.sent += 1
        if burst.sent == burst.transfers:
            self._reads.popleft()

    def _store(self):
        """Transfers into the memory, as far as their burst is known."""
        p = self.parameters
        while self._stored < len(self._data) and self._writes:
            burst, fields = self._writes[0], self._data[self._stored]
            self._stored += 1
            at = burst.address + burst.sent * p.transfer_bytes
            lane = at % p.data_bytes
            allowed = ((1 << p.transfer_bytes) - 1) << lane
            assert not fields["strb"] & ~allowed, f"strobe {fields['strb']:#x} outside {allowed:#x}, {self.note}"
            for byte in range(p.data_bytes):
                if fields["strb"] >> byte & 1:
                    self.data[at - lane + byte] = fields["data"] >> 8 * byte & 0xFF
            burst.sent += 1
            assert fields["last"] == (burst.sent == burst.transfers), f"WLAST in cycle {self._cycle}, {self.note}"
            if fields["last"]:
                self._writes.popleft()
                self._answers.append((self._cycle + self.latency, burst.transfers // p.transfers,
                                      2 * (burst.address in self.bad)))

    def _drive(self, ctx, dut):
        for channel in READY_FROM_MEMORY:
            shy = self.stalls.get(channel) is Stall.SHY
            ctx.set(getattr(dut, f"m_axi_{channel}ready"),
                    self._held.get(channel) is not None if shy else next(self._go[channel]))
        if self._held.get("b") is None:
            valid = bool(self._answers) and self._answers[0][0] <= self._cycle and next(self._go["b"])
            ctx.set(dut.m_axi_bvalid, valid)
            ctx.set(dut.m_axi_bresp, self._answers[0][2] if valid else 3)
        if self._held.get("r") is None:
            ready = bool(self._reads) and self._reads[0].cycle + self.latency <= self._cycle
            self._offer(ctx, dut, self._reads[0] if ready and next(self._go["r"]) else None)

    def _offer(self, ctx, dut, burst):
        p = self.parameters
        ctx.set(dut.m_axi_rvalid, burst is not None)
        ctx.set(dut.m_axi_rresp, 3)
        if burst:
            at = burst.address + burst.sent * p.transfer_bytes
            start = at - at % p.data_bytes
            ctx.set(dut.m_axi_rdata, int.from_bytes(self.data[start:start + p.data_bytes], "little"))
            ctx.set(dut.m_axi_rresp, 2 * (burst.address in self.bad))
            ctx.set(dut.m_axi_rlast, burst.sent == burst.transfers - 1)

    def beat(self, number):
        """Bit pattern of a beat as the port delivers it."""
        p, width = self.parameters, self.parameters.memory.element_width
        at, size, bits = self.base + number * p.beat_bytes, p.slot_bits // 8, 0
        for n in reversed(range(p.memory.elements)):
            slot = int.from_bytes(self.data[at + n * size:at + (n + 1) * size], "little")
            bits = bits << width | slot & ((1 << width) - 1)
        return bits


# --- the bench ------------------------------------------------------------------------------------------------


def write_word(parameters, number, strobe, beat):
    memory = parameters.memory
    return number | strobe << memory.address_bits | beat << (memory.address_bits + memory.elements)


def stored(parameters, data, base, number, strobe, beat):
    """Apply one write to ``data`` as it should be."""
    width, size = parameters.memory.element_width, parameters.slot_bits // 8
    for n in range(parameters.memory.elements):
        if strobe >> n & 1:
            value = beat >> n * width & ((1 << width) - 1)
            value -= (value >> (width - 1)) << width
            at = base + number * parameters.beat_bytes + n * size
            data[at:at + size] = value.to_bytes(size, "little", signed=True)


def inside(parameters, number, limit):
    return number < limit and BASE + (number + 1) * parameters.beat_bytes <= 1 << parameters.address_width


@dataclass
class Outcome:
    """What a run left: memory and referee, feeds, sink, cycles of the two pulses, the error flag."""

    memory: Memory
    read: object
    write: object
    beats: object
    written: list
    refused: list
    error: int | tuple[int, int] = 0  # address, and whether of a write


def run(parameters, reads=(), writes=(), limit=None, stalls=None, seed=0, latency=1, bad=(), reset_at=None,
        dut=None):
    """Send ``reads`` (numbers) and ``writes`` (number, strobe, beat); wait for every beat and every pulse."""
    stalls, reads, writes = stalls or {}, list(reads), list(writes)
    limit = (1 << parameters.memory.address_bits) if limit is None else limit
    memory = Memory(parameters, BASE, limit, stalls, latency, seed, bad)
    dut = dut or AxiMaster(parameters)
    bench = Bench(dut, seed)
    out = Outcome(memory, bench.feed(dut.port.read, reads, stalls.get("read", Stall.NEVER)),
                  bench.feed(dut.port.write, [write_word(parameters, *w) for w in writes],
                             stalls.get("write", Stall.NEVER)),
                  bench.sink(dut.port.beats, len(reads), stalls.get("beats", Stall.NEVER)), [], [])
    deadline = 300 + (latency + 30 * parameters.transfers) * (len(reads) + len(writes))

    async def slave(ctx):
        ctx.set(dut.base, BASE | 0x123)  # the low bits are ignored
        ctx.set(dut.limit, limit)
        await memory.run(ctx, dut)

    async def pulses(ctx):
        cycle, left = 0, deadline
        async for _, reset, written, refused, error, address, is_write in ctx.tick().sample(
                dut.port.written, dut.port.refused, dut.error, dut.error_address, dut.error_write):
            if written and not reset:
                number = len(out.written)
                before = sum(inside(parameters, n, limit) for n, _, _ in writes[:number + 1])
                assert number < len(writes) and number < len(out.write.cycles), f"written too often, seed {seed}"
                assert before <= memory.answered, f"written {number} before its answer, seed {seed}"
                out.written.append(cycle)
            if refused:
                out.refused.append(cycle)
            out.error, cycle, left = error and (address, is_write), cycle + 1, left - 1
            if reset:
                cycle = 0
                out.written.clear()
                out.refused.clear()
            assert left, f"deadline: {len(out.written)}/{len(writes)} written, seed {seed}"
            idle = len(out.written) == len(writes) and len(out.beats.words) == len(reads)
            if idle and (reset_at is None or left < deadline - reset_at - 1):
                break
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.port.written) and not ctx.get(dut.m_axi_awvalid) and not ctx.get(dut.m_axi_arvalid)

    bench.process(slave, background=True)
    bench.process(pulses)
    bench.run(deadline, reset_at)
    return out


def numbers(parameters, rng, count, low, high):
    """Runs of neighbours, some across a page, some with one number left out or repeated."""
    out = []
    while len(out) < count:
        page = rng.randrange(low, high) // parameters.page_beats * parameters.page_beats
        at = rng.choice([rng.randrange(low, high), page - rng.randrange(4), low, high - 3])
        for _ in range(rng.choice([1, 2, 3, 5, 20, 40])):
            out.append(min(max(at, low), high - 1))
            at += rng.choice([0, 1, 2]) if rng.random() < 0.05 else 1
    return out[:count]


def check(parameters, stalls, seed, count=80, reset_at=None):
    """Random reads of one region, random writes of the next; both may ask beyond the limit."""
    rng = random.Random(seed)
    everything = 1 << parameters.memory.address_bits
    limit = rng.choice([everything, everything - rng.randrange(1, everything // 4)])
    half = everything // 2
    beat_bits = parameters.memory.elements * parameters.memory.element_width
    asked = [n if n < half else n - half + max(half, limit - 10) for n in numbers(
        parameters, rng, count, 0, half + min(20, everything - limit))]
    writes = [(n, rng.choice([(1 << parameters.memory.elements) - 1, rng.getrandbits(parameters.memory.elements)]),
               rng.getrandbits(beat_bits)) for n in numbers(parameters, rng, count, half, everything)]
    asked = [n for n in asked if n < half or n >= limit]
    before = Memory(parameters, BASE, limit, seed=seed)
    got = run(parameters, asked, writes, limit, stalls, seed, latency=rng.choice([1, 7, 25]), reset_at=reset_at)
    note = f"{parameters}, limit {limit}, seed {seed}"
    assert got.beats.words == [before.beat(n) if n < limit else 0 for n in asked], note
    for number, strobe, beat in writes:
        if number < limit:
            stored(parameters, before.data, BASE, number, strobe, beat)
    assert got.memory.data == before.data, note
    refused = sum(n >= limit for n in asked), sum(n >= limit for n, _, _ in writes)
    assert max(refused) <= len(got.refused) <= sum(refused), note
    assert got.error == 0, note
    return got


# --- tests ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stalls", STALLS)
@pytest.mark.parametrize("name", CONFIGS)
def test_random(name, stalls):
    check(CONFIGS[name], STALLS[stalls], seed=len(name) * 100 + len(stalls))


@pytest.mark.parametrize("seed", range(6))
def test_random_parameters(seed):
    rng = random.Random(seed)
    elements, width = 1 << rng.randrange(1, 6), rng.randrange(8, 19)
    parameters = axi(elements, width, 1 << rng.randrange(5, 9), address_bits=13 - elements.bit_length(),
                     longest_burst=rng.choice([32, 37, 64]), reads=rng.choice([64, 100]), writes=rng.choice([2, 9]))
    check(parameters, rng.choice(list(STALLS.values())), seed)


@pytest.mark.parametrize("reset_at", [3, 40, 111])
@pytest.mark.parametrize("name", ["equal", "narrow", "wide-beat"])
def test_reset(name, reset_at):
    check(CONFIGS[name], STALLS["random"], reset_at, count=60, reset_at=reset_at)


def test_refused():
    """Refused requests are answered in order and leave nothing on the bus."""
    p = CONFIGS["equal"]
    asked = [8, 9, 10, 11, 3, 2000, 2001, 4]
    got = run(p, asked, [(n, 15, n) for n in asked], limit=10)
    before = Memory(p, BASE, 10)
    assert got.beats.words == [before.beat(n) if n < 10 else 0 for n in asked]
    assert len(got.written) == len(asked) and len(got.refused) == 4
    assert [(b.address - BASE, b.transfers) for b in got.memory.bursts["ar"]] == [(64, 2), (24, 1), (32, 1)]
    assert [(b.address - BASE, b.transfers) for b in got.memory.bursts["aw"]] == [(64, 2), (24, 1), (32, 1)]

    got = run(p, range(20), [(n, 15, n) for n in range(20)], limit=0)
    assert got.beats.words == [0] * 20 and len(got.written) == 20 and len(got.refused) == 20
    assert not got.memory.bursts["ar"] and not got.memory.bursts["aw"] and not got.memory.cycles["w"]


def test_address_overflow():
    """A beat whose address would wrap around is refused though its number is below the limit."""
    p = axi(address_width=16, address_bits=13, longest_burst=8)
    first = (0x10000 - BASE) // 8
    asked = range(first - 3, first + 3)
    got = run(p, asked, [(n, 0, 0) for n in asked])
    assert got.beats.words == [*map(got.memory.beat, asked[:3]), 0, 0, 0]
    assert [b.transfers for b in got.memory.bursts["ar"] + got.memory.bursts["aw"]] == [3, 3]
    assert 3 <= len(got.refused) <= 6 and len(got.written) == 6


@pytest.mark.parametrize("kind", ["read", "write"])
def test_error_is_sticky(kind):
    requests = {"reads": [5, 9, 3]} if kind == "read" else {"writes": [(n, 15, n) for n in (5, 9, 3)]}
    bad = {BASE + 24, BASE + 72}  # the first one that is asked for counts
    assert run(CONFIGS["equal"], **requests, bad=bad).error == (BASE + 72, kind == "write")
    assert run(CONFIGS["equal"], **requests).error == 0


def test_merging():
    """Neighbours share a burst, also at half the rate; what comes later has its own."""
    p = replace(CONFIGS["equal"], longest_burst=16)
    assert [b.transfers for b in run(p, range(40)).memory.bursts["ar"]] == [16, 16, 8]
    got = run(p, range(40), [(n, 15, n) for n in range(40)], stalls={"read": Stall.ALTERNATE, "write": Stall.ALTERNATE})
    assert [b.transfers for b in got.memory.bursts["ar"]] == [16, 16, 8]
    assert [b.transfers for b in got.memory.bursts["aw"]] == [16, 16, 8]
    assert [b.transfers for b in run(p, range(508, 516)).memory.bursts["ar"]] == [4, 4]
    assert [b.transfers for b in run(p, range(0, 40, 5)).memory.bursts["ar"]] == [1] * 8


@pytest.mark.parametrize("stalls", ["slow-reader", "slow-data"])
def test_bursts_stay_long_behind_a_slow_side(stalls):
    p = replace(CONFIGS["equal"], reads=32, longest_burst=16)
    got = run(p, range(320), [(n, 15, n) for n in range(320)], stalls=STALLS[stalls])
    assert len(got.memory.bursts["ar"]) == 20 and len(got.memory.bursts["aw"]) == 20


def test_stated_latency():
    p = CONFIGS["equal"]
    got = run(p, [7], [(9, 15, 1)], latency=4)
    cycles = got.memory.cycles
    assert (got.read.cycles, cycles["ar"], cycles["r"], got.beats.cycles) == ([0], [3], [7], [11])
    assert (got.write.cycles, cycles["aw"], cycles["w"]) == ([0], [3], [5])
    assert got.written == [cycles["b"][0] + 1]
    got = run(p, range(5), [(n, 15, 1) for n in range(5)], latency=4)
    assert got.memory.cycles["ar"] == [7] and got.memory.cycles["aw"] == [7]
    assert got.memory.cycles["w"] == list(range(9, 14))
    first = got.memory.cycles["b"][0] + 1
    assert got.written == list(range(first, first + 5))


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("widths", [(4, 16, 64), (4, 16, 16), (2, 8, 64)], ids=str)
def test_stated_throughput(widths, stride):
    """One transfer per cycle both ways at the same time, in bursts and in single beats."""
    latency, count = 30, 200
    p = axi(*widths, reads=latency + 8 + 16, writes=latency + 5, longest_burst=16)
    asked = range(0, count * stride, stride)
    got = run(p, asked, [(1024 + n, 15 >> (widths[0] == 2) * 2, n & 255) for n in asked], latency=latency)
    for channel in "rw":
        cycles = got.memory.cycles[channel]
        assert len(cycles) == count * p.transfers
        assert cycles[-1] - cycles[0] == len(cycles) - 1, f"{channel}: {cycles}"
    assert got.beats.cycles[-1] - got.beats.cycles[0] == (count - 1) * p.transfers
    if p.transfers == 1:
        assert got.read.cycles[-1] < count + latency + 20


@pytest.mark.parametrize("change, message", [
    ({"data_width": 24}, "data_width: 24 is not a power of two in 8..1024"),
    ({"data_width": 2048}, "data_width: 2048 is not a power of two"),
    ({"address_width": 12}, "address_width: 12 is not in 13..64"),
    ({"id_width": 0}, "id_width: 0 is not in 1..32"),
    ({"writes": 1}, "writes: 1 is not in 2..1024"),
    ({"longest_burst": 257}, "longest_burst: 257 is not in 1..256"),
    ({"data_width": 8, "longest_burst": 4}, "longest_burst: 4 is less than the 8 transfers of 8 bits"),
    ({"reads": 15}, "reads: 15 is not in 16..65536"),
    ({"elements": 2048, "element_width": 18}, "memory: a beat of 8192 bytes is more than a page of 4096"),
])
def test_errors_name_the_field(change, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        axi(**change)


# --- the tests can fail ---------------------------------------------------------------------------------------


class Faulty(AxiMaster):
    """An AXI master with one planted fault at its pins."""

    def __init__(self, parameters, fault):
        super().__init__(parameters)
        self.fault = fault

    def elaborate(self, platform):
        m = super().elaborate(platform)
        reader, writer = m.submodules.reader, m.submodules.writer
        match self.fault:
            case "limit": m.d.comb += reader.limit.eq(self.limit + 1)
            case "page": m.d.comb += self.m_axi_araddr.eq(reader.ar.payload.address + self.parameters.beat_bytes)
            case "last": m.d.comb += self.m_axi_wlast.eq(0)
            case "ready": m.d.comb += self.m_axi_awvalid.eq(writer.aw.valid & self.m_axi_awready)
            case "wander": m.d.comb += self.m_axi_wdata.eq(writer.w.payload.data + ~self.m_axi_wready)
            case "early": m.d.comb += self.port.written.eq(self.m_axi_wvalid & self.m_axi_wready)
        return m


@pytest.mark.parametrize("fault, message", [("limit", "outside"), ("page", "page crossed"), ("last", "WLAST"),
                                            ("ready", "deadline|W ahead"), ("wander", "payload changed"),
                                            ("early", "before its answer")])
def test_planted_faults(fault, message):
    p = CONFIGS["equal"]
    asked = [*range(506, 515), 2, 3]
    stalls = STALLS[{"ready": "shy", "page": "never"}.get(fault, "random")]
    with pytest.raises(AssertionError, match=message):
        run(p, asked, [(n - 1, 15, n) for n in asked], limit=514, stalls=stalls, seed=3,
            dut=Faulty(p, fault))
