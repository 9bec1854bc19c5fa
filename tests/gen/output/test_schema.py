"""The schema explains every field of the manifests, and the manifests have no others."""

from inspect import getdoc
import json

from pydantic import BaseModel, ValidationError
import pytest

from wingbeat.gen.output import schema
from wingbeat.gen.output.manifest import manifest
from wingbeat.gen.output.schema import (ArrayProgramFacts, CoreFacts, NetworkFacts, ProgramFacts, ProgramFolderFacts,
                                        json_schema)
from wingbeat.gen.presets.select import load_preset, names
from wingbeat.hw.core.top import core
from wingbeat.hw.isa.descriptor import Descriptor
from wingbeat.hw.isa.walk import Walk

SEALED = {"build_folders": ["tb/build"], "sha256": {"README.md": "0"}, "seal": "0"}
SETTINGS = [["--", name] for name in names()] + [
    ["bus.memory=axi4", "processor-16"], ["memory.block_log=16", "hybrid-16"],
    ["bus.control=axi4-lite", "hybrid-16"], ["bus.control=wishbone", "tiny"],
    ["bus.stream=axi4-stream", "tiny"],
    ["memory.records=true", "hybrid-16"]]


def facts_of(preset, settings):
    config = load_preset(preset, settings)
    return json.loads(json.dumps({**manifest(config, core(config)), **SEALED}))


@pytest.mark.parametrize("setting, preset", SETTINGS)
def test_every_field_of_a_core_is_known(setting, preset):
    facts = facts_of(preset, [] if setting == "--" else [setting])
    assert CoreFacts.model_validate(facts).top == facts["top"]


@pytest.mark.parametrize("spoil, place", [
    (lambda facts: facts.update(colour="red"), "colour"),
    (lambda facts: facts["memory_map"]["program"]["instructions"].update(JUMP={"opcode": 9, "fields": []}), "JUMP"),
    (lambda facts: facts["ports"][0].update(unit="V"), "unit"),
    (lambda facts: facts["derived"].pop("lanes"), "lanes")])
def test_a_field_more_or_less_is_found(spoil, place):
    facts = facts_of("tiny", [])
    spoil(facts)
    with pytest.raises(ValidationError, match=place):
        CoreFacts.model_validate(facts)


def plain(text):
    return " ".join(text.split())


def test_walks_and_descriptors_are_explained():
    parts = json_schema(CoreFacts)["$defs"]
    texts = plain(parts["ProgramMemory"]["properties"]["instructions"]["description"])
    assert plain(getdoc(Walk)) in texts and "0 COLUMNS, 1 ROWS, 2 PAIRS" in texts and "two's complement" in texts
    assert plain(getdoc(Descriptor)) in plain(parts["DescriptorTable"]["properties"]["layouts"]["description"])


@pytest.mark.parametrize("kind", [CoreFacts, NetworkFacts, ProgramFacts, ArrayProgramFacts, ProgramFolderFacts])
def test_a_schema_is_json_and_always_the_same(kind):
    found = json.dumps(json_schema(kind))
    assert json.loads(found)["title"] == kind.__name__ and found == json.dumps(json_schema(kind))
    assert json_schema(kind)["additionalProperties"] is False


def test_every_kind_of_facts_says_what_it_is():
    kinds = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, BaseModel)
             and kind.__module__ == schema.__name__ and not kind.__name__.startswith("_")]
    assert len(kinds) > 20 and all(kind.__doc__ for kind in kinds)
