"""Whether a series that moved did so alone: the same signal of other layers tells a layer's fault from a run's change.

Shift found: one layer's level that leaves its own reference by less than what counts for a whole run.  A batch, a
learning rate, a precision, a restart move all layers; then a small move is nobody's concern, and none is found here.
Formula, over the siblings of one signal, in the transformed unit:

    d_j    = fast_j - level_j                       how far each layer is from its own reference now
    apart  = (d_i - median d) * sign(d_i) >= max(effect, 4 * 1.4826 * median |d_j - median d|)

with the profile's effect times `among`, and at most a third of the layers are half as far as d_i on its side.  Asked
only for slots whose statistic has passed its level already (`Slab.small`), so that it costs nothing while all is well.

Knobs: none; `among` of profiles.py says which share of an effect is enough.  More siblings: surer.
False alarms: those of kernel.py's charts at the smaller effect, where one layer of four or more moves alone.
Sibling: kernel.py, each series against its own past.  Source: median and MAD, Huber 1981.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .profiles import PROFILES
from .rows import Row
from .slab import Slab

__all__ = ["LEAST", "apart"]

LEAST: Final = 4
"""Siblings, with the one that moved; fewer tell nothing."""
SPREADS: Final = 4.0 * 1.4826
CROWD: Final = 1.0 / 3.0
"""Share of the siblings that may have moved half as far."""


def apart(slab: Slab, slots: NDArray[np.intp], siblings: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which of `slots` moved alone among their `siblings`: bool [slots].

    siblings: int [n], all slots of the signal, `slots` among them; those that have learned nothing do not count.
    """
    siblings = siblings[slab.row(Row.N)[siblings] >= 1.0]
    if len(siblings) < LEAST:
        return np.zeros(len(slots), np.bool_)
    moved = slab.row(Row.FAST) - slab.row(Row.LEVEL)
    peers = moved[siblings]
    middle = np.median(peers)
    spread = np.median(np.abs(peers - middle))
    own = moved[slots]
    side = np.sign(own)
    profile = PROFILES[slab.profiles[siblings[0]]]
    effect = np.where(own > 0.0, profile.effect_up, profile.effect_down) * profile.among
    far = (own - middle) * side >= np.maximum(effect, SPREADS * float(spread))
    crowd = (peers[None, :] * side[:, None] >= 0.5 * np.abs(own)[:, None]).sum(axis=1)
    alone: NDArray[np.bool_] = far & (crowd <= np.maximum(1, CROWD * len(siblings)))
    return alone
