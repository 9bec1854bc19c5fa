"""What stands in the manifests and descriptions of the output folders, field by field: their JSON Schema.

The meaning of an instruction, a descriptor or a parameter set is the docstring of what packs it (hw/isa).
"""

from collections.abc import Mapping
from enum import Enum
from inspect import getdoc
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ...hw.config import NAMES, CoreConfig
from ...hw.isa import encoding, instruction, vector_tables
from ...hw.isa.descriptor import Descriptor
from ...hw.isa.instruction import Fault, MemoryMode, Mode, Opcode, Unit
from ...hw.isa.registers import Access
from ...hw.isa.parameter_set import Activation, ReadSet, WriteSet
from ...hw.isa.walk import SubOrder, Walk
from ..explore.network import LayerFigures, WidthFigures

__all__ = ["SCHEMA", "CoreFacts", "NetworkFacts", "ProgramFolderFacts", "ProgramFacts", "ArrayProgramFacts",
           "json_schema"]

SCHEMA = "manifest.schema.json"


def _about(text: str) -> Any:
    return Field(description=text)


def _words(*parts: Any) -> str:
    """Docstrings, and the members of enumerations."""
    text = "\n\n".join(_members(part) if isinstance(part, type) and issubclass(part, Enum) else
                       part if isinstance(part, str) else getdoc(part) or "" for part in parts)
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", text)  # without the roles of Sphinx


def _members(kind: type[Enum]) -> str:
    codes = ", ".join(f"{each.value} {each.name}" for each in kind)
    return f"{kind.__name__}. {(getdoc(kind) or '').rstrip('.')}: {codes}."


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BitField(_Facts):
    """Part of a port or a word."""

    name: Annotated[str, _about("of the field; [n] is the n-th of an array")]
    offset: Annotated[int, _about("its lowest bit, counted from bit 0 of the port or word")]
    width: Annotated[int, _about("its bits")]
    signed: Annotated[bool, _about("two's complement; else unsigned")]


_Fields = list[BitField]


class Port(_Facts):
    """A port of the top module."""

    name: Annotated[str, _about("as in the Verilog; __ stands between an interface and its part")]
    direction: Literal["input", "output"]
    width: Annotated[int, _about("bits")]
    fields: Annotated[_Fields, _about("of its payload; empty where it is one number")]


class Clock(_Facts):
    """How the core is clocked and reset."""

    clock: str
    reset: str
    edge: str
    reset_kind: str


class Condition(_Facts):
    """What full blocks of one size need."""

    points: Annotated[int, _about("size of the transform")]
    zero_bubble: Annotated[bool, _about("passes follow each other without an idle cycle")]
    stream_words_needed: Annotated[float | None, _about(
        "words per cycle, each way, that keep the multipliers busy; null: the block is too short for any")]


class CoefficientBanks(_Facts):
    """Memories of the butterfly units: unit k of column q has bank q * lanes / 2 + k."""

    targets: Annotated[list[int], _about("of the setup port, first and last")]
    words: Annotated[int, _about("of one bank")]
    fields: Annotated[_Fields, _about(
        "c0 and c1 are numbers with fraction_bits. With BPMM the first result is A + c0 * B where s0 = 0 and c0 * A + "
        "B where s0 = 1, the second one likewise with c1 and s1. With FFT they are A + t and A - t, t = (c0 + j * c1) "
        "* B, and s0 and s1 are not read. With SCALE they are c0 * A and c1 * B. Words stand for A and B, both parts")]
    fraction_bits: int


class InstructionFields(_Facts):
    """One kind of instruction."""

    opcode: Annotated[int, _about("in the lowest bits")]
    fields: Annotated[_Fields, _about("behind the opcode; bits that no field names are 0")]


_Instructions = create_model("_Instructions", __base__=_Facts, __doc__="By name; what each one does.", **{
    opcode.name: (InstructionFields | None, Field(None, description=_words(
        getattr(instruction, opcode.name.capitalize()))))
    for opcode in Opcode})  # type: ignore[call-overload]


class ProgramMemory(_Facts):
    """Where programs are written."""

    target: Annotated[int, _about("of the setup port")]
    words: Annotated[int, _about("of 32 bits that it holds")]
    words_per_instruction: Annotated[int, _about("the least significant one first")]
    instructions: Annotated[_Instructions, _about(  # type: ignore[valid-type]
        _words("Files that a text names are those of the sources of wingbeat.", instruction.__doc__,
               "Values become fields so:", encoding.VALUES, "Walks of LOAD and STORE:", Walk, "Codes of sub_order:",
               SubOrder, "Codes of mode of a PASS:", Mode, "Codes of mode of READ, SUMS and WRITE:", MemoryMode,
               "Codes of unit of a SET:", Unit))]


class Control(_Facts):
    """The control register."""

    target: Annotated[int, _about("of the setup port")]
    start: Annotated[int, _about("data that starts the program at instruction 0")]
    clear: Annotated[int | None, _about("data that clears the error of a processor, once its memory is drained")] = None


class DescriptorTable(_Facts):
    """Descriptors of a memory unit: word i of entry e of descriptor d has address d * words_per_descriptor + 2 * e + i.
    """

    target: Annotated[int, _about("of the setup port")]
    descriptors: Annotated[int, _about("that it holds")]
    words_per_descriptor: int
    entries: Annotated[dict[str, int], _about(
        "first entry of each kind: sub + i when bit i of the sub-steps rises, group when the group of engines goes up, "
        "step + i when bit i of the steps rises, origin, shape, other")]
    layouts: Annotated[dict[str, _Fields], _about(
        "of the 64 bits of an entry: difference for sub, group, step and origin: what is added to address, row and "
        "chunk; shape; other. " + _words(Descriptor))]


class SetTable(_Facts):
    """Parameter sets: word i of set s stands at s * words_per_set + i; set 0 means nothing to do."""

    target: Annotated[int, _about("of the setup port")]
    sets: int
    words_per_set: int
    fields: _Fields


class WordTable(_Facts):
    """A table of words."""

    target: Annotated[int, _about("of the setup port")]
    words: int
    fields: _Fields


class MemoryMap(_Facts):
    """What the setup port writes: one word is target, address and data."""

    coefficient_banks: CoefficientBanks
    program: ProgramMemory
    control: Control
    reader_table: DescriptorTable | None = None
    writer_table: DescriptorTable | None = None
    read_sets: Annotated[SetTable | None, _about(_words(ReadSet))] = None
    write_sets: Annotated[SetTable | None, _about(_words(WriteSet))] = None
    channels: Annotated[WordTable | None, _about(
        "word beat * elements + element: scale and bias of a channel. " + _words(vector_tables.scale_parameters)
    )] = None
    activation: Annotated[WordTable | None, _about(
        "one word for each segment of |y|. " + _words(vector_tables.GeluTable))] = None
    activations: Annotated[dict[str, int] | None, _about(_words(Activation))] = None


class MemoryFacts(_Facts):
    """The memory of a processor."""

    beats: Annotated[int, _about("that it can address")]
    elements: Annotated[int, _about("of a beat; element k at bit k * element_width")]
    element_width: Annotated[int, _about("bits of an element, two's complement")]


class BlockLogFacts(_Facts):
    """Exponents and flags of the last blocks of a program, on log_address and log_data."""

    blocks: Annotated[int, _about("that are kept")]
    address: str
    read_latency_cycles: int


class OutstandingFacts(_Facts):
    """Most transactions under way."""

    read_beats: int
    write_bursts: int


class Axi4Facts(_Facts):
    """What the AXI4 master asks of the bus, and where beats stand in memory."""

    prefix: str
    data_width: Annotated[int, _about("bits")]
    address_width: Annotated[int, _about("bits of a byte address")]
    id_width: Annotated[int, _about("bits; identifiers are 0")]
    longest_burst: Annotated[int, _about("data transfers")]
    outstanding: OutstandingFacts
    transfer_bytes: int
    transfers_per_beat: int
    beat_bytes: Annotated[int, _about("beat n stands beat_bytes * n behind the port base")]
    slot_bits: Annotated[int, _about("of an element in memory, sign-extended, the lowest byte first")]
    base_alignment: Annotated[int, _about("bytes; base is a multiple of it")]


class Axi4StreamFacts(_Facts):
    """The streams of an array as AXI4-Stream. TLAST goes with the last beat of a block in both directions."""

    input_prefix: Annotated[str, _about("of the ports that samples go into")]
    output_prefix: Annotated[str, _about("of the ports that results come out of")]
    beat_elements: int
    beat_bytes: Annotated[int, _about("of a transfer; all of them count")]
    slot_bits: Annotated[int, _about("of an element in TDATA, sign-extended; element 0 is the lowest one")]


class RegisterFacts(_Facts):
    """A register of 32 bits."""

    address: Annotated[int, _about("of its first byte")]
    access: Annotated[str, _about(_words(Access))]
    fields: _Fields


class ControlFacts(_Facts):
    """The control bus and the registers behind it."""

    bus: str
    prefix: Annotated[str, _about("of its ports")]
    address_bits: Annotated[int, _about("of a byte address")]
    hash: Annotated[str, _about("of the configuration, in hexadecimal: HASH_HIGH, then HASH_LOW")]
    registers: dict[str, RegisterFacts]


_Derived = create_model("_Derived", __base__=_Facts, __doc__="What follows from the configuration.", **{
    name: (Any, Field(description=getdoc(value) or name.replace("_", " ")))
    for name, value in vars(CoreConfig).items()
    if isinstance(value, property) and name not in NAMES})  # type: ignore[call-overload]


class _Sealed(_Facts):
    """What every manifest ends with."""

    build_folders: Annotated[list[str], _about("folders in which tools may leave what they like")]
    sha256: Annotated[dict[str, str], _about("of every other file of the folder")]
    seal: Annotated[str, _about("SHA-256 of all the rest of this manifest, by which wingbeat knows its own folders: of "
                                "what json.dumps(rest, sort_keys=True) of Python gives")]


class CoreFacts(_Sealed):
    """manifest.json of a generated core."""

    format: Annotated[int, _about("of this manifest; grows when a field changes its meaning")]
    top: Annotated[str, _about("name of the top module")]
    configuration: Annotated[CoreConfig, _about("what the core was made from, as in a configuration file")]
    derived: _Derived  # type: ignore[valid-type]
    latency_cycles: Annotated[dict[str, int], _about("the latencies among the derived values")]
    conditions: list[Condition]
    clock: Clock
    ports: list[Port]
    memory_map: MemoryMap
    tools: Annotated[dict[str, str], _about("versions of the packages that decide the bytes of the Verilog")]
    memory: MemoryFacts | None = None
    block_log: BlockLogFacts | None = None
    memory_modes: Annotated[dict[str, int] | None, _about(_words(MemoryMode))] = None
    errors: Annotated[dict[str, int] | None, _about("codes of status.error. " + _words(Fault))] = None
    axi4: Axi4Facts | None = None
    axi4_stream: Axi4StreamFacts | None = None
    control: ControlFacts | None = None


# --- programs -----------------------------------------------------------------------------------


class _Line(_Facts):
    line: Annotated[str, _about("what a line of a file of beats is")]
    element_width: int
    element: str
    beat_elements: int


class MatrixPlace(_Facts):
    """Where a matrix stands in memory."""

    base: Annotated[int, _about("its first beat")]
    rows: int
    elements: Annotated[int, _about("of a row; a complex number is two")]
    row_beats: Annotated[int, _about("beats from a row to the next")]
    complex: bool
    unit: Annotated[float | list[float], _about("value of the integer 1, of all elements or of each one of a row")]


class ProgramMemoryPlaces(_Line):
    """The memory of a processor before and after the program."""

    beats: int
    order: str
    input: MatrixPlace
    result: MatrixPlace


class _Program(_Facts):
    core: Annotated[str, _about("name of the core that it runs on")]
    configuration: CoreConfig
    files: Annotated[dict[str, str], _about(
        "by kind. hex: the program, words of 32 bits. txt: its listing; the number behind LOAD, PASS and STORE is the "
        "half in the first turn of a loop, which no field holds; columns are binary, column 0 last; window lists the "
        "index bit of each lane bit; numbers behind block float are growth, column 0 first; behind the store by n is "
        "overlap with lag n. setup.hex: all setup writes. The others: beats, and npz arrays as arrays says")]
    setup: Annotated[str, _about("what a line of setup.hex is")]
    computes: Annotated[str, _about("what the results are of the rows, in real numbers")]
    blocks: Annotated[int, _about("that the program stores")]
    saturated_blocks: Annotated[int, _about("blocks in which the array clamped a value")]


class ProgramFacts(_Program):
    """NAME.json of a program of a processor."""

    memory: ProgramMemoryPlaces
    clamped_elements: Annotated[int, _about("between memory and array")]
    exponents: Annotated[list[int] | None, _about("of each block, with block floating point")] = None
    block_rows: Annotated[int | None, _about("rows of the result that share an exponent")] = None
    exponent: str | None = None


class Bits(_Facts):
    """Place of a field."""

    bit: Annotated[int, _about("the lowest one, counted from tag_bit")]
    width: int


class StreamFacts(_Line):
    """The streams of an array."""

    tag: Annotated[str, _about("what stands above the numbers of a beat that comes out")]
    tag_bit: int
    tag_fields: dict[str, Bits]
    tlast_bit: Annotated[int | None, _about("of a line of input.hex; the beats that end a block have it; null: a beat "
                                            "that goes in has none")] = None
    block_beats: Annotated[int, _about("of each block; the exponent is the same on all of them")]
    order: Annotated[str, _about("which number of the streams is which part of which row")]


class ArrayProgramFacts(_Program):
    """NAME.json of a program of an array alone."""

    stream: StreamFacts
    arrays: Annotated[dict[str, str], _about("what the arrays of the npz file are")]
    rows: Annotated[int, _about("how many there are")]
    points: Annotated[int, _about("of a row")]
    complex: Annotated[bool, _about("whether an element of a row has two parts")]
    scaling: Annotated[str, _about("static: shifts by calibration; safe: nothing overflows; block: an exponent each")]
    input_unit: Annotated[float, _about("value of the integer 1 that goes in")]
    result: Annotated[str, _about("value of an element of a result; the exponent is unsigned")]
    result_units: Annotated[list[float], _about("value of the integer 1 at exponent 0, of each element of a row")]
    exponents: Annotated[list[int], _about("of each block")]
    clamped_inputs: Annotated[int, _about("elements outside the range of the input")]
    sqnr_db: Annotated[float, _about(
        "of the results against float64 of the quantised rows, which are the integers that go in times input_unit")]


class ProgramFolderFacts(_Sealed):
    """manifest.json of a folder of programs."""

    programs: Annotated[list[str], _about("their names; NAME.json describes each one, program.schema.json NAME.json")]


# --- networks -----------------------------------------------------------------------------------


class TensorPlace(_Facts):
    """Where a tensor stands in memory."""

    name: str
    role: Annotated[str, _about(
        "input, constant, matrix, output or scratch; a name with two roles is two tensors. A matrix has a row for each "
        "of its beats, in the order in which the columns of the array take them: a beat of each of S outputs in turn")]
    base: Annotated[int, _about("its first beat")]
    tokens: int
    batch: Annotated[int, _about("inputs side by side")]
    features: int
    row_beats: Annotated[int, _about("beats from a row to the next")]
    row: Annotated[str, _about("number of a row")]
    largest: Annotated[str | None, _about("where the number of the largest feature of a row stands; null: nowhere")]
    unit: Annotated[float | list[float], _about("value of the integer 1, of all features or of each one")]


class RecordsPlace(_Facts):
    """Setup of a program in memory."""

    program: Annotated[int, _about("its number")]
    base: Annotated[int, _about("first beat")]
    beats: int


class LengthsPlace(_Facts):
    """Records of a program that hold the lengths of its inputs."""

    program: Annotated[int, _about("its number")]
    base: Annotated[int, _about("first beat")]


class LengthsFacts(_Facts):
    """How the host says how many tokens of each input count, before every start: with the first records of programs.
    Record r is that of input r, the number target + r * 2^address_bit + tokens * 2^data_bit."""

    target: int
    address_bit: int
    data_bit: int
    record_elements: Annotated[int, _about("of a record, the lowest bits in the first one; it begins with element r * "
                                           "record_elements, counted from element 0 of the first beat")]
    places: list[LengthsPlace]


class NetworkMemory(_Line):
    """Memory of a network: image before its first program, and what stands where."""

    image: Annotated[str, _about("file of all beats, inputs left zero")]
    order: str
    padding: str
    regions: Annotated[list[TensorPlace], _about(
        "tensors of the network. Those between may share beats, one after the other. Programs may write every beat "
        "below memory_beats but those of constants, matrices and records; they need nothing in them beforehand but "
        "inputs, constants, matrices and records")]
    records: Annotated[list[RecordsPlace], _about("what programs fetch of their own setup; empty: the host writes it")]
    lengths: Annotated[LengthsFacts | None, _about("null: all tokens of all inputs count")]


class NetworkProgram(_Facts):
    """One of the programs of a network, which run one after the other."""

    setup: Annotated[str, _about("the file that is written to the setup port for it")]
    words: Annotated[int, _about("of the program, 32 bits each")]
    blocks: Annotated[int, _about("that status.blocks has counted at its end")]
    setup_writes: Annotated[dict[str, int], _about("by what they fill")]
    layers: Annotated[list[str], _about("operations that it runs")]


_OPTIONAL = {"sqnr_db", "accuracy", "float_accuracy"}  # null where there is no error, or no labels


def _figures(name: str, kind: Any) -> Any:
    types: Mapping[str, Any] = kind.__annotations__
    return create_model(name, __base__=_Facts, __doc__=getdoc(kind),
                        **{key: (type_ | None if key in _OPTIONAL else type_, ...) for key, type_ in types.items()})  # type: ignore[call-overload]


class NetworkFacts(_Sealed):
    """manifest.json of a compiled network."""

    network: Annotated[str, _about("its name")]
    assumed: Annotated[list[str], _about("what neither checkpoint nor network file says and was assumed")]
    configuration: Annotated[CoreConfig, _about("of the core that it runs on: the same as in that core's manifest")]
    batch: Annotated[int, _about("inputs that the programs take at a time")]
    calibration: Annotated[str, _about("inputs that chose the number formats")]
    memory_beats: Annotated[int, _about("that the memory must have at least, from beat 0 on")]
    memory: NetworkMemory
    programs: list[NetworkProgram]
    files: Annotated[dict[str, str], _about("what each file is; program K runs behind program K - 1")]
    layers: Annotated[list[_figures("Layer", LayerFigures)], _about(
        "of the first calibration inputs; cycles with a memory that answers in the next cycle")]  # type: ignore
    widths: Annotated[list[_figures("Width", WidthFigures)], _about("of all calibration inputs")]  # type: ignore


def json_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The schema of a file of ``kind``."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.model_json_schema()}
