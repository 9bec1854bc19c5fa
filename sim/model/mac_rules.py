"""What a program may ask of its MACs beyond what hardware looks at: places, kept sums, passes beside them."""

from collections.abc import Sequence

import numpy as np

from ...hw.config import CoreConfig
from ...hw.isa.instruction import Load, Mac, Mode, Pass, Softmax
from ...hw.numeric import MAC_TERMS
from .ring import input_rows

__all__ = ["check_macs", "mac_rows"]


def check_macs(config: CoreConfig, blocks: Sequence[tuple[Load, Sequence[Pass | Mac]]]) -> None:
    """Raises ValueError naming the field of the first step of a program that breaks a rule: words of the ring come and
    go, a MAC measures nothing for a pass behind it, what it merges must have been kept, and a sparse one looks for its
    inputs where a plain LOAD puts them, which nothing else does. ``blocks``: the LOAD of each and its passes."""
    steps = [step for _, passes in blocks for step in passes]
    macs = [step for step in steps if isinstance(step, Mac)]
    for mac in dict.fromkeys(macs):
        mac_rows(mac)
        if mac.inputs % mac.picks:
            raise ValueError(f"inputs: {mac.inputs} of a MAC; allowed are multiples of picks = {mac.picks}")
    _check_merges(config, macs)
    for load, passes in blocks:
        for step in passes:
            if load.plain != (isinstance(step, Mac) and step.log2_group > 0):
                raise ValueError(f"plain: {load.plain} of a LOAD; a sparse MAC, and nothing else, needs True")
    for before, step in zip([None, *steps], steps):
        if isinstance(step, Mac) or not macs:
            continue
        if step.block_float and not step.first and isinstance(before, Mac):
            raise ValueError("block_float: a PASS behind a MAC has no measure of its values; allowed is False")
        if step.mode is not Mode.PASS and step.active and step.coef_base < config.ring_words:
            raise ValueError(f"coef_base: {step.coef_base} of a PASS lies in the ring; allowed are {config.ring_words} "
                             "and more beside MACs")


def mac_rows(mac: Mac) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the banks that a MAC reads (pairs, inputs) and writes (pairs, outputs), none where it keeps its sums;
    ValueError where two results have one place, or that of an input."""
    pairs = np.arange(mac.pairs)[:, None]
    read = (pairs << mac.log2_in_stride) + np.arange(input_rows(mac))
    written = pairs << mac.log2_out_stride | np.arange(mac.outputs)
    if mac.softmax is Softmax.VALUES:
        read |= mac.out_base
    else:
        written |= mac.out_base
    if mac.keep:
        return read, written[:, :0]
    if np.unique(written).size < written.size:
        raise ValueError(f"out_base: {mac.out_base} has bits of the strides: two results of the MAC have one place")
    if np.isin(read, written).any():
        raise ValueError(f"out_base: {mac.out_base} lays results of the MAC over its inputs")
    return read, written


def _check_merges(config: CoreConfig, macs: Sequence[Mac]) -> None:
    """Whether every MAC that merges finds the sums of as many outputs and row pairs as it has and of its kind, and none
    has too many terms; ``macs`` in the order in which they run. Raises ValueError naming what is wrong."""
    kept: Mac | None = None
    kept_terms = 0
    for mac in macs:
        terms = mac.inputs * config.lanes
        if mac.merge:
            if kept is None:
                raise ValueError("merge: no MAC before has kept sums")
            if (kept.outputs, kept.pairs) != (mac.outputs, mac.pairs):
                raise ValueError(f"merge: {mac.outputs} outputs of {mac.pairs} row pairs; the sums that were kept are "
                                 f"{kept.outputs} of {kept.pairs}")
            if kept.softmax is not mac.softmax:
                raise ValueError(f"merge: softmax = {mac.softmax.name}; the sums that were kept are of "
                                 f"{kept.softmax.name}")
            terms += kept_terms
        if terms > MAC_TERMS:
            raise ValueError(f"merge: {terms} words of a sum are too many; allowed are {MAC_TERMS}")
        if mac.keep:
            kept, kept_terms = mac, terms
