"""The layout of a slab: which row of a tile holds what.

State is float32, shape (tiles, FIELDS, LANES): a tile is 16 slots wide and 16 rows high, 1 KiB, so that one
vector instruction handles a row of 8 or 16 slots.  Slot s is lane s % LANES of tile s // LANES.  A fresh slot
is all zeros.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

__all__ = [
    "CLIP", "DEVIATION", "EARLY", "EARLY_CLIP", "FAST_RATE", "FIELDS", "LANES", "NOT_MEASURED", "PAD_ROWS",
    "SCALE_CLIP", "SUSPECT", "SUSPECTED_FROM", "Z_BOUND", "Flag", "Knob", "Row",
]  # fmt: skip

LANES: Final = 16
FIELDS: Final = 16
FAST_RATE: Final = 0.2
"""Share of a reading in `Row.FAST`."""
DEVIATION: Final = 1.2533141
"""Standard deviation of a normal whose mean |x| is 1: what makes deviations of `Row.SCALE`."""
Z_BOUND: Final = 64.0
CLIP: Final = 4.0
"""Deviations of a reading that the level learns from, at the most."""
SCALE_CLIP: Final = 2.5
EARLY_CLIP: Final = 4.0
"""The same of the scale; and in the first EARLY readings."""
EARLY: Final = 20.0
SUSPECT: Final = 0.25
"""Of the shift chart's level: from there on nothing is learned, but in the first SUSPECTED_FROM readings."""
SUSPECTED_FROM: Final = 12.0
PAD_ROWS: Final = 5
"""Of 16 numbers each, in which a tile is judged: the record, z, spike, shift, small."""
NOT_MEASURED: Final = 0x7FC0ABCD
"""The bits of a float32 that say "not measured"; every other NaN is a measured NaN."""


class Row(IntEnum):
    """One row of state; "readings" are measured, finite ones of that slot; y is the transformed reading."""

    N = 0  # readings learned; 0 = nothing known yet
    LEVEL = 1  # reference level of y
    SLOPE = 2  # reference slope, y per reading
    SCALE = 3  # mean |innovation| of y
    PREVIOUS = 4  # z of the last reading
    LASTING = 5  # the smaller of the last two z if on one side, else 0; signed
    TAIL = 6  # largest |z| that lasted three readings while healthy, slowly forgotten
    ECHO = 7  # lag-1 autocorrelation of z
    SUM = 8  # CUSUM of whitened z: above 0 upwards, below 0 downwards
    PEAK = 9  # largest departure of FAST from the reference in the present excursion, in deviations
    SHIFT_TAIL = 10  # largest PEAK of the excursions that ended, slowly forgotten
    AGE = 11  # readings since SUM left zero: now - AGE estimates the onset
    FAST = 12  # fast mean of y, for effects and reports
    HOLD = 13  # readings since an alarm that still lasts
    ZERO_RUN = 14  # readings of exactly 0 in a row, of a magnitude
    LONGEST_ZERO = 15  # the longest such run that ended


class Knob(IntEnum):
    """One row of a tile's constants, derived from the slots' profiles and the run's levels."""

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
    SPIKE_GAIN = 15  # factor on the spike chart's ratio: 1 at the default budget, by theory's tails
    SHIFT_GAIN = 16  # the same for the shift chart
    SUM_CAP = 17  # the sum is held at this many design levels
    AMONG = 18  # full effect over the one that counts where siblings stay


class Told(IntEnum):
    """One row of what the tiles of a record tell, lane by lane: the most that any of them has there."""

    WORST = 0  # the largest |spike| or |shift|
    NONFINITE = 1  # 1 = a reading was NaN or infinite
    ZERO = 2  # 1 = a magnitude has been exactly 0 for long enough
    SUSPECTED = 3  # the largest |small|
    NEGATIVE = 4  # 1 = a magnitude was below 0


class Flag(IntFlag):
    """What one record's verdicts hold, over all slots of the run."""

    NONFINITE = 1  # some reading is NaN or infinite (and not "not measured")
    ALARM = 2  # some |spike| or |shift| is 1 or more
    ZERO = 4  # some magnitude was exactly 0 for long enough: see Slab.dead()
    SUSPECT = 8  # some |small| is 1 or more
    NEGATIVE = 16  # some magnitude is below 0: not judged
