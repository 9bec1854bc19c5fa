"""Options that several commands share, and what they name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ...hw.config import CoreConfig
from ...hw.errors import WingbeatError
from ..console import print_table, refuse_unused
from ..files import write_json
from ..presets import select as configurations

__all__ = ["PresetOption", "ConfigOption", "SetOption", "MemoryOption", "SizesOption", "TokensOption", "HiddenOption",
           "ExpandOption", "InputsOption", "OutputsOption", "PatternOption", "refuse_unused_sizes", "seed_option",
           "select_config", "integers", "print_rows", "sizes_of", "save_json"]

PresetOption = Annotated[str | None, typer.Option("--preset", metavar="P", help="see `wingbeat presets`")]
ConfigOption = Annotated[Path | None, typer.Option("--config", metavar="F.toml", help="a configuration file")]
SetOption = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="change one field")]
MemoryOption = Annotated[str | None, typer.Option("--memory", metavar="M",
                                                  help="of a processor: ideal or delay:LATENCY,WORDS_PER_CYCLE")]
SizesOption = Annotated[str | None, typer.Option(metavar="64,128", help="points per row; if not given, 64 to the "
                                                                        "largest")]
TokensOption = Annotated[int, typer.Option(metavar="T", help="rows of fft2-real, ffn, dense, nm and attention")]
HiddenOption = Annotated[int, typer.Option(metavar="H", help="elements of the rows of fft2-real and ffn")]
InputsOption = Annotated[int, typer.Option("--in", metavar="I", help="elements of the rows of dense and nm")]
OutputsOption = Annotated[int, typer.Option("--out", metavar="O", help="elements of the results of dense and nm")]
PatternOption = Annotated[str, typer.Option(metavar="N:M", help="of every M inputs nm has N")]
HeadsOption = Annotated[int, typer.Option(help="of attention")]
FeaturesOption = Annotated[int, typer.Option("--head-features", metavar="D", help="of a head of attention")]
KeyHeadsOption = Annotated[int | None, typer.Option(metavar="G", help="of attention, for its keys and values; if not "
                                                                      "given, one for each head")]
LengthOption = Annotated[int | None, typer.Option(metavar="L", help="attention: keys that count; if not given, all")]
CausalOption = Annotated[bool, typer.Option("--causal", help="attention: no token sees one behind it")]
ExpandOption = Annotated[int, typer.Option(metavar="X", help="inner layer of ffn, in H")]


def _checked_seed(seed: int) -> int:
    if not 0 <= seed < 1 << 32:
        raise WingbeatError(f"--seed: {seed}; allowed are 0..{(1 << 32) - 1}")
    return seed


def seed_option(text: str) -> Any:
    """Option --seed, with ``text`` as its help."""
    return typer.Option("--seed", help=text, callback=_checked_seed)


def refuse_unused_sizes(context: typer.Context, kernels: Sequence[str]) -> None:
    """Refuse the sizes and blocks of the kernels that are not among ``kernels``."""
    if not {"bpmm", "fft"} & set(kernels):
        refuse_unused(context, "with --kernel bpmm or fft", "sizes", "blocks")
    if not {"fft2-real", "ffn", "dense", "nm", "attention"} & set(kernels):
        refuse_unused(context, "with --kernel fft2-real, ffn, dense, nm or attention", "tokens")
    if "attention" not in kernels:
        refuse_unused(context, "with --kernel attention", "heads", "features", "causal", "key_heads", "length")
    if not {"fft2-real", "ffn"} & set(kernels):
        refuse_unused(context, "with --kernel fft2-real or ffn", "hidden")
    if not {"dense", "nm"} & set(kernels):
        refuse_unused(context, "with --kernel dense or nm", "inputs", "outputs")
    if "nm" not in kernels:
        refuse_unused(context, "with --kernel nm", "pattern")
    if "ffn" not in kernels:
        refuse_unused(context, "with --kernel ffn", "expand")


def select_config(preset: str | None, config: Path | None, settings: list[str] | None) -> CoreConfig:
    """The configuration that the three options name."""
    if (preset is None) == (config is None):
        raise WingbeatError("--preset, --config: give exactly one of them")
    if preset is not None:
        return configurations.load_preset(preset, settings)
    assert config is not None
    return configurations.load_file(config, settings)


def integers(option: str, text: str) -> tuple[int, ...]:
    """Non-negative integers separated by commas."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise WingbeatError(f"{option}: {text!r} is not a list of whole numbers such as 1,2,3")
    return tuple(map(int, parts))


def print_rows(rows: list[dict[str, Any]], digits: int) -> None:
    """A table of equal dictionaries, floats with ``digits`` decimals."""
    print_table(list(rows[0]), [[f"{value:.{digits}f}" if isinstance(value, float) else value
                                 for value in row.values()] for row in rows])


def sizes_of(config: CoreConfig, text: str | None) -> tuple[int, ...]:
    """Points per row that a list names, or all from 64 up to the largest; a processor takes larger ones in stages."""
    largest = config.largest_n + config.is_processor
    if text is None:
        return tuple(1 << n for n in range(min(6, largest), largest + 1))
    most = 16 if config.is_processor else largest
    for points in integers("--sizes", text):
        if points < 2 or points & (points - 1) or points > 1 << most:
            raise WingbeatError(f"--sizes: {points}; allowed are powers of two from 2 to {1 << most}")
    return integers("--sizes", text)


def save_json(path: Path | None, value: Any) -> None:
    if path is not None:
        write_json(path, value)
