"""What `make campaign` asks of tests that draw at random: how many cases, and from which seed on.

``make campaign`` draws a seed and prints it; ``SEED=... make campaign`` repeats it. Without it seeds are fixed.
It runs in parts (tests/support/campaign_run.py), each of which has WINGBEAT_CAMPAIGN_PART set.
WINGBEAT_COSIM_SEEDS is a number of cases, or a range FIRST:LAST of seeds; WINGBEAT_CAMPAIGN_SEED the first seed.
"""

import os

import pytest

from wingbeat.gen.presets.select import load_preset, names

_LARGE = 64  # multipliers; beyond it a build takes minutes
_WANTED = os.environ.get("WINGBEAT_COSIM_SEEDS", "").split(":")
IS_CAMPAIGN = bool(_WANTED[0])
IS_PART = bool(os.environ.get("WINGBEAT_CAMPAIGN_PART"))
FIRST_SEED = int(os.environ.get("WINGBEAT_CAMPAIGN_SEED", 0))


def presets(wanted=lambda config: True, later=()):
    """Names of the presets that are ``wanted``, as parameters; in the campaign alone where they are large, or those of
    ``later``."""
    configs = {name: load_preset(name) for name in names()}
    return [pytest.param(name, marks=[pytest.mark.campaign] if config.n_multipliers > _LARGE or name in later else [])
            for name, config in configs.items() if wanted(config)]


def seeds(otherwise, share=1):
    """Seeds of a test: one for every ``share`` cases of a campaign, all of a range, or ``otherwise``."""
    if not IS_CAMPAIGN:
        return otherwise
    if len(_WANTED) > 1:
        return range(int(_WANTED[0]), int(_WANTED[1]))
    return range(FIRST_SEED, FIRST_SEED + int(_WANTED[0]) // share)
