"""Tables of what a network does, layer by layer and width by width."""

from ..console import percent, print_table
from ..explore.network import LayerFigures, WidthFigures, total_figures

__all__ = ["print_layers", "print_widths"]


def print_layers(layers: list[LayerFigures], name: str = "layer") -> None:
    """A row for each layer and one for all."""
    rows = [(each.layer, each.kind, each.blocks, f"{each.sqnr_db:.1f}", each.clamped, each.saturated_blocks,
             each.cycles, each.multiplier_cycles, f"{each.utilisation:.3f}")
            for each in (*layers, total_figures(layers))]
    print_table([name, "kind", "blocks", "SQNR dB", "clamped", "saturated blocks", "cycles", "multiplier cycles",
                 "utilisation"], rows)


def print_widths(widths: list[WidthFigures]) -> None:
    """A row for each element width."""
    print_table(["bits an element", "SQNR dB", "as float decides", "accuracy", "float", "clamped", "saturated blocks"],
                [(each.width, f"{each.sqnr_db:.1f}", percent(each.agreement), percent(each.accuracy),
                  percent(each.float_accuracy), each.clamped, each.saturated_blocks) for each in widths])
