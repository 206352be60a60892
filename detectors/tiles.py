"""The judge of one record: tile by tile (kernel.py), and what all of them tell.

That is gathered lane by lane, as a loop over 16 lanes alone is not vectorised, and looked at after the last tile.
Tiles of equal constants share them (`patterns`), so that they stay in the first-level cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from . import kernel, lanes, profiles, rows
from .kernel import judge_tile
from .lanes import most
from .rows import LANES, NOT_MEASURED, PAD_ROWS, Flag, Told
from .sources import digits_of

__all__ = ["judge_tiles"]

F = np.float32
_I = np.int32
_W = LANES
_PAD = PAD_ROWS * LANES
_ZERO, _ONE = F(0.0), F(1.0)
_WORST, _NONFINITE, _DUE_ZERO, _SUSPECTED, _NEGATIVE = (int(row) * _W for row in Told)
_F_NONFINITE, _F_ALARM, _F_ZERO, _F_SUSPECT, _F_NEGATIVE = (int(flag) for flag in Flag)


def _compiled(made_from: str) -> Any:
    @njit(cache=True, error_model="numpy")
    def judge_tiles(
        state: Any, knobs: Any, patterns: Any, x: Any, pads: Any, told: Any,
        evidence: Any, offset: Any, age: Any, steps: Any, rare: Any,
    ) -> Any:  # fmt: skip
        """Judge one record; returns its flags and its largest |ratio|.  Arrays are float32, but for `patterns`.

        state: flat [tiles * 256].  knobs: flat, 304 for each different tile.  patterns: int32 [tiles], which of
        those a tile has.  x: [n], the record.  pads: flat [tiles * 80 or more], of each tile five rows: the record is
        copied to the first; z, spike, shift and small are written to the others.  told: flat [5 * 16], worked in.
        evidence, offset, age and steps are rounded to float32.  rare: bool, whether a reading stands for many steps.
        """
        assert made_from  # else it is in no closure
        evidence_32, offset_32, age_32, steps_32 = F(evidence), F(offset), F(age), F(steps)
        told[:] = _ZERO
        full = x.size // _W
        for t in range(full):
            for i in range(_W):
                pads[t * _PAD + i] = x[t * _W + i]
        for i in range(x.size - full * _W, (patterns.size - full) * _W):
            pads[full * _PAD + i] = _I(NOT_MEASURED).view(F)
        for i in range(x.size - full * _W):
            pads[full * _PAD + i] = x[full * _W + i]
        for t in range(patterns.size):
            judge_tile(
                state, knobs, pads, told, t, patterns[t], evidence_32, offset_32, age_32, steps_32, rare
            )
        nonfinite, zero, suspected, negative, worst = _ZERO, _ZERO, _ZERO, _ZERO, _ZERO
        for i in range(_W):
            worst = most(worst, told[_WORST + i])
            nonfinite = most(nonfinite, told[_NONFINITE + i])
            zero = most(zero, told[_DUE_ZERO + i])
            suspected = most(suspected, told[_SUSPECTED + i])
            negative = most(negative, told[_NEGATIVE + i])
        flags = _F_NONFINITE * (nonfinite > _ZERO) + _F_ALARM * (worst >= _ONE)
        flags += _F_ZERO * (zero > _ZERO) + _F_SUSPECT * (suspected >= _ONE)
        return flags + _F_NEGATIVE * (negative > _ZERO), worst

    return judge_tiles


judge_tiles = _compiled(digits_of(kernel, lanes, profiles, rows))
