"""A compiled network as files: programs, setup, coefficients, golden vectors, a description of what stands where; and
the inputs it is calibrated with."""

from dataclasses import asdict
import math
from pathlib import Path
import tokenize
from typing import Any
import zipfile
import zlib

import numpy as np

from ...hw.errors import WingbeatError
from ...hw.isa.bit_fields import field_places
from ...hw.isa.encoding import encode
from ...hw.isa.setup import (SETUP, SETUP_ACTIVATION, SETUP_CHANNELS, SETUP_CONTROL, SETUP_LENGTHS, SETUP_PROGRAM,
                             SETUP_READ_SETS, SETUP_WRITE_SETS)
from ..compiler.beats import pack_beats, pack_setup, start_writes
from ..compiler.network.builder import Stored
from ..compiler.network.compile import CompiledNetwork
from ..compiler.network.load import LoadedNetwork
from ..compiler.network.inputs import Padded, encode_inputs, random_inputs
from ..compiler.network.reference import forward
from ..compiler.program.listing import disassemble
from ..explore.network import LayerFigures, WidthFigures, check_labels
from ..files import write_json, write_manifest, write_text
from .readme import render
from .schema import SCHEMA, NetworkFacts, json_schema

__all__ = ["Calibration", "read_calibration", "random_calibration", "write_network"]

_TABLES = {SETUP_PROGRAM: "program", SETUP_CONTROL: "start", SETUP_READ_SETS: "read sets",
           SETUP_WRITE_SETS: "write sets", SETUP_CHANNELS: "channels", SETUP_ACTIVATION: "activation"}
_FILES = {
    "K.hex": "words of program K, 32 bits each", "K.txt": "its instructions, one a line",
    "K.setup.hex": "all that is written to the setup port for it, in order: coefficients, tables, program, start; a "
                   "line is the payload of one write: target in bits 0..7, address in 8..23, data above, of which the "
                   "manifest of the core says more",
    "memory.hex": "all beats of the memory before program 0, inputs left zero",
    "golden.input.hex": "the same with the first calibration inputs",
    "golden.output.hex": "all beats behind the last program",
    "golden.npz": "arrays [input, token, feature] of that run: inputs and reference, the network in float64; "
                  "input_integers and output_integers; results, which are the output integers times their unit; "
                  "lengths [input] where the network takes them"}
_RANDOM = 32
_ARRAYS = "'inputs' and, beside it, 'lengths' and 'labels'"
# What numpy raises for files that are cut, changed or something else; MemoryError where a size is absurd.
_DAMAGES = (ValueError, EOFError, KeyError, SyntaxError, MemoryError, NotImplementedError, zipfile.BadZipFile,
            zlib.error, tokenize.TokenError)


class Calibration:
    """Inputs that show the range of the data, and their labels where they are known."""

    def __init__(self, inputs: np.ndarray | Padded, labels: np.ndarray | None, source: str):
        self.inputs, self.labels, self.source = inputs, labels, source


def read_calibration(path: Path, network: LoadedNetwork, option: str = "--calibration") -> Calibration:
    """An .npz file: ``inputs`` (count, tokens, features), or numbers (count, tokens) for a vocabulary; ``lengths``
    (count,), where the network takes them; ``labels`` (count,) integers may stand beside them. Raises WingbeatError
    naming ``option`` or the array."""
    arrays = _arrays(path, option)
    unknown = sorted(set(arrays) - {"inputs", "lengths", "labels"})
    if unknown or "inputs" not in arrays:
        found = ", ".join(map(ascii, sorted(arrays))) or "none"
        raise WingbeatError(f"{option}: {path.name!r} has the arrays {found}; allowed are {_ARRAYS}")
    values, labels = arrays["inputs"], arrays.get("labels")
    inputs = Padded(values, arrays["lengths"]) if "lengths" in arrays else values
    if not len(encode_inputs(network, inputs)):
        raise WingbeatError("inputs: none; allowed are one or more")
    if labels is not None:
        check_labels(labels, len(inputs), math.prod(network.output))
    return Calibration(inputs, labels, path.name)


def _arrays(path: Path, option: str) -> dict[str, np.ndarray]:
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            arrays = None
        else:
            with file:
                arrays = {name: file[name] for name in file.files}
    except OSError as fault:
        raise WingbeatError(f"{option}: {str(path)!r} cannot be read: {fault.strerror or fault}") from fault
    except _DAMAGES as fault:
        reason = (str(fault).splitlines() or ["?"])[0]
        raise WingbeatError(f"{option}: {path.name!r} is not an .npz file without pickle ({reason})") from fault
    if arrays is None:
        raise WingbeatError(f"{option}: {path.name!r} is one array; allowed are .npz files")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a member of the archive that is no array comes as bytes
            raise WingbeatError(f"{option}: {ascii(name)} of {path.name!r} is no array; allowed are {_ARRAYS}")
    return arrays


def random_calibration(network: LoadedNetwork, seed: int) -> Calibration:
    """Random inputs, where nothing is known of the data."""
    return Calibration(random_inputs(network, _RANDOM, seed), None, f"{_RANDOM} random inputs, seed {seed}")


def write_network(folder: Path, compiled: CompiledNetwork, calibration: Calibration, layers: list[LayerFigures],
                  widths: list[WidthFigures]) -> None:
    """Files of the whole network into ``folder``, which exists.

    The manifest says what each of them is, and has places and units of the tensors and figures of the layers.
    """
    config = compiled.config
    for number, segment in enumerate(compiled.segments):
        words, setup = encode(segment.program.instructions), segment.program.setup
        contents = {"hex": [f"{word:08x}" for word in words], "setup.hex": pack_setup([*setup, *start_writes(words)]),
                    "txt": disassemble(config, words)}
        for suffix, lines in contents.items():
            write_text(folder / f"{number}.{suffix}", _lines(lines))
    write_text(folder / "memory.hex", _lines(pack_beats(compiled.image(), config.element_width, config.stream_words)))
    golden = calibration.inputs[:compiled.batch]
    memory, _ = compiled.memory(golden)
    for name in ("golden.input.hex", "golden.output.hex"):
        write_text(folder / name, _lines(pack_beats(memory, config.element_width, config.stream_words)))
        if name == "golden.input.hex":
            given = compiled.input.tensor.unpack(memory)[:len(golden)].copy()
            for segment in compiled.segments:
                segment.program.run_model(config, memory)
    found = compiled.output.tensor.unpack(memory)[:len(golden)]
    goes_in = ({"inputs": golden.values, "lengths": golden.lengths} if isinstance(golden, Padded) else
               {"inputs": golden})
    np.savez(folder / "golden.npz", **goes_in, input_integers=given, output_integers=found,
             reference=forward(compiled.network, golden)[-1][1], results=compiled.results(memory, len(golden)))
    facts = _manifest(compiled, calibration, layers, widths)
    write_json(folder / SCHEMA, json_schema(NetworkFacts))
    write_text(folder / "README.md", render("network.md.j2", facts=facts, core=config.name,
                                            vocabulary=compiled.network.vocabulary,
                                            tokens=compiled.network.input.tokens,
                                            takes_ids=compiled.network.takes_ids, decided=compiled.output.decided))
    write_manifest(folder, facts)


def _lines(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _manifest(compiled: CompiledNetwork, calibration: Calibration, layers: list[LayerFigures],
              widths: list[WidthFigures]) -> dict[str, Any]:
    programs = [{"setup": f"{number}.setup.hex", "words": 3 * len(segment.program.instructions),
                 "blocks": len(segment.program.stages),
                 "setup_writes": _setup_counts([*segment.program.setup, *start_writes(segment.program.instructions)]),
                 "layers": [operation.step.name for operation in segment.operations]}
                for number, segment in enumerate(compiled.segments)]
    return {
        "network": compiled.network.name, "assumed": list(compiled.network.assumed),
        "configuration": compiled.config.choices(),
        "batch": compiled.batch, "calibration": calibration.source, "memory_beats": compiled.beats,
        "memory": {
            "image": "memory.hex", "line": "one beat, hexadecimal; element k at bit k * element_width",
            "element": "an integer of element_width bits, two's complement; its value is the integer times unit",
            "element_width": compiled.config.element_width, "beat_elements": compiled.config.memory_elements,
            "order": "row r begins at beat base + r * row_beats; feature f is element f mod beat_elements of "
                     "beat f div beat_elements of its row",
            "padding": "zero: elements behind the features of a row, and rows of inputs that are not there",
            "regions": [{"name": each.name, "role": str(each.role), **_place(each.stored)}
                        for each in compiled.regions()],
            "lengths": _lengths(compiled),
            "records": [{"program": number, "base": segment.records.base, "beats": len(segment.records.beats)}
                        for number, segment in enumerate(compiled.segments) if segment.records]},
        "programs": programs, "files": _FILES,
        "layers": [_finite(asdict(layer)) for layer in layers], "widths": [_finite(asdict(width)) for width in widths]}


def _lengths(compiled: CompiledNetwork) -> dict[str, Any] | None:
    """Where the host writes how many tokens of each input count."""
    if not compiled.network.has_lengths:
        return None
    bits = field_places(SETUP)
    return {"target": SETUP_LENGTHS, "address_bit": bits["address"][0], "data_bit": bits["data"][0],
            "record_elements": compiled.config.record_elements,
            "places": [{"program": number, "base": records.base}
                       for number, records in compiled.length_records().items()]}


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no infinity: an SQNR without error is null."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()}


def _setup_counts(setup: list[tuple[int, int, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for target, _, _ in setup:
        name = "coefficients" if target < SETUP_PROGRAM else _TABLES.get(target, "descriptors")
        counts[name] = counts.get(name, 0) + 1
    return counts


def _place(stored: Stored) -> dict[str, Any]:
    tensor = stored.tensor
    unit = np.asarray(stored.unit)
    return {"base": tensor.base, "tokens": tensor.tokens, "batch": tensor.batch, "features": tensor.features,
            "row_beats": tensor.pitch, "row": "token * batch + input",
            "largest": "in the last element of a row" if stored.decided else None,
            "unit": float(unit) if unit.ndim == 0 else unit.tolist()}
