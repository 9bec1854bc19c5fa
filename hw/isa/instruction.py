"""Instructions: their kinds, what they say, and the codes of what a program is stopped for.

An index names one word of one half of one engine. A program is a list of instructions that the fetch
unit hands, in order, to three units: ``Load`` and ``Store`` move one block between a stream and a half,
``Pass`` sends the whole block through the S columns of the engine. Blocks alternate between the halves.
So that loading, computing and storing overlap, the load of a block stands before the passes of the block
before it: see :func:`~wingbeat.hw.isa.schedule.schedule`. Bits: hw/isa/encoding.py.
"""

from dataclasses import dataclass
from enum import IntEnum

from .walk import Walk

__all__ = ["Opcode", "OF_RECORDS", "OF_RING", "OF_SOFTMAX", "Fault", "Mode", "MemoryMode", "Destination",
           "Softmax", "Unit", "Load", "Pass", "Store", "Mac", "Mask", "Loop", "Halt", "Read", "Sums", "Fetch", "Wait",
           "Write", "Set", "Instruction"]


class Opcode(IntEnum):
    """Kind of an instruction, its lowest OPCODE_BITS bits (hw/isa/encoding.py)."""

    HALT = 0   # wait until every unit is idle, then stop
    LOAD = 1
    PASS = 2
    STORE = 3
    LOOP = 4
    READ = 5
    WRITE = 6
    SET = 7
    SUMS = 8
    FETCH = 9
    WAIT = 10
    MAC = 11
    MASK = 12


OF_RECORDS = (Opcode.FETCH, Opcode.WAIT)  # unknown to a core without records
OF_RING = (Opcode.MAC,)                   # unknown to a core without a ring
OF_SOFTMAX = (Opcode.MASK,)               # unknown to a core without softmax


class Fault(IntEnum):
    """Why a program was stopped, docs/reference/processor.md."""

    NONE = 0
    OPCODE = 1
    WALK = 2
    PASS = 3
    LOOP = 4
    INPUT = 5
    OUTPUT = 6
    AFTER = 7
    REFUSED = 8
    WATCHDOG = 9
    MEMORY = 10
    RECORD = 11
    RING = 12
    ID = 13
    MEMORY_ERROR = 14
    ABORTED = 15


class MemoryMode(IntEnum):
    """How memory beats and array beats map, docs/reference/processor.md; the last three only in a WRITE."""

    COLUMNS = 0  # complex words of a column stand in a beat
    ROWS = 1     # complex words of a row stand in a beat
    PAIRS = 2    # a beat holds elements of one row; two rows make the words
    REAL = 3     # of every word only the real part is written
    FOLD = 4     # as REAL, and the mirror image of a beat is written too
    SPLIT = 5    # the transform of two packed real columns comes apart into both


class Destination(IntEnum):
    """Where the beats of a FETCH go; 0 is what a READ and SUMS have there."""

    SETUP = 1  # the player: records of setup writes
    RING = 2   # the ring of a MAC: rows of its matrix
    PICKS = 3  # the same of a sparse matrix, with beats that say where its elements belong
    IDS = 4    # the ids of rows, one a beat, by which a READ finds them


class Softmax(IntEnum):
    """What the sums of a MAC are, docs/reference/architecture.md, Softmax."""

    NONE = 0
    LOGITS = 1  # of P keys an output: probabilities become of them
    VALUES = 2  # of probabilities times values: kept, or divided by the total of their row


class Unit(IntEnum):
    """Whose address register a SET writes."""

    READER = 0
    WRITER = 1


class Mode(IntEnum):
    """What a column does with a word pair (A, B), docs/design.md section 3."""

    PASS = 0   # Y1 = A, Y2 = B
    BPMM = 1   # unit-pivot real butterfly on both rows of a row pair
    FFT = 2    # complex butterfly with twiddle c0 + j*c1
    SCALE = 3  # Y1 = c0*A, Y2 = c1*B


@dataclass(frozen=True)
class Load:
    """Fill a half from the input stream.

    With ``overlap`` beat t is accepted once the store that empties the same half has read beat t + lag;
    without it the load waits until that store has ended. A half that no store empties is filled at once. ``plain``: the
    words go to the banks that their lowest index bits name, where a sparse MAC looks for them; the lanes are these bits
    then.
    """

    walk: Walk
    overlap: bool = False
    lag: int = 0
    plain: bool = False


@dataclass(frozen=True)
class Pass:
    """Send ``groups`` groups of P words through the S columns and back in place.

    Group g holds the words whose index is g with the S bits of ``digit`` inserted as the lane. Column q pairs
    lane bit q, or lane bit S-1-q when ``descending``. Columns outside ``active`` (bit q = column q) pass
    their words on. Every butterfly unit of column q reads its coefficient bank at
    ``coef_base + ((g >> coef_shift) & (2^coef_mask_bits - 1))``. ``shifts[q]`` is the right shift of column
    q, also of a column that only passes. With ``block_float`` the shifts follow from the largest magnitude
    and ``growth`` instead: growth[q] bits is what columns 0..q together can add to a component (sim/model/array.py
    states the rule). ``first`` waits until the block is loaded, ``last`` hands it to the store; ``gap`` idle
    cycles precede the pass.
    """

    mode: Mode
    digit: int
    groups: int
    active: int
    shifts: tuple[int, ...]
    coef_base: int = 0
    coef_shift: int = 0
    coef_mask_bits: int = 0
    descending: bool = False
    block_float: bool = False
    growth: tuple[int, ...] = ()
    gap: int = 0
    first: bool = False
    last: bool = False


@dataclass(frozen=True)
class Mac:
    """Multiply the rows of a half with the matrix that streams through the ring.

    Row pair v of the ``pairs`` of a half has its words in ``inputs`` groups of P, in the rows v * 2^log2_in_stride + i
    of the banks. Its results go to ``outputs`` groups, in the rows out_base | v * 2^log2_out_stride | o. A result is
    the exact sum of its products, shifted right by ``shift``, rounded half up and clamped. ``first``, ``last``,
    ``gap``: as in a PASS.

    A sum of more inputs than a half holds is made in chunks: ``keep`` leaves the sums as they are in the columns and
    writes no results, ``merge`` begins with those that the last MAC that kept some has left, which had as many outputs
    and row pairs.

    With ``log2_group`` > 0 the matrix is sparse: of every M = 2^log2_group inputs of an output, which lie P *
    2^log2_apart apart, N = ``picks`` have an element. ``inputs`` counts groups of those that have one. Group g takes
    for each lane the input of row (q >> log2_apart, m, q mod 2^log2_apart), highest bits first, q = g / N; the word of
    the ring says m for each lane, the same for the S outputs of a cycle.

    With ``softmax`` LOGITS the outputs are keys: the results are probabilities, of row totals that begin with this MAC
    where it is ``fresh``; Mask says which keys count. With VALUES the inputs are such results, which stand from
    ``out_base`` on, the sums of which are kept, or divided by the totals; those results go to the rows without a base,
    and ``shift`` is what the division shifts to the left.
    """

    inputs: int
    outputs: int
    pairs: int
    log2_in_stride: int
    out_base: int
    log2_out_stride: int
    shift: int
    merge: bool = False
    keep: bool = False
    picks: int = 1
    log2_group: int = 0
    log2_apart: int = 0
    gap: int = 0
    first: bool = False
    last: bool = False
    softmax: Softmax = Softmax.NONE
    fresh: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether a finisher makes its results (hw/softmax/finisher.py)."""
        return self.softmax is not Softmax.NONE and not self.keep


@dataclass(frozen=True)
class Mask:
    """Which keys count in the MACs of exponentials behind it, docs/reference/architecture.md, Softmax.

    ``key``: number of the first key of such a MAC. ``limit``: number of a key, signed; row r of the block (0 is its
    first row) counts those up to ``limit`` + r where ``upper``, and those from ``limit`` + r - ``window`` on where that
    is not 0. ``length``: number of the entry in the table of lengths, less one, whose number of keys counts; 0: all.
    ``slope``: what a logit loses for every key that it lies below ``limit`` + r, 16 fraction bits (ALiBi, arXiv
    2108.12409); with ``upper``.
    """

    key: int = 0
    limit: int = 0
    upper: bool = False
    window: int = 0
    length: int = 0
    slope: int = 0


@dataclass(frozen=True)
class Store:
    """Send a computed half to the output stream; ``base`` is added to every index of the walk, whose bits it does not
    share."""

    walk: Walk
    base: int = 0


@dataclass(frozen=True)
class Loop:
    """Run from instruction number ``target`` up to here ``count`` times in all. Loops do not nest."""

    target: int
    count: int


@dataclass(frozen=True)
class Read:
    """Send one block from memory to the array, docs/reference/processor.md.

    Beats are addressed by ``descriptor`` from the address in ``register`` on, to which ``increment`` beats (signed) are
    added afterwards; rows from ``rows`` on are zeros. It waits for the WRITE ``after`` tags back, or for the first
    ``after_beats`` beats of it. ``vector``: parameter set of the rows that are normalised, docs/reference/vector.md; 0:
    none. ``by_id``: the descriptor counts up numbers of ids, from that in ``register`` on; the beats are those of their
    rows.
    """

    descriptor: int
    register: int
    rows: int
    mode: MemoryMode
    increment: int = 0
    after: int = 0
    after_beats: int = 0
    vector: int = 0
    by_id: bool = False


@dataclass(frozen=True)
class Sums(Read):
    """Sums of rows into the table of rows, docs/reference/vector.md: a READ whose beats go no further. It has no tag;
    ``after`` counts from the tag that the next READ has."""


@dataclass(frozen=True)
class Fetch(Read):
    """Bring operands from memory, docs/reference/processor.md, Operands: a READ whose beats go to ``destination``. It
    has no tag; ``after`` counts from the tag that the next READ has. What stands behind it in the reader's order finds
    it done: every block whose READ does. With ``fence`` the reader takes its next command only then, which the
    descriptors and ids need that it uses itself. ``mode`` and ``vector`` mean nothing."""

    destination: Destination = Destination.SETUP
    fence: bool = False


@dataclass(frozen=True)
class Wait:
    """Hand out nothing more until all FETCHes before are played. As in front of HALT no block is open."""


@dataclass(frozen=True)
class Write:
    """Put one block from the array into memory; as :class:`Read`, rows from ``rows`` on are not written.

    In mode FOLD rows from ``fold_from`` (0 or 1) to ``fold_rows`` - 1 are also written mirrored. ``vector``: parameter
    set of what becomes of the elements before they are written, docs/reference/vector.md; 0: nothing.
    """

    descriptor: int
    register: int
    rows: int
    mode: MemoryMode
    increment: int = 0
    fold_from: int = 0
    fold_rows: int = 0
    vector: int = 0


@dataclass(frozen=True)
class Set:
    """Put ``value``, the number of a beat, into an address register."""

    unit: Unit
    register: int
    value: int


@dataclass(frozen=True)
class Halt:
    """End of the program."""


Instruction = Load | Pass | Mac | Mask | Store | Loop | Halt | Read | Sums | Fetch | Wait | Write | Set
