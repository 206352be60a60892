"""The layout of a slab: which row of a tile holds what.

State is float32, shape (tiles, FIELDS, LANES): a tile is 16 slots wide and 16 rows high, 1 KiB, so that one
vector instruction handles a row of 8 or 16 slots.  Slot s is lane s % LANES of tile s // LANES.  A fresh slot
is all zeros.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

__all__ = ["FIELDS", "LANES", "NOT_MEASURED", "Flag", "Knob", "Row"]

LANES: Final = 16
FIELDS: Final = 16
NOT_MEASURED: Final = 0x7FC0ABCD
"""The bits of a float32 that say "not measured"; every other NaN is a measured NaN."""


class Row(IntEnum):
    """One row of state; "readings" are measured, finite ones of that slot; y is the transformed reading."""

    N = 0  # readings learned; 0 = nothing known yet
    LEVEL = 1  # reference level of y
    SLOPE = 2  # reference slope, y per reading
    SCALE = 3  # mean |innovation| of y
    TAIL = 4  # largest |z| that lasted two readings while healthy, slowly forgotten
    UP = 5  # CUSUM of whitened z, upwards
    DOWN = 6  # CUSUM of whitened z, downwards
    SHIFT_TAIL = 7  # largest CUSUM sum while healthy, slowly forgotten
    PEAK = 8  # largest CUSUM sum of the present excursion
    AGE = 9  # readings since the larger CUSUM left zero: now - AGE estimates the onset
    FAST = 10  # fast mean of y, for effects and reports
    ZERO_RUN = 11  # readings of exactly 0 in a row, of a magnitude
    LONGEST_ZERO = 12  # the longest such run that ended
    HOLD = 13  # readings since an alarm; while above 0 the reference is not learned
    PREVIOUS = 14  # z of the last reading
    ECHO = 15  # lag-1 autocorrelation of z


class Knob(IntEnum):
    """One row of a tile's constants, derived from the slots' profiles; same shape as the state."""

    LINEAR = 0  # 1 = transform is LINEAR
    LOGIT = 1  # 1 = transform is LOGIT
    OFFSET = 2  # 1 = the record's offset is subtracted
    LEVEL_RATE = 3
    SLOPE_RATE = 4
    SCALE_RATE = 5
    SLACK = 6
    SPIKE_LEVEL = 7  # design level of the spike chart, in deviations
    SHIFT_LEVEL = 8  # design level of the CUSUM, in deviations
    PER_UP = 9  # 1 / effect; 0 = upwards never alarms
    PER_DOWN = 10
    FLOOR = 11
    PRIOR = 12
    WARM = 13
    TOP_SLOPE = 14  # greatest slope allowed: 0 for a ratchet
    SPARE = 15


class Flag(IntFlag):
    """What one record's verdicts hold, over all slots of the run."""

    NONFINITE = 1  # some reading is NaN or infinite (and not "not measured")
    ALARM = 2  # some |spike| or |shift| is 1 or more
    ZERO = 4  # some magnitude was exactly 0 for long enough: see Slab.dead()
    SUSPECT = 8  # some |spike| or |shift| is 0.5 or more
    NEGATIVE = 16  # some magnitude is below 0: not judged
