"""Writing a trained network: NAME.safetensors, NAME.toml, NAME.json and NAME.log."""

import json
from pathlib import Path
from typing import Any

from safetensors.numpy import save

from ..files import write_json, write_text
from .network import Description, Network

__all__ = ["toml_text", "export_network"]


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_inline(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)  # TOML's text, numbers and truth values are JSON's


_TOLD_BY_TENSORS = {"linear": "out_features", "attention": "dense"}


def _table(layer: Description) -> Description:
    """What the file says of a layer."""
    inner = {"layers": [_table(each) for each in layer["layers"]]} if "layers" in layer else {}
    return {key: value for key, value in (layer | inner).items() if key != _TOLD_BY_TENSORS.get(layer["kind"])}


def toml_text(description: Description) -> str:
    """The network file of a description; ``tomllib`` reads the description back, but for what the tensors tell:
    ``out_features`` of linear layers and ``dense`` of attentions."""
    lines = [f"name = {_inline(description['name'])}", "", "[input]"]
    lines += [f"{key} = {_inline(value)}" for key, value in description["input"].items()]
    for layer in description["layers"]:
        lines += ["", "[[layers]]"]
        for key, value in _table(layer).items():
            if isinstance(value, list):
                lines += [f"{key} = [", *(f"    {_inline(each)}," for each in value), "]"]
            else:
                lines.append(f"{key} = {_inline(value)}")
    return "\n".join(lines) + "\n"


def export_network(folder: Path, network: Network, record: dict[str, Any], log: list[str]) -> None:
    """Write the four files, named after the network. ``record`` becomes the .json.

    The tensors are float32; sizes and strides of the butterflies stand in the text metadata, where
    ``gen/compiler/checkpoint.py`` looks for them. Weights outside of a mask are zeros. Raises
    WingbeatError where a file cannot be written.
    """
    name = network.description["name"]
    tensors = {key: value.detach().numpy() for key, value in network.tensors().items()}
    metadata = {f"{weights}.{key}": str(getattr(layer, key)) for weights, layer in network.butterflies()
                for key in ("in_size", "out_size", "increasing_stride")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.safetensors").write_bytes(save(tensors, metadata=dict(sorted(metadata.items()))))
    write_text(folder / f"{name}.toml", toml_text(network.description))
    write_json(folder / f"{name}.json", record)
    write_text(folder / f"{name}.log", "\n".join(log) + "\n")
