"""Gradient norms that grow on and on: how, from the last readings of one series.

Shift found: `compound`, growth by the same factor with each reading, for 48 readings or more; `adding_up`, growth by
the same amount with each reading from a level that was steady: what gradients do that are never cleared.

Formula, for x_1 .. x_n, the last readings of a positive series, y = log2 x:

    compound    m_1 .. m_6 medians of 8 readings each of y: all rise;  line: their least-squares line, r its residuals;
                ratio = min((m_6 - m_1) / EFFECT, (m_6 - log2 top) / EFFECT, (m_6 - m_1) / (SPREADS max |r|))
    adding_up   ref = median of the 16 readings before the last k;  u_i = x_i / ref over the last k = 12;
                line u = 1 + c i by least squares through 1;  ratio = min(u_k / LAST, FIT / (rms residual / u_k)), if at
                least 9 of 11 steps rise and a line fits better than an exponential does

A ratio of 1 or more is an alarm.  Knobs: none.  False alarms: see tests/detectors/test_trends.py.
Sibling: the shift chart of kernel.py, which finds that a level has moved and not how.  Source: least squares.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["adding_up", "compound"]

BLOCK: Final = 8
BLOCKS: Final = 6
EFFECT: Final = 2.0
SPREADS: Final = 6.0
REFERENCE: Final = 16
ADDING: Final = 12
LAST: Final = 3.0
FIT: Final = 0.15
RISING: Final = 9


def compound(x: NDArray[np.float32], top: float) -> float:
    """The ratio for growth by a factor; x float32 [n], raw. Non-finite and not positive readings are left out.

    top: the largest median of eight readings of the series before these 48; what only comes back to it does not grow.
    """
    y = np.log2(_positive(x))[-BLOCK * BLOCKS :]
    if len(y) < BLOCK * BLOCKS or not top > 0:
        return 0.0
    medians = np.median(y.reshape(BLOCKS, BLOCK), axis=1)
    if np.any(np.diff(medians) <= 0):
        return 0.0
    at = np.arange(BLOCKS) - (BLOCKS - 1) / 2
    slope = float(at @ medians / (at @ at))
    residuals = medians - medians.mean() - slope * at
    rise = float(medians[-1] - medians[0])
    beyond = float(medians[-1]) - math.log2(top)
    return min(rise / EFFECT, beyond / EFFECT, rise / (SPREADS * float(np.abs(residuals).max()) + 1e-9))


def adding_up(x: NDArray[np.float32]) -> float:
    """The ratio for growth by an amount, as `compound`."""
    values = _positive(x)
    if len(values) < REFERENCE + ADDING:
        return 0.0
    u = values[-ADDING:] / np.median(values[-REFERENCE - ADDING : -ADDING])
    if np.count_nonzero(np.diff(u) > 0) < RISING or u[-1] < LAST:
        return 0.0
    at = np.arange(1.0, ADDING + 1)
    line = 1 + at * float(at @ (u - 1) / (at @ at))
    power = float(at @ np.log(u) / (at @ at))
    misfit = float(np.sqrt(np.mean((u - line) ** 2))) / float(u[-1])
    other = float(np.sqrt(np.mean((u - np.exp(power * at)) ** 2))) / float(u[-1])
    return min(float(u[-1]) / LAST, FIT / max(misfit, 1e-9)) if misfit < other else 0.0


def _positive(x: NDArray[np.float32]) -> NDArray[np.float64]:
    return x[np.isfinite(x) & (x > 0)].astype(np.float64)
