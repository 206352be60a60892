"""Series outside the closed list: nothing is known of their unit, only whether they have a level that they can leave.

One that stood still until now is a setting or a count, one that follows itself a schedule or a walk, and what goes away
further and further a trend.
"""

from __future__ import annotations

from detectors.profiles import PROFILES
from detectors.rows import Row
from detectors.slab import Slab

MOST_SPREADS = 1e4
"""What moves by more had hardly any noise: it is set, not measured."""
FOLLOWS = 0.6
"""Of the readings, how many more are on the side of the one before than not."""
AT_ONCE = 1.5
"""Deviations that it is away, over those it was away on the whole since it left: a trend comes to twice as many."""
COUNTED = 4.0
"""Deviations of a reading that its chart counts at the most."""


def left_its_level(slab: Slab, slot: int) -> bool:
    """Whether the series in `slot`, whose chart alarms, had a level with noise around it, and left that at once."""
    reading, age = slab.describe(slot), slab.row(Row.AGE)[slot]
    if not slab.row(Row.TAIL)[slot] > 0 or slab.row(Row.ECHO)[slot] > FOLLOWS or not age:
        return False
    if abs(reading.value - reading.expected) > MOST_SPREADS * slab.row(Row.SCALE)[slot]:
        return False
    on_the_whole = abs(slab.row(Row.SUM)[slot]) / age + PROFILES[slab.profiles[slot]].slack
    return bool(min(abs(slab.moved(slot)), COUNTED) <= AT_ONCE * on_the_whole)
