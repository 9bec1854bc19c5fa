"""The space file SPACE.toml: which configurations are looked at, and what makes one better than another.

    preset = "ulx3s-16"                 # or config = "core.toml", a path from this file on
    set = ["target=portable"]           # for all points, as --set takes them
    device = "25k"                      # the ECP5 whose cells must do, the largest if not given
    objectives = ["comb", "fft.per_second"]     # two to four figures, see gen/explore/space/measures.py
    limits = ["bram <= 50", "fmax_mhz >= 100"]

    [fields]                            # every field that --set knows, and its values
    array.engines = [1, 2, 4]
    array.half_words = [512, 1024, 2048]

    [workloads.fft]                     # as `wingbeat bench kernels` has them, or network = "digits"
    kernel = "fft"
    points = 256

    [search]                            # left out: every combination
    method = "nsga2"
    trials = 400                        # in generations of `population`, drawn with `seed`

    [front]                             # what is done for the points of the Pareto front
    most = 20                           # so many of them, far from one another
    synthesis = true
    pnr = false                         # with place and route, once for each of `seeds`
    simulation = true                   # workloads on the generated Verilog
"""

from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from ....hw.errors import WingbeatError
from ...compiler.network.file import read_toml
from ...faults import one_line
from ...presets.select import field_of
from ...synth.devices import TARGETS
from .measures import Limit, Objective, parse_limit, parse_objective
from .work import KernelWork, NetworkWork

__all__ = ["SpaceFile", "Search", "FrontWork", "TARGET", "read_space"]

TARGET = "ecp5"  # the family that the estimator knows
_DEVICES = TARGETS[TARGET].devices
_MOST_POINTS = 100_000

Count = Annotated[int, Field(ge=1, le=_MOST_POINTS)]
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
Value = bool | int | str
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]


# A workload with the field `network` is one.
_NETWORK, _KERNEL = "network", "kernel"
AnyWork = Annotated[Annotated[KernelWork, Tag(_KERNEL)] | Annotated[NetworkWork, Tag(_NETWORK)],
                    Discriminator(lambda table: _NETWORK if isinstance(table, dict) and _NETWORK in table else _KERNEL)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Search(_Table):
    """Which points are looked at: all, or those that NSGA-II asks for."""

    method: Literal["grid", "nsga2"] = "grid"
    trials: Count = 400
    population: Annotated[int, Field(ge=2, le=1000)] = 50
    seed: Seed = 1


class FrontWork(_Table):
    """What is measured of the points of the front."""

    most: Count = _MOST_POINTS
    synthesis: bool = True
    pnr: bool = False
    seeds: list[Seed] = Field([1, 2, 3], min_length=1)
    simulation: bool = True


class SpaceFile(_Table):
    """The content of SPACE.toml; the text of this module has the fields."""

    preset: str | None = None
    config: str | None = None
    settings: list[str] = Field([], alias="set")
    device: str = next(iter(_DEVICES))
    objectives: list[str] = Field(min_length=2, max_length=4)
    limits: list[str] = Field([])
    fields: dict[str, list[Value]] = Field(min_length=1, max_length=64)
    workloads: dict[Name, AnyWork] = Field({}, max_length=16)
    search: Search = Search()
    front: FrontWork = FrontWork()

    @cached_property
    def goals(self) -> list[Objective]:
        """Raises WingbeatError."""
        return [parse_objective(f"objectives[{n}]", text, self.workloads) for n, text in enumerate(self.objectives)]

    @cached_property
    def bounds(self) -> list[Limit]:
        """The limits, and what the device has. Raises WingbeatError."""
        part = _DEVICES[self.device]
        cells = {"comb": part.comb, "ff": part.comb, "bram": part.bram, "dsp": part.dsp}
        return [*(parse_limit(f"limits[{n}]", text, self.workloads) for n, text in enumerate(self.limits)),
                *(Limit(name, False, bound) for name, bound in cells.items())]

    @property
    def combinations(self) -> int:
        """Points of the whole grid."""
        count = 1
        for values in self.fields.values():
            count *= len(values)
        return count


def read_space(path: Path) -> SpaceFile:
    """The file, checked as far as it can be without a configuration. Raises WingbeatError with one line."""
    values = read_toml(path, "space")
    if isinstance(values.get("fields"), dict):
        values["fields"] = _flat(values["fields"])
    for table in _works(values):
        for key in {"network", "checkpoint"} & table.keys():
            table[key] = _from(path, table[key])
    if "config" in values:
        values["config"] = _from(path, values["config"], is_file=True)
    try:
        space = SpaceFile.model_validate(values)
    except ValidationError as error:
        raise WingbeatError(_fault_line(error)) from error
    return _checked(space)


def _works(values: dict[str, Any]) -> list[dict[str, Any]]:
    works = values.get("workloads")
    return [table for table in works.values() if isinstance(table, dict)] if isinstance(works, dict) else []


def _from(space: Path, name: Any, is_file: bool = False) -> Any:
    """A path of the file ``space`` from its folder on; names of what is shipped stay."""
    is_path = isinstance(name, str) and (is_file or name.endswith((".toml", ".safetensors")))
    return str(space.parent / name) if is_path else name


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``array.engines = [1]`` is a table in a table for TOML."""
    pairs = [_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
             for key, value in table.items()]
    return dict(chain.from_iterable(pair.items() for pair in pairs))


def _checked(space: SpaceFile) -> SpaceFile:
    if (space.preset is None) == (space.config is None):
        raise WingbeatError("preset, config: give exactly one of them")
    if space.device not in _DEVICES:
        raise WingbeatError(f"device: {space.device!r} is not one of {', '.join(_DEVICES)}")
    seen: dict[str, str] = {}
    for where, key in [*(("set", text.partition("=")[0]) for text in space.settings),
                       *(("fields", key) for key in space.fields)]:
        field = field_of(key)
        if field == "name" or field in seen:
            raise WingbeatError(f"{where}: {key!r} is {'no field to explore' if field == 'name' else 'given twice'}")
        seen[field] = key
    for key, values in space.fields.items():
        if not values:
            raise WingbeatError(f"fields.{key}: []; allowed are one or more values")
    if space.search.method == "grid" and space.combinations > _MOST_POINTS:
        raise WingbeatError(f"fields: {space.combinations} combinations; allowed are {_MOST_POINTS}, or "
                            "search.method = 'nsga2'")
    if len(set(space.objectives)) < len(space.objectives):
        raise WingbeatError(f"objectives: {', '.join(space.objectives)}; allowed is each once")
    space.goals, space.bounds  # noqa: B018 - they raise
    return space


def _fault_line(error: ValidationError) -> str:
    """The first fault: field, value, what is allowed."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = list(fault["loc"])
    tables: dict[Any, type[BaseModel]] = {"search": Search, "front": FrontWork}
    owner = tables.get(place[0] if place else "", SpaceFile)
    if place[:1] == ["workloads"] and len(place) > 2:  # name, tag
        owner = NetworkWork if place.pop(2) == _NETWORK else KernelWork
    field, message = ".".join(map(str, place)), fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        allowed = [each.alias or name for name, each in owner.model_fields.items()]
        return one_line(f"{field}: no such field; allowed are {', '.join(allowed)}")
    if fault["type"] == "missing":
        return one_line(f"{field}: missing; it is needed")
    if fault["type"] == "value_error":
        return one_line(f"{field}: {message}")
    value = repr(fault["input"])
    return one_line(f"{field}: {value if len(value) <= 60 else value[:57] + '...'}: {message}")
