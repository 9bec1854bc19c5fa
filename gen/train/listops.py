"""Train the ListOps networks: ``python -m wingbeat.gen.train.listops -o FOLDER``.

The expressions are those of ``gen/workloads/listops.py``. ``listops`` mixes by Fourier transforms alone;
``listops_attention`` has softmax attention in its last block. With ``--matrices dense`` the network has softmax
attention in every block and dense matrices everywhere: ``listops_dense``, which is the baseline of both. The held-out
expressions are looked at once, at the end; ``--validate`` scores a fifth of the training part, which is how the
settings were chosen.
"""

import torch

from ..workloads.listops import CLASSES, TOKENS, VOCABULARY, load_split
from .network import Description, fabnet, with_linear
from .task import Task, run_task
from .training import Data, Settings

__all__ = ["DESCRIPTIONS", "DENSE", "SETTINGS", "load_task", "main"]

_INPUT = {"tokens": TOKENS, "vocabulary": len(VOCABULARY)}


def _described(name: str, *mixers: str) -> Description:
    return fabnet(name, _INPUT, hidden=64, expansion=2, mixers=mixers, classes=CLASSES, pooling="mean")


DESCRIPTIONS = (_described("listops", *["mixing"] * 3),
                _described("listops_attention", "mixing", "mixing", "attention"))
DENSE = with_linear(_described("listops", *["attention"] * 3))
# At 8 bits these networks lose what they know, so they are tuned for 12.
SETTINGS = Settings(epochs=6, batch=128, learning_rate=1e-2, dropout=0.0, label_smoothing=0.0, weight_decay=1e-2,
                    averaging=0.999, tuning_epochs=1, tuning_width=12)


def load_task() -> Task:
    """120,000 expressions to train with, 2,000 held out."""
    split = load_split()
    return Task(
        networks=DESCRIPTIONS, dense=DENSE,
        training=Data(torch.tensor(split.train_tokens), torch.tensor(split.train_labels)),
        held=Data(torch.tensor(split.held_tokens), torch.tensor(split.held_labels)),
        split={"data": "listops, generated", "training_inputs": len(split.train_labels),
               "held_out_inputs": len(split.held_labels), "held_out_sha256": split.fingerprint},
        guesses={"majority class": split.majority, "best guess from the root operator": split.root_operator})


def main(arguments: list[str] | None = None) -> None:
    """Train, score once on the held-out expressions, print the table, write the files."""
    run_task("ListOps", load_task, SETTINGS, arguments)


if __name__ == "__main__":
    main()
