"""Networks for a board: compiled for what its core and its memory have room for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..gen.compiler.network.compile import CompiledNetwork, compile_network, default_batch
from ..gen.compiler.network.load import LoadedNetwork
from ..gen.output.network_files import random_calibration, read_calibration
from ..gen.workloads.shipped import find_network, load_dataset
from ..hw.errors import WingbeatError
from .processor import ProcessorTop
from .top import BoardTop

__all__ = ["BoardNetwork", "board_network", "carries_networks"]

_SEED = 1  # of random calibration inputs


@dataclass(frozen=True, eq=False)
class BoardNetwork:
    """``compiled`` for a board; ``inputs`` and ``labels`` of its held-out data, where it is a shipped one."""

    compiled: CompiledNetwork
    inputs: Any
    labels: np.ndarray | None


def carries_networks(board: type[BoardTop]) -> type[ProcessorTop]:
    """``board``, which has a processor. Raises WingbeatError where it has none."""
    if not issubclass(board, ProcessorTop):
        raise WingbeatError(f"board: {board.name} carries an array; allowed with --network are boards with a processor")
    return board


def board_network(board: type[ProcessorTop], name: str, checkpoint: Path | None = None,
                  calibration: Path | None = None, batch: int | None = None) -> BoardNetwork:
    """The shipped network ``name``, or that of a file NET.toml with its ``checkpoint``, calibrated with ``calibration``
    or random inputs. Without ``batch`` the largest that fits.

    Raises WingbeatError naming the option, the layer or the memory that does not fit.
    """
    loaded = find_network(name, checkpoint)
    if checkpoint is None:
        if calibration is not None:
            raise WingbeatError(f"--calibration: {str(calibration)!r}; allowed only with --checkpoint")
        task = load_dataset(name)
        return BoardNetwork(_fitted(board, loaded, task.calibration, batch), task.inputs, task.labels)
    data = read_calibration(calibration, loaded) if calibration else random_calibration(loaded, _SEED)
    return BoardNetwork(_fitted(board, loaded, data.inputs, batch), data.inputs, data.labels)


def _fitted(board: type[ProcessorTop], network: LoadedNetwork, inputs: Any, batch: int | None) -> CompiledNetwork:
    config = board.config()
    tried = batch or default_batch(network, config)
    while True:
        fault: WingbeatError | None = None
        try:
            compiled = compile_network(network, config, inputs, tried, check=False)
            if compiled.beats <= board.memory_beats:
                return compile_network(network, config, inputs, tried)  # with its warnings
            fault = WingbeatError(f"--network: {network.name} takes {compiled.beats} beats of memory with a batch of "
                                  f"{tried}; allowed on {board.name} are {board.memory_beats}")
        except WingbeatError as refused:
            fault = refused
        if batch is not None or tried == 1:
            raise fault
        tried //= 2
