"""Widths and latencies of the softmax blocks that a configuration does not decide, or that several of them share.

A leaf without Amaranth: hardware and cycle model read the same numbers.
"""

from ..config import CoreConfig
from ..numeric import LOGIT_BITS, LOGIT_FRACTION_BITS, MAC_TERMS, TOTAL_GUARD_BITS

__all__ = ["MAXIMUM_BITS", "exponential_latency", "share_bits", "total_bits", "state_cycles", "STATE_LATENCY",
           "reciprocal_latency", "DISTANCE_BITS", "LENGTH_LATENCY", "MASK_LATENCY",
           "LOGIT_LATENCY", "QUOTIENT_LATENCY", "row_lead", "words_latency", "infos_latency"]

MAXIMUM_BITS = LOGIT_BITS - LOGIT_FRACTION_BITS  # of the whole part of a logit, two's complement


DISTANCE_BITS = 18  # of a key from the limit of a row, two's complement
LENGTH_LATENCY = 3  # from the number of a length to the length
MASK_LATENCY = 2    # from a logit to whether it counts: its distance, comparisons
LOGIT_LATENCY = 7     # from a value to its logit: distance, product, sum, clamp
QUOTIENT_LATENCY = 8  # from a sum to its word: register, product, two shifts, clamp
STATE_LATENCY = 8  # from the share of a row to its maximum and total: read, difference, two operands, two shifts, sum


def state_cycles(config: CoreConfig) -> int:
    """Least cycles from a share of a row to the next one of the same row: it must stand in the table."""
    return STATE_LATENCY + 1


def share_bits(config: CoreConfig) -> int:
    """Bits of the sum of the probabilities of P keys."""
    return config.width - 1 + config.layers


def total_bits(config: CoreConfig) -> int:
    """Bits of the sum of all probabilities of a row, MAC_TERMS at most."""
    return config.width - 1 + TOTAL_GUARD_BITS + (MAC_TERMS - 1).bit_length()


def reciprocal_latency(config: CoreConfig) -> int:
    """From a total to its reciprocal: highest bit, two shifts, chord, product, difference."""
    return 1 + 2 + 1 + config.multiplier_latency + 1


def exponential_latency(config: CoreConfig) -> int:
    """From a logit to its probability: the others of its row, distance, chord, product, mantissa, two shifts, rounding.
    """
    return config.lanes + 1 + 2 + config.multiplier_latency + 1 + 3


def row_lead(config: CoreConfig) -> int:
    """How much earlier than their values totals of rows are read: their reciprocals meet them at the multiplier."""
    return config.ram_latency + reciprocal_latency(config) - 1


def _values(config: CoreConfig) -> int:
    """That a finisher makes for P outputs of a row pair of its engines."""
    return 2 * config.lanes * config.engines // config.finishers


def words_latency(config: CoreConfig, divides: bool) -> int:
    """From the cycle in which values enter the chains to that in which the last word moves."""
    return _values(config) + (QUOTIENT_LATENCY if divides else LOGIT_LATENCY + exponential_latency(config))


def infos_latency(config: CoreConfig) -> int:
    """To that in which the last info moves: the sum of a row, its state, its highest bit."""
    return words_latency(config, False) + 1 + STATE_LATENCY + 1
