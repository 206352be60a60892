"""Losses that rise slowly: 100 to 1,000 readings, far below any spike chart; the case published guards miss.

Shift found: a level that goes up block after block, by 9 % or, of losses above 2.3, by 0.2 or more (positive losses),
or about 4 of the steps between readings (signed ones), while it is above the best level seen.  A level that moves once
and stays, by whatever height, is no climb: data mixes and schedules do that.

Formula, per series, at three scales (blocks of 8, 32 and 128 readings), at the end of each block:

    m_1 .. m_8  means of the last 8 blocks of y = log2 x (of x itself once the series has been below 0)
    d_i         = m_(i+1) - m_i,  7 steps, of which at least 5 rise
    rise        = m_8 - m_1 - max(0, d_i, d_i + d_(i+1))       without the largest jump, wherever it fell
    noise       = running mean of |d_(i+1) - d_i|, learned as it leaves the ring: a steady trend is no noise
    ascent      = m_8 - best - the largest jump over one or two blocks since the best (which is slowly forgotten)
    raw         = min(rise / (2.1 noise sqrt 7), rise / effect, (m_8 - best) / effect)
                  or, where that is more, min(ascent / (4.2 noise), ascent / effect)
    ratio       = gain raw / max(1, 1.5 tail) / evidence        |ratio| >= 1 is an alarm; held until the next block

with effect = log2 of (2^m_8 + NATS) / 2^m_8, between LEAST_EFFECT and 0.12, or 3 times the mean |x_t - x_(t-1)| of
signed ones; tail is the largest raw of the excursions that ended, slowly forgotten.  The first verdict falls at the end
of the 14th block of a scale.

Knobs: `evidence` (2.0 asks for twice the rise); `gain`, from the budget (levels.py;
1 at the default).  False alarms: 0 in 12 million readings of healthy simulated losses
that fall, jump at data mixes, echo (0.9) or have heavy tails; 750 per million on a loss that walks at random by 2 % a
reading.  Delay for a climb by a factor of two over 100 / 300 / 1,000 readings, in a loss with 5 % noise: about 43 /
107 / 259; with 20 % noise half of the quick ones are missed, and the others take 227 / 675.
Sibling: the `shift` chart of kernel.py, quicker for anything larger than the noise of single readings.
Source: reversed runs of block means; the idea of Mann-Kendall's trend test with a jump taken out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BLOCKS", "RING", "Climb"]

BLOCKS: Final = (8, 32, 128)
"""Readings in a block, per scale; each a multiple of the one before."""
RING: Final = 8
RISING: Final = 5
OLDER: Final = 12
"""Bends learned before the first verdict: the 6 of the first ring, and 6 blocks more."""
LEVEL: Final = 2.1
ASCENT_LEVEL: Final = 4.2
ASCENT_BLOCKS: Final = 4
BEST_FORGOTTEN: Final = 0.02
EFFECT_LOG2: Final = 0.12
NATS: Final = 0.2
"""Of a cross-entropy, which is much however high the loss still is."""
LEAST_EFFECT: Final = 0.03
EFFECT_DEVIATIONS: Final = 3.0
TAIL_FACTOR: Final = 1.5
TAIL_BOUND: Final = 2.0
TAIL_KEPT: Final = 0.995
NOISE_RATE: Final = 1.0 / 32.0
NOISE_CLIP: Final = 4.0
ROUGH_RATE: Final = 0.01

# one series' state, float64: four numbers, then 20 for each scale
_SIGNED, _PREVIOUS, _ROUGH, _SEEN, _HEAD = 0, 1, 2, 3, 4
_COUNT, _SUM, _FILLED, _NOISE, _LEARNED, _BEST, _PEAK, _TAIL, _RAW, _SINCE, _JUMP, _AGO, _MEANS = range(13)
_SPAN = _MEANS + RING
_WIDTH = _HEAD + len(BLOCKS) * _SPAN
_PARTS = (8, 4, 4)  # readings, then blocks of the scale below, in a block
_SPREAD = LEVEL * math.sqrt(RING - 1.0)


class Climb:
    """The climb chart of a handful of losses: float64 state [series, 64].

    since: int64 [series], readings since the lowest block of the window that speaks loudest.
    ratio: float64 [series], the last reading's, to the alarm level.  due: whether the next reading may give a verdict,
    as the end of a block, or as one of a climb that goes on.  All are scratch.
    """

    def __init__(self, series: int) -> None:
        self.gain = 1.0
        self._state = np.zeros((series, _WIDTH))
        self._x = np.zeros(series, np.float32)
        self.since = np.zeros(series, np.int64)
        self.ratio = np.zeros(series)
        self.due = True

    def alarms(self, x: Sequence[float] | NDArray[np.float32], evidence: float = 1.0) -> bool:
        """Judge one reading per series, then learn it; whether any ratio is 1 or more.

        x: float32 [series], raw.  NaN (measured or not) and infinities change nothing; an exact 0 is left out.
        """
        self._x[:] = x
        found: bool
        found, self.due = _judge(self._state, self._x, self.ratio, self.since, evidence, self.gain)
        return found

    def calm(self, x: Sequence[float] | NDArray[np.float32], evidence: float = 1.0) -> bool:
        """Learn a reading as `alarms` does, unless it finds something: then nothing has happened, and it is False."""
        before = self._state.copy() if self.due else None
        if not self.alarms(x, evidence) or before is None:  # what is not due finds nothing
            return True
        self._state[:] = before
        self.due = True
        return False

    def expected(self, series: int) -> float:
        """The lowest block of the finest scale so far, in the series' own unit: what the loss climbs away from."""
        row = self._state[series]
        best = float(row[_HEAD + _BEST])
        return best if row[_SIGNED] > 0.0 else 2.0 ** min(best, 1000.0)

    def height(self, series: int) -> float:
        """How far the finest scale's last block is above its lowest so far, in log2; of signed ones, in their unit."""
        row = self._state[series]
        return float(row[_HEAD + _MEANS + RING - 1] - row[_HEAD + _BEST])

    def restart(self) -> None:
        """The run repeats steps: blocks begin anew; scales, signs and tails are kept."""
        for scale in range(len(BLOCKS)):
            at = _HEAD + scale * _SPAN
            for field in (_COUNT, _SUM, _FILLED, _PEAK, _RAW, _SINCE):
                self._state[:, at + field] = 0.0

    def dump(self) -> bytes:
        """The state; the number of series is its length, the gain is not in it."""
        return self._state.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Climb:
        """A chart that continues exactly as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) % (_WIDTH * 8):
            raise ValueError(
                f"a climb state has a multiple of {_WIDTH * 8} bytes, got {len(state)}; was it cut?"
            )
        chart = cls(len(state) // (_WIDTH * 8))
        chart._state[:] = np.frombuffer(state).reshape(-1, _WIDTH)
        return chart


@njit(cache=True, error_model="numpy")
def _judge(state: Any, x: Any, ratio: Any, since: Any, evidence: float, gain: float) -> tuple[bool, bool]:
    found, due = False, False
    for s in range(x.size):
        _learn(state[s], np.float64(x[s]))
        since[s] = 0
        ratio[s] = 0.0
        for scale in range(len(BLOCKS)):
            at = _HEAD + scale * _SPAN
            tail = TAIL_FACTOR * state[s, at + _TAIL]
            value = gain * state[s, at + _RAW] / (tail if tail > 1.0 else 1.0)
            if value > ratio[s]:
                ratio[s] = value
                since[s] = int(state[s, at + _SINCE])
        due |= ratio[s] >= 1.0 or state[s, _HEAD + _COUNT] >= _PARTS[0] - 1.0
        ratio[s] /= evidence
        found |= ratio[s] >= 1.0
    return found, due


@njit(cache=True, error_model="numpy")
def _learn(row: Any, x: float) -> None:
    """One reading of one series into its blocks."""
    if not math.isfinite(x):
        return
    if x < 0.0 and row[_SIGNED] == 0.0:
        row[:] = 0.0
        row[_SIGNED] = 1.0
    if x == 0.0 and row[_SIGNED] == 0.0:
        return
    y = x if row[_SIGNED] > 0.0 else math.log2(x)
    if row[_SEEN] > 0.0:
        gain = max(ROUGH_RATE, 1.0 / row[_SEEN])
        row[_ROUGH] += gain * (abs(y - row[_PREVIOUS]) - row[_ROUGH])
    row[_SEEN] += 1.0
    row[_PREVIOUS] = y
    for scale in range(len(BLOCKS)):
        at = _HEAD + scale * _SPAN
        row[at + _COUNT] += 1.0
        row[at + _SUM] += y
        if row[at + _COUNT] < _PARTS[scale]:
            return
        y = row[at + _SUM] / _PARTS[scale]
        row[at + _COUNT] = 0.0
        row[at + _SUM] = 0.0
        effect = EFFECT_DEVIATIONS * row[_ROUGH]
        if row[_SIGNED] == 0.0:
            effect = min(max(math.log2(1.0 + NATS * 2.0 ** -max(y, -60.0)), LEAST_EFFECT), EFFECT_LOG2)
        _push(row[at : at + _SPAN], y, effect, BLOCKS[scale])


@njit(cache=True, error_model="numpy")
def _push(chart: Any, mean: float, effect: float, readings: int) -> None:
    """A finished block of one scale: judge the ring, then learn what leaves it."""
    for i in range(RING - 1):
        chart[_MEANS + i] = chart[_MEANS + i + 1]
    chart[_MEANS + RING - 1] = mean
    _look_back(chart, mean)
    if chart[_FILLED] < RING:
        chart[_FILLED] += 1.0
    if chart[_FILLED] < RING:
        return
    rise, rising, lowest = _rise(chart[_MEANS:])
    _learn_noise(chart)
    raw = min(rise / (_SPREAD * chart[_NOISE] + 1e-300), rise / (effect + 1e-300))
    raw = min(raw, (mean - chart[_BEST]) / (effect + 1e-300))
    if rising < RISING or raw < 0.0:
        raw = 0.0
    since = float(RING - lowest)
    ascent = mean - chart[_BEST] - chart[_JUMP]
    ascent = min(ascent / (ASCENT_LEVEL * chart[_NOISE] + 1e-300), ascent / (effect + 1e-300))
    if ascent > raw and chart[_AGO] >= ASCENT_BLOCKS:
        raw = ascent
        since = chart[_AGO]
    if chart[_LEARNED] < OLDER:
        raw = 0.0
    chart[_RAW] = raw
    chart[_SINCE] = since * readings
    if raw > 0.0:
        chart[_PEAK] = max(chart[_PEAK], raw)
    else:
        chart[_TAIL] = max(chart[_TAIL] * TAIL_KEPT, min(chart[_PEAK], TAIL_BOUND))
        chart[_PEAK] = 0.0


@njit(cache=True, error_model="numpy")
def _look_back(chart: Any, mean: float) -> None:
    """The best block, slowly forgotten, how many blocks ago it was, and the largest jump since."""
    if chart[_FILLED] == 0.0 or mean < chart[_BEST]:
        chart[_BEST] = mean
        chart[_JUMP] = 0.0
        chart[_AGO] = 0.0
        return
    chart[_AGO] += 1.0
    chart[_BEST] += BEST_FORGOTTEN * (mean - chart[_BEST])
    jump = mean - chart[_MEANS + RING - 2]
    if chart[_AGO] >= 2.0:
        jump = max(jump, mean - chart[_MEANS + RING - 3])
    chart[_JUMP] = max(chart[_JUMP] * (1.0 - BEST_FORGOTTEN), jump)


@njit(cache=True, error_model="numpy")
def _rise(means: Any) -> tuple[float, int, int]:
    """Rise over the ring without its largest jump, how many steps rise, which block is the lowest."""
    jump, rising, lowest = 0.0, 0, 0
    for i in range(RING - 1):
        step = means[i + 1] - means[i]
        rising += step > 0.0
        jump = max(jump, step)
        if i + 2 < RING:
            jump = max(jump, means[i + 2] - means[i])
        if means[i + 1] < means[lowest]:
            lowest = i + 1
    return means[RING - 1] - means[0] - jump, rising, lowest


@njit(cache=True, error_model="numpy")
def _learn_noise(chart: Any) -> None:
    """The bend between the ring's oldest steps; at first, of all its steps."""
    bends = RING - 2 if chart[_LEARNED] == 0.0 else 1
    for i in range(bends):
        bend = abs(chart[_MEANS + i + 2] - 2.0 * chart[_MEANS + i + 1] + chart[_MEANS + i])
        if chart[_LEARNED] >= RING - 2:
            bend = min(bend, NOISE_CLIP * chart[_NOISE])
        chart[_LEARNED] += 1.0
        chart[_NOISE] += max(NOISE_RATE, 1.0 / chart[_LEARNED]) * (bend - chart[_NOISE])
