"""A loss that no longer falls: flat over nearly all of its run, or never below where it began.

Shift found: `long`, the loss has been level for 63 of 64 parts of the run's steps; `start`, it has not fallen since
its first readings.  A healthy loss keeps falling with the logarithm of the steps, however slowly.

Formula, for one loss, y = log2 x, t = the step + 1, in bins of half an octave of t:

    early   mean of y over the bins from t/64 to t/16        late   mean of y over those from t/4 to t
    noise   mean |y_i - y_(i-1)| / 1.128, clipped and slowly forgotten
    error   noise sqrt(1/n_early + 1/n_late)
    drop    = early - late
    long    = TOLERANCE / (drop + Z error)       while |drop| is below 2 TOLERANCE, from 96 readings and 4,096 steps on
    start   = START_TOLERANCE / (begun - late + Z error)  from 200 readings and steps on; begun: the bins to t/16 that
              are known, while no bin's mean is further from the first 8 readings than START_SPAN
    unfallen = START_TOLERANCE / (first - late - Z error)  likewise, from 96 readings and steps on: as far as is known;
              first: the first 8 readings

so a ratio of 1 or more says, with Z standard errors to spare, that the loss fell by less than 5 % (start: 2 %).
A noisy loss is never called flat before its mean is known well enough; `unfallen` says only that nothing is known of
a fall, for a run of which it is known otherwise that it stands still.

Knobs: `z`, standard errors asked for; more of it: later and surer.  False alarms: none in 442 public healthy runs at
twice the tolerance; a run that goes on for 64 times as long as it took to converge is reported, as it should be.
Sibling: climb.py for a loss that rises.  Source: equivalence testing (two one-sided tests); log-time bins.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Flat"]

TOLERANCE: Final = 0.07
START_TOLERANCE: Final = 0.03
START_READINGS: Final = 200
START_SPAN: Final = 0.15
"""log2: a loss that was ever further from its first readings has moved, and come back."""
START_STEPS: Final = 100.0
"""A run whose first reading is of a later step goes on with what another has learned."""
LONG_READINGS: Final = 96
LEAST_EARLY: Final = 4.0
LONG_KEY: Final = 24.0
"""4,096 steps: what is early then is past the first 64."""
START_KEY: Final = 15.0
UNFALLEN_KEY: Final = 13.0
"""181 steps, and 91."""
FIRST: Final = 8.0
Z: Final = 3.0
_RING: Final = 16
_NOISE_RATE: Final = 1.0 / 64.0
_CLIP: Final = 4.0
_SEEN, _ORIGIN, _PREVIOUS, _NOISE, _FIRST_SUM, _OUT, _NEWEST, _HEAD = range(8)
_KEY, _COUNT, _SUM = range(3)
_WIDTH = _HEAD + 3 * _RING


class Flat:
    """One loss; float64 state [55]. `long`, `start` and `unfallen` are the ratios of the last take()."""

    def __init__(self) -> None:
        self._state = np.zeros(_WIDTH)
        self._ratios = np.zeros(3)

    def take(
        self, x: NDArray[np.float32], steps: NDArray[np.float64], z: float = Z
    ) -> tuple[float, float, float]:
        """Learn readings x (float32 [n], raw) at `steps` (float64 [n]); the ratios `long`, `start` and `unfallen`.

        What is not finite and above 0 changes nothing, but for the first value below 0: then it is no magnitude, and
        there is no verdict any more.
        """
        _take(self._state, x, steps, z, self._ratios)
        long, start, unfallen = self._ratios.tolist()
        return long, start, unfallen

    @property
    def first(self) -> float:
        """The mean of log2 x over the first readings of a run seen from its start; infinite where there are none."""
        state = self._state
        if state[_SEEN] < FIRST or state[_OUT] > 0.0 or state[_ORIGIN] > START_STEPS:
            return math.inf
        return float(state[_FIRST_SUM]) / FIRST

    def since(self, start: bool) -> float:
        """The step since which the loss is flat, for the one ratio or the other."""
        origin, newest = float(self._state[_ORIGIN]), float(self._state[_NEWEST])
        return origin if start else max(origin, newest / 64.0)

    def level_at(self, step: float) -> float:
        """The mean of log2 x over the bin that `step` fell into; -inf where nothing is known of it any more."""
        key = math.floor(2.0 * math.log2(max(step, 0.0) + 1.0))
        at = _HEAD + 3 * (key % _RING)
        bin_key, count, total = self._state[at : at + 3].tolist()
        return total / count if count and bin_key == key else -math.inf

    def restart(self) -> None:
        """Steps are repeated, by a run that starts over: only the reading before is no neighbour any more."""
        if self._state[_SEEN] > 0.0:  # one that knows nothing is not saved, and is to be what it was
            self._state[_PREVIOUS] = math.nan

    def dump(self) -> bytes:
        """The state."""
        return self._state.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Flat:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        if len(state) != _WIDTH * 8:
            raise ValueError(f"a flatness state has {_WIDTH * 8} bytes, got {len(state)}; was it cut?")
        chart = cls()
        chart._state[:] = np.frombuffer(state)
        return chart


@njit(cache=True, error_model="numpy")
def _take(state: Any, x: Any, steps: Any, z: float, ratios: Any) -> None:
    for i in range(x.size):
        _learn(state, np.float64(x[i]), steps[i])
    ratios[:] = 0.0
    if state[_OUT] > 0.0 or state[_SEEN] < LONG_READINGS:
        return
    newest = -1.0
    for at in range(_HEAD, _WIDTH, 3):
        if state[at + _COUNT] > 0.0:
            newest = max(newest, state[at + _KEY])
    early, n_early, late, n_late, begun, n_begun = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for at in range(_HEAD, _WIDTH, 3):
        age = newest - state[at + _KEY]
        if state[at + _COUNT] == 0.0 or age >= _RING:
            continue
        if age >= 9.0:
            begun += state[at + _SUM]
            n_begun += state[at + _COUNT]
        if age > 12.0:
            continue
        if age >= 9.0:
            early += state[at + _SUM]
            n_early += state[at + _COUNT]
        elif age <= 4.0:
            late += state[at + _SUM]
            n_late += state[at + _COUNT]
    noise = state[_NOISE] / 1.128
    mean = late / n_late
    if n_early >= LEAST_EARLY and newest >= LONG_KEY:
        drop = early / n_early - mean
        error = z * noise * math.sqrt(1.0 / n_early + 1.0 / n_late)
        if drop > -2.0 * TOLERANCE:
            ratios[0] = TOLERANCE / max(drop + error, 1e-3)
    if newest >= UNFALLEN_KEY and state[_ORIGIN] <= START_STEPS and _stayed(state, newest):
        error = z * noise * math.sqrt(1.0 / FIRST + 1.0 / n_late)
        drop = state[_FIRST_SUM] / FIRST - mean
        ratios[2] = START_TOLERANCE / max(drop - error, 1e-3)
        if state[_SEEN] >= START_READINGS and newest >= START_KEY and n_begun >= LEAST_EARLY:
            error = z * noise * math.sqrt(1.0 / n_begun + 1.0 / n_late)
            ratios[1] = START_TOLERANCE / max(begun / n_begun - mean + error, 1e-3)


@njit(cache=True, error_model="numpy")
def _stayed(state: Any, newest: float) -> bool:
    """Whether the mean of each bin that is still known is about what the first readings were."""
    for at in range(_HEAD, _WIDTH, 3):
        if state[at + _COUNT] >= FIRST and state[at + _KEY] > newest - _RING:
            mean = state[at + _SUM] / state[at + _COUNT]
            if abs(mean - state[_FIRST_SUM] / FIRST) > START_SPAN:
                return False
    return True


@njit(cache=True, error_model="numpy")
def _learn(state: Any, x: float, step: float) -> None:
    if not math.isfinite(x) or x == 0.0:
        return
    if x < 0.0:
        state[_OUT] = 1.0
        return
    y = math.log2(x)
    if state[_SEEN] == 0.0:
        state[_ORIGIN] = step
        state[_PREVIOUS] = y
    elif math.isfinite(state[_PREVIOUS]):
        change = abs(y - state[_PREVIOUS])
        if state[_SEEN] > FIRST:
            change = min(change, _CLIP * state[_NOISE])
        state[_NOISE] += max(_NOISE_RATE, 1.0 / state[_SEEN]) * (change - state[_NOISE])
    state[_PREVIOUS] = y
    if state[_SEEN] < FIRST:
        state[_FIRST_SUM] += y
    state[_SEEN] += 1.0
    state[_NEWEST] = step
    t = step - min(state[_ORIGIN], 0.0) + 1.0
    if t < 1.0:
        return
    key = math.floor(2.0 * math.log2(t))
    at = _HEAD + 3 * (int(key) % _RING)
    if state[at + _COUNT] == 0.0 or state[at + _KEY] < key:
        state[at + _KEY] = key
        state[at + _COUNT] = 0.0
        state[at + _SUM] = 0.0
    if state[at + _KEY] == key:
        state[at + _COUNT] += 1.0
        state[at + _SUM] += y
