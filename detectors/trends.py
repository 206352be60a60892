"""Gradient norms that grow on and on: how, from the last readings of one series.

Shift found: `compound`, growth by the same factor with each reading, for 48 readings or more; `adding_up`, growth by
the same amount with each reading from a level that was steady: what gradients do that are never cleared.

Formula, for x_1 .. x_n, the last readings of a positive series, y = log2 x:

    compound    m_1 .. m_6 medians of 8 readings each of y: all rise;  line: their least-squares line, r its residuals;
                ratio = min((m_6 - m_1) / EFFECT, (m_6 - log2 top) / EFFECT, (m_6 - m_1) / (SPREADS max |r|))
    adding_up   ref = median of the 16 readings before the last k;  u_i = x_i / ref over the last k = 12;
                line u = 1 + c i by least squares through 1;  ratio = min(u_k / LAST, FIT / (rms residual / u_k)), if at
                least 9 of 11 steps rise and a line fits better than an exponential does, from a reference whose halves
                differ by less than 0.4 octaves, to above 1.25 times anything before

A ratio of 1 or more is an alarm.  Knobs: none.  False alarms: see tests/detectors/test_trends.py.
Sibling: the shift chart of kernel.py, which finds that a level has moved and not how.  Source: least squares.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["adding_up", "compound", "typical"]

BLOCK: Final = 8
BLOCKS: Final = 6
EFFECT: Final = 2.0
SPREADS: Final = 6.0
REFERENCE: Final = 16
ADDING: Final = 12
LAST: Final = 3.0
FIT: Final = 0.15
RISING: Final = 9
STEADY: Final = 0.4
"""log2, from one half of the reference to the other."""
BEYOND: Final = 1.25
"""Times anything in the window: what only comes back does not add up."""
SEARCHED: Final = 1.25


def compound(x: NDArray[np.float32], top: float, block: int = BLOCK) -> float:
    """The ratio for growth by a factor; x float32 [n], raw. Non-finite and not positive readings are left out.

    top: the largest median of eight readings of the series before these 48; what only comes back to it does not grow.
    block: readings of a median, where they are not eight.
    """
    return float(_compound(x, top, block))


def adding_up(x: NDArray[np.float32], newest: int = 1) -> float:
    """The ratio for growth by an amount, as `compound`: the largest up to any of the `newest` readings.

    Up to one before the last it must be SEARCHED times as much, for it is looked for in many places.
    """
    return float(_adding_up(x, newest))


def typical(x: NDArray[np.float32]) -> float:
    """The median of the readings, as `compound` takes them; 0 for none."""
    return float(_typical(x))


@njit(cache=True, error_model="numpy")
def _typical(x: Any) -> float:
    values = _positive(x)
    middle: float = np.median(values) if values.size else 0.0
    return middle


@njit(cache=True, error_model="numpy")
def _positive(x: Any) -> Any:
    values = np.empty(x.size)
    n = 0
    for i in range(x.size):
        if x[i] > 0.0 and math.isfinite(x[i]):
            values[n] = x[i]
            n += 1
    return values[:n]


@njit(cache=True, error_model="numpy")
def _compound(x: Any, top: float, size: int) -> float:
    values = _positive(x)
    if values.size < size * BLOCKS or not top > 0.0:
        return 0.0
    y = values[values.size - size * BLOCKS :]
    m = np.empty(BLOCKS)
    for block in range(BLOCKS):
        m[block] = math.log2(np.median(y[block * size : (block + 1) * size]))
        if block > 0 and m[block] <= m[block - 1]:
            return 0.0
    middle, along, across = m.mean(), 0.0, 0.0
    for block in range(BLOCKS):
        at = block - (BLOCKS - 1) / 2.0
        along += at * m[block]
        across += at * at
    worst = 0.0
    for block in range(BLOCKS):
        worst = max(worst, abs(m[block] - middle - along / across * (block - (BLOCKS - 1) / 2.0)))
    rise, beyond = m[BLOCKS - 1] - m[0], m[BLOCKS - 1] - math.log2(top)
    ratio: float = min(rise / EFFECT, beyond / EFFECT, rise / (SPREADS * worst + 1e-9))
    return ratio


@njit(cache=True, error_model="numpy")
def _adding_up(x: Any, newest: int) -> float:
    values = _positive(x)
    most = 0.0
    for late in range(min(newest, values.size)):
        most = max(most, _adds_up(values[: values.size - late]) / (SEARCHED if late else 1.0))
    return most


@njit(cache=True, error_model="numpy")
def _adds_up(values: Any) -> float:
    if values.size < REFERENCE + ADDING:
        return 0.0
    last = values[values.size - ADDING :]
    rising = 0
    for i in range(1, ADDING):
        rising += last[i] > last[i - 1]
    if rising < RISING:
        return 0.0
    before = values[values.size - REFERENCE - ADDING : values.size - ADDING]
    half = REFERENCE // 2
    if abs(math.log2(np.median(before[half:]) / np.median(before[:half]))) > STEADY:
        return 0.0
    if last[ADDING - 1] < BEYOND * np.max(values[: values.size - ADDING]):
        return 0.0
    u = last / np.median(before)
    if u[ADDING - 1] < LAST:
        return 0.0
    at = np.arange(1.0, ADDING + 1.0)
    per_step = np.sum(at * (u - 1.0)) / np.sum(at * at)
    power = np.sum(at * np.log(u)) / np.sum(at * at)
    misfit = math.sqrt(np.mean((u - 1.0 - per_step * at) ** 2)) / u[ADDING - 1]
    other = math.sqrt(np.mean((u - np.exp(power * at)) ** 2)) / u[ADDING - 1]
    return min(u[ADDING - 1] / LAST, FIT / max(misfit, 1e-9)) if misfit < other else 0.0
