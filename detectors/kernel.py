"""The judge of one tile: 16 slots, both charts, one pass; compiled by numba.

Shift found: `spike`, a jump that lasts three readings, at the third; `shift`, a level that moved or drifts away,
about (h + 1.2) / (d - k) readings after a jump by d deviations.  Lone outliers are no alarm; `z` shows them.

Formula, per slot, letters as in the code; judge first, learn after:

    y      = transform(x)                             z = (y - level - slope) / (1.2533 scale), within +-64
    white  = (z - r z') / sqrt(1 - r^2)               z' the z before, r its lag-1 autocorrelation (echo)
    spike  = m / (max(design, 1.5 tail) c)            m the smallest of |z|, |white| over three readings on one side
    sum    = CUSUM of white within +-4, slack k       one signed sum: on falling below 0 it begins downwards
    shift  = least of |sum| / (h s) and departure / (max(1.5 shift_tail, 1.5 + r + 3.5 r^2) deviations s)
    c      = evidence (1 + 40 / (n + 8)),  s = c (1 + (60 / (n + 8))^2): runs drift most after their start
    departure = fast - level - slope, on the side of the sum; no shift while the sum is older than n / 3 readings

Both are at most departure / effect (for spike: m deviations / effect), then multiplied by the chart's gain (1 at the
default budget, by theory's tails; levels.py), signed upwards; |ratio| >= 1 is an alarm.
Own tails: tail is the largest m / c seen, shift_tail the largest departure of the excursions that ended.
level, slope: a least-squares line over the first readings, then fading memory; scale: mean |innovation|, clipped,
from a prior worth 8 readings.  The reference is not learned while the sum is beyond h / 4, for at most 150
readings and a quarter of those known (a series that has always drifted is followed), nor from an alarm until z is
back; an alarm that lasts 30 readings starts it again at the fast mean, worth 8 readings.  So a run that goes on at a
new level is learned, and quiet, within 100 readings.

Knobs: profiles.py (per kind), levels.py (slots, budget, tails: design, h, gains), `evidence` (2: twice as much).
False alarms: none or one in 5,000 steps of 1,000 slots for 24 of 28 simulated healthy families; the other four
wander by a fault's height (tests/detectors/test_run_length.py prints them).
Sibling: climb.py for losses that rise within their noise; runlength.py for exact conditions.
Source: Page 1954 (CUSUM), Siegmund 1985 (levels), Brookner 1998 (the line's gains); own tails: trials on real runs.

No fastmath: float32 operations round alike on every CPU, and a NaN stays a NaN.  The tile is a flat slice with
constant distances between rows, and there are only three arrays: what lets LLVM vectorise it.  Tiles of equal
constants share them (`patterns`), so that they stay in the first-level cache.  numba's cache looks at this file
alone: touch it after changing rows.py or lanes.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .lanes import least, log2, most
from .profiles import SHARE_EPS
from .rows import FIELDS, LANES, NOT_MEASURED, Knob, Row

__all__ = ["judge_tiles"]

F = np.float32
_I = np.int32
_W = LANES
_TILE = FIELDS * LANES
_KNOBS = len(Knob) * LANES

_ZERO, _ONE, _TWO, _HALF = F(0.0), F(1.0), F(2.0), F(0.5)
_DEVIATION = F(1.2533141)  # standard deviation of a normal whose mean |x| is 1
_SHARE_EPS = F(SHARE_EPS)
_LINEAR_BOUND = F(1e30)  # so that no difference of two readings overflows
_TINY = F(1e-30)
_TAIL_FACTOR, _TAIL_KEPT, _SHIFT_TAIL_BOUND = F(1.5), F(0.9998), F(8.0)
_CLIP, _Z_BOUND = F(4.0), F(64.0)
_ECHO_BOUND, _ECHO_RATE, _ECHO_EXTRA = F(0.95), F(0.002), F(0.4)  # extra: a moving reference hides some of it
_FAST_RATE = F(0.2)
_FAST_0, _FAST_1, _FAST_2 = F(1.5), F(1.0), F(3.5)  # 4.5 deviations of the fast mean of a series with echo r
_HOLD, _AGAIN = F(30.0), F(8.0)
_BACK, _DRAIN = F(2.0), F(2.0)
_SUSPECT, _PATIENCE = F(0.25), F(150.0)
_EARLY = F(50.0)  # readings before tails are learned and suspicion freezes anything
_SCALE_CLIP, _EARLY_CLIP, _SLOPE_KEPT = F(2.5), F(8.0), F(0.95)

_THREE, _FOUR, _SIX, _EIGHT, _SIXTEEN = F(3.0), F(4.0), F(6.0), F(8.0), F(16.0)
_CAUTION, _UNSETTLED = F(40.0), F(3600.0)

_N, _LEVEL, _SLOPE, _SCALE, _PREVIOUS, _LASTING, _TAIL, _ECHO = (int(row) * _W for row in list(Row)[:8])
_SUM, _PEAK, _SHIFT_TAIL, _AGE, _FAST, _HELD, _ZERO_RUN, _LONGEST = (int(row) * _W for row in list(Row)[8:])
_Z, _SPIKE, _SHIFT, _CODE = _W, 2 * _W, 3 * _W, 4 * _W
_K_LINEAR, _K_LOGIT, _K_OFFSET, _K_LEVEL_RATE, _K_SLOPE_RATE, _K_SCALE_RATE, _K_SLACK, _K_SPIKE = (
    int(knob) * _W for knob in list(Knob)[:8]
)
_K_SHIFT, _K_UP, _K_DOWN, _K_FLOOR, _K_PRIOR, _K_WARM, _K_TOP = (int(knob) * _W for knob in list(Knob)[8:15])
_K_SPIKE_GAIN, _K_SHIFT_GAIN, _K_SUM_CAP = (int(knob) * _W for knob in list(Knob)[15:])


@njit(cache=True, error_model="numpy")
def _judge_tile(state: Any, knobs: Any, work: Any, evidence: Any, offset: Any) -> None:
    for i in range(_W):
        linear = knobs[_K_LINEAR + i] > _ZERO
        logit = knobs[_K_LOGIT + i] > _ZERO
        given = work[i]
        b = F(given).view(_I)
        finite = (b & _I(0x7F800000)) != _I(0x7F800000)
        measured = b != _I(NOT_MEASURED)
        raw = given if finite else _ONE
        share = least(most(raw, _ZERO), _ONE)
        argument = (share + _SHARE_EPS) / (_ONE - share + _SHARE_EPS) if logit else raw
        positive = argument > _ZERO
        y = log2(argument if positive else _ONE) - knobs[_K_OFFSET + i] * offset
        y = least(most(raw, -_LINEAR_BOUND), _LINEAR_BOUND) if linear else y
        live = finite & (linear | positive) & (abs(y) <= _LINEAR_BOUND)

        n, level, slope = state[_N + i], state[_LEVEL + i], state[_SLOPE + i]
        fresh = n < _HALF
        size = abs(level) if level != _ZERO else _ZERO
        unit = size if linear else _ONE
        per_unit = _ONE / (unit + _TINY)
        deviation = most(state[_SCALE + i], knobs[_K_FLOOR + i] * unit + _TINY) * _DEVIATION
        innovation = _ZERO if fresh else y - (level + slope)
        per_deviation = _ONE / deviation
        z = least(most(innovation * per_deviation, -_Z_BOUND), _Z_BOUND)
        recent = _ONE / (n + _EIGHT)
        previous, lasting = state[_PREVIOUS + i], state[_LASTING + i]
        old_echo = state[_ECHO + i]
        echo = least(most(old_echo, _ZERO), _ONE)
        echo = least(echo * (_ONE + _ECHO_EXTRA * (_ONE - echo)), _ECHO_BOUND)
        soft = _ONE + _CAUTION * recent
        caution = evidence * soft
        ready = live & (n >= knobs[_K_WARM + i])
        per_up = knobs[_K_UP + i] * per_unit
        per_down = knobs[_K_DOWN + i] * per_unit

        # spike: the smallest of the last three, if on one side; an echo of an outlier is none
        white = (z - echo * previous) * (_ONE / np.sqrt(_ONE - echo * echo))
        pair = least(abs(white), abs(previous)) if (z * previous > _ZERO) & (z * white > _ZERO) else _ZERO
        m = least(pair, least(abs(z), abs(lasting))) if z * lasting > _ZERO else _ZERO
        tail = state[_TAIL + i]
        spike_level = most(knobs[_K_SPIKE + i], _TAIL_FACTOR * tail) * caution
        ratio = m * least(_ONE / spike_level, deviation * (per_up if z > _ZERO else per_down))
        ratio *= knobs[_K_SPIKE_GAIN + i]
        spike_ratio = (ratio if z > _ZERO else -ratio) if ready else _ZERO

        # shift: CUSUM of whitened z
        w = least(most(white, -_CLIP), _CLIP)
        old_sum, shift_tail = state[_SUM + i], state[_SHIFT_TAIL + i]
        early = _ONE + _UNSETTLED * recent * recent
        shift_level = knobs[_K_SHIFT + i] * caution * early
        slack = knobs[_K_SLACK + i]
        upper = most(old_sum, _ZERO) + w - slack
        lower = least(old_sum, _ZERO) + w + slack
        total = upper if upper > _ZERO else least(lower, _ZERO)
        if old_sum < _ZERO:
            total = lower if lower < _ZERO else most(upper, _ZERO)
        fast = y if fresh else state[_FAST + i] + _FAST_RATE * (y - state[_FAST + i])
        departure = fast - (level + slope)
        departure = most(departure if total > _ZERO else -departure, _ZERO)
        per_soft = _ONE / soft
        grown = n >= _EARLY
        peak = most(state[_PEAK + i], departure * per_deviation * per_soft) if grown else _ZERO
        least_shift = _FAST_0 + echo * (_FAST_1 + echo * _FAST_2)
        own = per_deviation / (most(_TAIL_FACTOR * shift_tail, least_shift) * caution * early)
        ratio = least(
            abs(total) * (_ONE / shift_level), departure * least(own, per_up if total > _ZERO else per_down)
        )
        ratio *= knobs[_K_SHIFT_GAIN + i]
        known = state[_AGE + i] * _THREE <= n
        shift_ratio = (ratio if total > _ZERO else -ratio) if ready & known else _ZERO

        # hold: from an alarm until z is back; after _HOLD readings the reference starts again
        alarm = (abs(spike_ratio) >= _ONE) | (abs(shift_ratio) >= _ONE)
        held = state[_HELD + i]
        drain = _DRAIN if (held > _ZERO) & (abs(z) < _ONE) else _ZERO
        size = least(most(abs(total) - drain, _ZERO), knobs[_K_SUM_CAP + i] * shift_level)
        total = size if total > _ZERO else -size
        away = alarm | ((held > _ZERO) & ((abs(z) >= _BACK) | (size >= _HALF * shift_level)))
        hold = held + _ONE if away else _ZERO
        again = live & (hold >= _HOLD)
        age = (state[_AGE + i] + _ONE if total * old_sum > _ZERO else _ONE) if size > _ZERO else _ZERO
        suspect = (size >= _SUSPECT * shift_level) & (age < _PATIENCE) & (age * _FOUR < n) & grown
        learn = live & (not away) & (not suspect)

        # learn
        clipped = least(most(innovation, -_CLIP * deviation), _CLIP * deviation)
        gain = most(knobs[_K_LEVEL_RATE + i], _TWO * (_TWO * n + _ONE) / ((n + _ONE) * (n + _TWO)))
        slope_gain = most(knobs[_K_SLOPE_RATE + i], _SIX * recent * recent)
        new_level = (y if fresh else level + slope + gain * clipped) if learn else level + slope
        new_slope = least(slope + slope_gain * clipped, knobs[_K_TOP + i]) if learn else slope * _SLOPE_KEPT
        scale = knobs[_K_PRIOR + i] * (abs(y) if linear else _ONE) if fresh else state[_SCALE + i]
        new_scale = (
            scale
            if fresh
            else scale
            + most(knobs[_K_SCALE_RATE + i], recent)
            * (least(abs(innovation), (_SCALE_CLIP if grown else _EARLY_CLIP) * deviation) - scale)
        )
        new_echo = old_echo + most(_ECHO_RATE, recent) * (
            least(most(z, -_THREE), _THREE) * least(most(previous, -_THREE), _THREE) - old_echo
        )
        new_tail = most(tail * _TAIL_KEPT, least(m * per_soft, spike_level))
        quiet = size <= _ZERO
        new_shift_tail = most(
            shift_tail * _TAIL_KEPT, least(peak, _SHIFT_TAIL_BOUND) if quiet | again else _ZERO
        )

        state[_N + i] = _AGAIN if again else (n + _ONE if learn else n)
        state[_LEVEL + i] = fast if again else (new_level if live else level)
        state[_SLOPE + i] = _ZERO if again else (new_slope if live else slope)
        state[_SCALE + i] = new_scale if learn else state[_SCALE + i]
        state[_PREVIOUS + i] = _ZERO if again else (z if live else previous)
        pair = pair if z > _ZERO else -pair
        state[_LASTING + i] = _ZERO if again else (pair if live else lasting)
        state[_TAIL + i] = new_tail if learn else tail
        state[_ECHO + i] = new_echo if learn else old_echo
        state[_SUM + i] = _ZERO if again else (total if live else old_sum)
        state[_PEAK + i] = (_ZERO if quiet | again else peak) if live else state[_PEAK + i]
        state[_SHIFT_TAIL + i] = new_shift_tail if learn | again else shift_tail
        state[_AGE + i] = _ZERO if again else (age if live else state[_AGE + i])
        state[_FAST + i] = fast if live else state[_FAST + i]
        state[_HELD + i] = _ZERO if again else (hold if live else held)

        # zeros
        zero = finite & (not linear) & (not logit) & (raw == _ZERO)
        run, longest = state[_ZERO_RUN + i], state[_LONGEST + i]
        due = most(_THREE, _THREE * longest)
        ended = live & (run > _ZERO)
        state[_ZERO_RUN + i] = run + _ONE if zero else (_ZERO if live else run)
        state[_LONGEST + i] = most(longest, least(run, due)) if ended else longest

        top = most(abs(spike_ratio), abs(shift_ratio))
        work[_Z + i] = z if live else _ZERO
        work[_SPIKE + i] = spike_ratio
        work[_SHIFT + i] = shift_ratio
        work[_CODE + i] = (
            (_ONE if (not finite) & measured else _ZERO)
            + (_TWO if top >= _ONE else _ZERO)
            + (_FOUR if zero & (run + _ONE >= due) else _ZERO)
            + (_EIGHT if top >= _HALF else _ZERO)
            + (_SIXTEEN if finite & (not linear) & (raw < _ZERO) else _ZERO)
        )


@njit(cache=True, error_model="numpy")
def judge_tiles(
    state: Any, knobs: Any, patterns: Any, pads: Any, work: Any, evidence: Any, offset: Any
) -> Any:
    """Judge one record; returns its flags and its largest |ratio|.  Arrays are float32, but for `patterns`.

    state: flat [tiles * 256].  knobs: flat, 288 for each different tile.  patterns: int32 [tiles], which of those a
    tile has.  pads: [4, tiles * 16 or more], the record in its first row; z, spike and shift are written to the
    others.  work: flat [5 * 16].
    """
    flags, worst = _I(0), _ZERO
    for t in range(patterns.size):
        first, pattern = t * _W, patterns[t] * _KNOBS
        for i in range(_W):
            work[i] = pads[0, first + i]
        _judge_tile(
            state[t * _TILE : (t + 1) * _TILE], knobs[pattern : pattern + _KNOBS], work, evidence, offset
        )
        for i in range(_W):
            pads[1, first + i] = work[_Z + i]
            pads[2, first + i] = work[_SPIKE + i]
            pads[3, first + i] = work[_SHIFT + i]
            flags |= _I(work[_CODE + i])
            worst = most(worst, most(abs(work[_SPIKE + i]), abs(work[_SHIFT + i])))
    return flags, worst
