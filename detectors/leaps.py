"""Levels that leap: three readings all beyond the three before them, in one of many series or in most of them.

Shift found: a level that moves at once and stays, by more than it ever did. The charts of kernel.py hold a reading
against what a series is expected to do and against its noise; where a level wanders from reading to reading, both hide
a leap, and a dozen readings of a past are too few for either. Here nothing is asked of the past but the last readings.

Formula, of each series the last readings y (log2), as they are looked at:

    gap    = min(3 readings) - max(the 3 before) - half the wider range of both; or so downwards; 0 where they overlap
    wide_i = the largest gap by size of those that end 0 to 3 readings ago;  late_i: 1 or 2 readings ago
    own_i  = min(|late_i|, |late_i - median wide|) - explained_i     explained: what moves it by its nature, so far
    lone   = own_i / max(EFFECT, 2 second, 1.5 tail_i)   of the largest own_i
    second = the largest |wide_j - median wide| of other blocks
    common = (|median wide| - median explained) / max(EFFECT, 1.5 common tail)

A ratio of 1 or more is an alarm. A level that drifts evenly leaves no gap, however fast; tails are the largest of a
series' own past, and of all. One series is late by a reading, so that others which are reported in turns with it have
shown what all do. To be judged at every second look: late are two of them.
Knobs: none. False alarms: tests/detectors/test_leaps.py.
Sibling: kernel.py, for what moves in several readings; stray.py, for what layers that are alike do in a longer time.
Source: the gap between order statistics (Dixon 1950), of two samples of three.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .rows import FAST_RATE

__all__ = ["EFFECT", "SIDE", "Leap", "Leaps"]

SIDE: Final = 3
"""Readings on either side of a gap."""
ENDS: Final = 4
"""Of gaps: how many readings ago they may have ended."""
KEPT: Final = 2 * SIDE + ENDS - 1
EFFECT: Final = 1.15
"""log2: a factor of 2.2; healthy updates leap by up to two."""
GAP: Final = 2.0
TAIL_FACTOR: Final = 1.5
TAIL_KEPT: Final = 0.997
LEAST: Final = 3
"""Series; of fewer, none is alone."""
KNOWN_SHARE: Final = 0.7


class Leap(NamedTuple):
    """The series that leapt, -1: most of them; by how much (log2, signed); the level now; and the ratio."""

    series: int
    by: float
    level: float
    ratio: float


class Leaps:
    """n series; state: their last KEPT levels float16 [KEPT, n], oldest first; tails float16 [n + 1], the last of all;
    marks float32 [n], the fast means of the last look.
    """

    __slots__ = ("_levels", "_marks", "_tails")

    def __init__(self, series: int) -> None:
        self._levels = np.full((KEPT, series), np.nan, np.float16)
        self._tails = np.zeros(series + 1, np.float16)
        self._marks = np.full(series, np.nan, np.float32)

    def __len__(self) -> int:
        return int(self._marks.size)

    def take(self, levels: NDArray[np.float32], fast: NDArray[np.float32], readings: int = 1) -> None:
        """A look: the newest levels, float32 [n], log2, and their fast means, float32 [n], that tell of a new reading.

        Where only the mean is known (levels NaN), the level is what so many readings at it make of the mean before.
        """
        new = np.flatnonzero(np.isfinite(fast) & (fast != self._marks))
        level, before = levels[new], self._marks[new]
        kept = np.float32((1.0 - FAST_RATE) ** readings)
        met = np.where(np.isfinite(before), (fast[new] - kept * before) / (np.float32(1.0) - kept), fast[new])
        self._levels[:-1, new] = self._levels[1:, new]
        self._levels[-1, new] = np.where(np.isfinite(level), level, met)
        self._marks[new] = fast[new]

    def gaps(self) -> NDArray[np.float32]:
        """`late` and `wide` of each series, signed: float32 [2, n], NaN where too few levels are known."""
        gaps = np.empty((2, len(self)), np.float32)
        _gaps(self._levels.astype(np.float32), gaps)
        return gaps

    def judge(
        self,
        gaps: NDArray[np.float32],
        explained: NDArray[np.float32],
        blocks: NDArray[np.int32],
        care: float = 1.0,
    ) -> list[Leap]:
        """What leapt; learns the tails. gaps: as of `gaps`.  explained: float32 [n], signed, in log2.

        blocks: int32 [n], equal for layers of one block.  care: what every ratio is divided by.
        """
        late, wide = gaps
        known = np.isfinite(late)
        count = int(np.count_nonzero(known))
        if count < KNOWN_SHARE * len(self) or count < LEAST - 1:
            return []
        tails = self._tails.astype(np.float32)
        middle, of_all = float(np.median(wide[known])), float(np.median(explained[known]))
        level = self._levels[-1].astype(np.float32)
        found = []
        common = max(0.0, abs(middle) - max(0.0, math.copysign(of_all, of_all * middle)))
        ratio = common / max(EFFECT, TAIL_FACTOR * float(tails[-1])) / care
        if ratio >= 1.0:
            found.append(Leap(-1, middle, float(np.median(level[known])), ratio))
        own, second, best = _apart(gaps, explained, blocks, middle)
        if count >= LEAST:
            needed = max(EFFECT, GAP * second, TAIL_FACTOR * float(tails[best]))
            ratio = float(own[best]) / needed / care
            if ratio >= 1.0:
                found.append(Leap(best, float(late[best]), float(level[best]), ratio))
        seen = np.append(own, np.float32(common))
        self._tails[:] = np.maximum(tails * np.float32(TAIL_KEPT), np.where(seen < EFFECT, seen, 0.0))
        return found

    def restart(self) -> None:
        """The run repeats steps: levels are others; tails are kept."""
        self._levels[:] = np.nan
        self._marks[:] = np.nan

    def dump(self) -> bytes:
        """The state: 24 bytes a series and 2."""
        return self._marks.tobytes() + self._levels.tobytes() + self._tails.tobytes()

    @classmethod
    def load(cls, state: bytes) -> Leaps:
        """Continue as the dumped one; ValueError if the bytes are no state of it."""
        series, rest = divmod(len(state) - 2, 4 + 2 * KEPT + 2)
        if series < 0 or rest:
            raise ValueError(
                f"a state of leaps has 2 bytes and a multiple of 24, got {len(state)}; was it cut?"
            )
        chart = cls(series)
        chart._marks[:] = np.frombuffer(state, np.float32, series)
        chart._levels[:] = np.frombuffer(state, np.float16, KEPT * series, 4 * series).reshape(KEPT, series)
        chart._tails[:] = np.frombuffer(state, np.float16, series + 1, (4 + 2 * KEPT) * series)
        return chart


def _apart(
    gaps: NDArray[np.float32], explained: NDArray[np.float32], blocks: NDArray[np.int32], middle: float
) -> tuple[NDArray[np.float32], float, int]:
    """How far each series leapt apart from all, unexplained: float32 [n]; how far the second block; whose is most."""
    late, wide = np.nan_to_num(gaps - np.float32(middle))
    far = np.minimum(np.abs(late), np.abs(np.nan_to_num(gaps[0])))
    own = np.maximum(far - np.maximum(explained * np.sign(late), 0.0), 0.0)
    best = int(np.argmax(own))
    return own, float(np.abs(wide[blocks != blocks[best]]).max(initial=0.0)), best


@njit(cache=True, error_model="numpy")
def _gaps(levels: Any, gaps: Any) -> None:
    kept = levels.shape[0]
    for i in range(gaps.shape[1]):
        gaps[:, i] = np.nan
        for ago in range(ENDS):
            end = kept - ago
            if np.isnan(levels[end - 2 * SIDE, i]):
                break
            low = high = levels[end - 1, i]
            below = above = levels[end - SIDE - 1, i]
            for back in range(2, SIDE + 1):
                after, before = levels[end - back, i], levels[end - SIDE - back, i]
                low, high = min(low, after), max(high, after)
                below, above = min(below, before), max(above, before)
            drift = np.float32(0.5) * max(high - low, above - below)
            gap = max(low - above - drift, np.float32(0.0)) - max(below - high - drift, np.float32(0.0))
            if not abs(gaps[1, i]) >= abs(gap):
                gaps[1, i] = gap
            if 1 <= ago <= 2 and not abs(gaps[0, i]) >= abs(gap):
                gaps[0, i] = gap
