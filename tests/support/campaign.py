"""What `make campaign` asks of tests that draw at random: how many cases, and from which seed on.

``make campaign`` draws a seed and prints it; ``SEED=... make campaign`` repeats it. Without it seeds are fixed.
WINGBEAT_COSIM_SEEDS is a number of cases, or a range FIRST:LAST of seeds; WINGBEAT_CAMPAIGN_SEED the first seed.
"""

import os

_WANTED = os.environ.get("WINGBEAT_COSIM_SEEDS", "").split(":")
IS_CAMPAIGN = bool(_WANTED[0])
FIRST_SEED = int(os.environ.get("WINGBEAT_CAMPAIGN_SEED", 0))


def seeds(otherwise, share=1):
    """Seeds of a test: one for every ``share`` cases of a campaign, all of a range, or ``otherwise``."""
    if not IS_CAMPAIGN:
        return otherwise
    if len(_WANTED) > 1:
        return range(int(_WANTED[0]), int(_WANTED[1]))
    return range(FIRST_SEED, FIRST_SEED + int(_WANTED[0]) // share)
