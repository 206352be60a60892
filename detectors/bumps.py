"""Losses that stand far above their last readings: for logs in which one reading is many steps, and for what lasts.

Shift found: `lasting` readings in a row or more are all higher than the 16 before them, and on the whole by more than
their noise explains, than a change of the data does, and than 1.5 times anything the window has shown while healthy.

Formula, for a window of w_1 .. w_n = log2 of the readings up to the last of the bump (at most 64, of which 32 must lie
before it):

    ref    median of the 16 readings before the last k, k from `lasting` to `lasting` + late
    noise  the larger of median |w_i - w_(i-1)| / 0.954 and median |w_i - ref| / 0.6745 over those 16, at least FLOOR
    wander deviation of the medians of each 8 of the readings before, beyond what noise makes of it
    error  = (1.57 noise^2 (1/k + 1/16) + wander^2)^0.5
    tail   the largest w_i - median of the 8 before it, over the readings before the last k
    least  the smallest of the last k readings - ref;  rise = the median of the last k, or of the last `lasting` - ref
    effect = log2 of (2^ref + 0.5) / 2^ref, between EFFECT and MOST_EFFECT
    ratio  = the larger of min(least / (level noise), least / EFFECT, least / (1.5 tail))
             and, where LEAST_MEAN of the k are HALF the rise above ref or more, min(rise / (MEAN level error),
             rise / effect, rise / (1.5 lasted)) if least is above 0 and the first three high readings are SUDDEN rise
             above the three before, in their medians
    lasted the largest median of LEAST_MEAN readings in a row - median of the 8 before them, before the last k

A ratio of 1 or more is an alarm.  MEAN: of six readings with exponential tails, which the level is of, the mean
passes 3/4 of it, in its own errors, as rarely (Chernoff).  effect: data that change move a loss by half a nat.

Knobs: `level`, in deviations, from the budget (levels.py); `lasting`, in readings: 1 where a reading stands for many
steps.  False alarms: 2 in 442 public healthy runs (370,000 readings).
Sibling: the spike chart of kernel.py, whose reference is a fading mean: quicker, but a steep start stays in it.
Source: a Hampel filter, one-sided; own tails.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Bump", "bump"]

LEAST: Final = 32
REFERENCE: Final = 16
BEFORE: Final = 8
FLOOR: Final = 0.005
EFFECT: Final = 0.2
TAIL_FACTOR: Final = 1.5
LEAST_MEAN: Final = 6
HALF: Final = 0.5
EDGE: Final = 3
SUDDEN: Final = 0.7
"""Of the rise, from the three readings before to the first three of it: a loss of two players comes and goes."""
MEAN: Final = 0.75
NATS: Final = 0.5
MOST_EFFECT: Final = 0.58

Bump = tuple[float, float, float, int]
"""The ratio, the median of the last `lasting` of the bump and what was expected (in the readings' own unit), and how
many readings ago it began."""


def bump(x: NDArray[np.float32], level: float, lasting: int = 1, late: int = 0, over: int = 0) -> Bump:
    """Judge the last readings of a window x: float32 [n], raw, oldest first. Non-finite and not positive are left out.

    late: a bump may have begun up to so many readings before its last `lasting`; for a window that is not looked at
    with every reading, and for what shows only in many of them. over: nor need it last to the end, but to so many
    readings before it.
    """
    ratio, height, reference, readings = _bump(x, level, lasting, late, over)
    return float(ratio), 2.0 ** float(height), 2.0 ** float(reference), int(readings)


@njit(cache=True, error_model="numpy")
def _bump(x: Any, level: float, lasting: int, late: int, over: int) -> tuple[float, float, float, int]:
    w = np.empty(x.size)
    n = 0
    for i in range(x.size):
        if x[i] > 0.0 and math.isfinite(x[i]):
            w[n] = math.log2(x[i])
            n += 1
    best, height, expected, since = 0.0, 0.0, 0.0, lasting
    if n - lasting < LEAST or not (x[x.size - 1] > 0.0 and math.isfinite(x[x.size - 1])):
        return best, height, expected, since
    if np.max(w[max(n - lasting - over, 0) : n]) - np.min(w[:n]) < EFFECT:
        return best, height, expected, since
    for end in range(n, max(n - over, LEAST + lasting) - 1, -1):
        first = max(end - lasting - late, LEAST)
        last = np.median(w[end - lasting : end])
        if last - np.median(w[first - REFERENCE : first]) < EFFECT:
            continue
        for before in range(first, end - lasting + 1):
            ratio, reference = _judge(w[:before], w[before:end], lasting, level)
            if ratio > best:
                best, height, expected, since = ratio, last, reference, n - before
    return best, height, expected, since


@njit(cache=True, error_model="numpy")
def _judge(w: Any, high: Any, lasting: int, level: float) -> tuple[float, float]:
    """The high readings against those before."""
    n, k = w.size, high.size
    reference = np.median(w[n - REFERENCE :])
    least = np.min(high) - reference
    rise = min(np.median(high), np.median(high[k - lasting :])) - reference
    if least <= 0.0 or rise < EFFECT:
        return 0.0, reference
    steps = np.median(np.abs(w[1:] - w[:-1])) / 0.954
    spread = np.median(np.abs(w[n - REFERENCE :] - reference)) / 0.6745
    noise = max(steps, spread, FLOOR)
    tail = 0.0
    for i in range(BEFORE, n):
        tail = max(tail, w[i] - np.median(w[i - BEFORE : i]))
    ratio = min(least / (level * noise), least / EFFECT, least / (TAIL_FACTOR * tail + 1e-9))
    enough = np.sum(high >= reference + HALF * rise) >= LEAST_MEAN
    if enough and np.median(high[:EDGE]) - np.median(w[n - EDGE :]) >= SUDDEN * rise:
        effect = min(max(math.log2(1.0 + NATS * 2.0**-reference), EFFECT), MOST_EFFECT)
        error = math.sqrt(1.57 * noise**2 * (1.0 / k + 1.0 / REFERENCE) + _wander(w, noise) ** 2)
        own = TAIL_FACTOR * _lasted(w) + 1e-9
        ratio = max(ratio, min(rise / (MEAN * level * error), rise / effect, rise / own))
    return ratio, reference


@njit(cache=True, error_model="numpy")
def _lasted(w: Any) -> float:
    """The furthest that readings in a row were on the whole above those before: what a mean is held against."""
    furthest = 0.0
    for i in range(BEFORE, w.size - LEAST_MEAN + 1):
        furthest = max(furthest, np.median(w[i : i + LEAST_MEAN]) - np.median(w[i - BEFORE : i]))
    return furthest


@njit(cache=True, error_model="numpy")
def _wander(w: Any, noise: float) -> float:
    """How the medians of each eight readings move, beyond what their noise makes of it."""
    medians = np.empty(w.size // BEFORE)
    for i in range(medians.size):
        medians[i] = np.median(w[w.size - (i + 1) * BEFORE : w.size - i * BEFORE])
    return math.sqrt(max(float(np.var(medians)) - 1.57 * noise**2 / BEFORE, 0.0))
