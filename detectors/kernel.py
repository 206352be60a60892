"""The judge of one tile: 16 slots, both charts, one pass; compiled by numba.

Shift found: `spike`, a jump that lasts three readings (two, where they are rare), at the last; `shift`, a level that
moved or drifts away, about (h + 1.2) / (d - k) readings after a jump by d deviations.  Lone outliers are no alarm; `z`
shows them.

Formula, per slot, letters as in the code; judge first, learn after:

    y      = transform(x)                             z = (y - level - slope) / (1.2533 scale), within +-64
    white  = (z - r z') / sqrt(1 - r^2)               z' the z before; r from how often two follow on one side (echo)
    spike  = m / (max(design, 1.5 tail) c)            least = the smallest |z| of three readings on one side, and
                                                      m = max(min(least, |white|), min(least / 2, 1.5 |white|));
                                                      60 deviations (or 1.5 tail) are enough after 16 readings;
                                                      two readings are, once n is 20, where `steps` is ten or more (not
                                                      of shares, which jump from nothing)
    sum    = CUSUM of white within +-4, slack k       one signed sum: on falling below 0 it begins downwards
    shift  = least of |sum| / (h s) and departure / (max(1.5 shift_tail, 3 + r + 3.5 r^2) deviations s)
    c      = evidence (1 + 20 / (n + 8))              s = c e
    e      = 1 + (100 / (age steps + 8))^2             age: readings of the run; runs drift most after their start
    steps  = those that a reading stands for
    departure = fast - level - slope, on the side of the sum; no shift while the sum is older than 1.5 n readings
    effect = the profile's, times e, and times 2 once the sum is 60 readings old: what moves slowly may go further.
             For a spike that is sudden, the sum at most 8 readings old, without e; upwards half way to `among`

Both are at most departure / effect (for spike: m deviations / effect), then multiplied by the chart's gain (1 at the
default budget, by theory's tails; levels.py), signed upwards; |ratio| >= 1 is an alarm.  `small` is the larger of
both at `among` times the effect (for what is not slow): enough for one layer that leaves its siblings (siblings.py),
and no alarm by itself.
Own tails: tail is the largest m / c seen, shift_tail the largest departure of the excursions that ended; of losses,
which are to fall, of those upwards, and of what never alarms upwards, of those downwards.
level, slope: a least-squares line over the first readings, then fading memory, the slope by 3 % a reading; scale: mean
|innovation|, clipped, from a prior worth 4 readings (LINEAR, which may begin at 0 and so without one, is not clipped
while it is young and stands at its floor).  The reference is not learned while the sum is beyond h / 4, for
at most 300 readings (20 where a loss falls), 1.5 n, and n (age steps + 8) / 150; then the fast mean is the level (a
series that has always drifted is followed).  Nor from an alarm until z is back; one that lasts 30 readings starts the
reference again at the fast mean, worth 8 readings.  So a run that goes on at a new level is learned, and quiet, within
100 readings.

Knobs: profiles.py (per kind), levels.py (slots, budget, tails: design, h, gains), `evidence` (2: twice as much).
False alarms: none or one in 2,000 steps of 1,000 slots for 24 of 28 simulated healthy families; the other four
wander by a fault's height (tests/detectors/test_run_length.py prints them).
Sibling: siblings.py for a layer among its like; climb.py for losses that rise within their noise; runlength.py for
exact conditions.
Source: Page 1954 (CUSUM), Siegmund 1985 (levels), Brookner 1998 (the line's gains); own tails: trials on real runs.

No fastmath: float32 operations round alike on every CPU, and a NaN stays a NaN.  The tile is a flat slice with
constant distances between rows, and there are only four arrays: what lets LLVM vectorise it.  The slices are taken
within, as a slice that is handed on is counted twice.  Not cached by itself: tiles.py, which calls it, is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from .lanes import least, log2, most
from .profiles import SHARE_EPS
from .rows import (
    CLIP,
    DEVIATION,
    EARLY,
    EARLY_CLIP,
    FAST_RATE,
    FIELDS,
    LANES,
    NOT_MEASURED,
    PAD_ROWS,
    SCALE_CLIP,
    SUSPECT,
    SUSPECTED_FROM,
    Z_BOUND,
    Knob,
    Row,
    Told,
)  # fmt: skip

__all__ = ["judge_tile"]

F = np.float32
_I = np.int32
_W = LANES
_TILE = FIELDS * LANES
_KNOBS = len(Knob) * LANES

_ZERO, _ONE, _TWO, _HALF, _ONE_AND_HALF = F(0.0), F(1.0), F(2.0), F(0.5), F(1.5)
_DEVIATION = F(DEVIATION)
_SHARE_EPS = F(SHARE_EPS)
_LINEAR_BOUND = F(1e30)  # so that no difference of two readings overflows
_TINY = F(1e-30)
_TAIL_FACTOR, _TAIL_KEPT, _SHIFT_TAIL_BOUND = F(1.5), F(0.9998), F(8.0)
_CLIP, _Z_BOUND, _SURE = F(CLIP), F(Z_BOUND), F(60.0)
_SINE_1, _SINE_3, _SINE_5 = F(1.5708), F(0.6460), F(0.0752)  # sin(pi x / 2), exact at 1
_ECHO_BOUND, _ECHO_RATE, _ECHO_EXTRA = F(0.95), F(0.002), F(0.4)  # extra: a moving reference hides some of it
_FAST_RATE = F(FAST_RATE)
_FAST_0, _FAST_1, _FAST_2 = F(3.0), F(1.0), F(3.5)  # 9 deviations of the fast mean; 4.5 at r = 0.9
_HOLD, _AGAIN = F(30.0), F(8.0)
_BACK, _DRAIN = F(2.0), F(2.0)
_SUSPECT, _SUSPECTED_FROM = F(SUSPECT), F(SUSPECTED_FROM)
_PATIENCE, _SHORT_PATIENCE = F(300.0), F(150.0)
_QUICK, _PER_SLOWER, _SLOW = F(20.0), F(1.0 / 40.0), F(1.0)
_EARLY = F(EARLY)  # readings before tails are learned and suspicion freezes anything
_SCALE_CLIP, _EARLY_CLIP, _SLOPE_KEPT, _DAMPED = F(SCALE_CLIP), F(EARLY_CLIP), F(0.95), F(0.97)

_THREE, _FOUR, _SIX, _EIGHT, _SIXTEEN = F(3.0), F(4.0), F(6.0), F(8.0), F(16.0)
_CAUTION, _UNSETTLED = F(20.0), F(10000.0)

_N, _LEVEL, _SLOPE, _SCALE, _PREVIOUS, _LASTING, _TAIL, _ECHO = (int(row) * _W for row in list(Row)[:8])
_SUM, _PEAK, _SHIFT_TAIL, _AGE, _FAST, _HELD, _ZERO_RUN, _LONGEST = (int(row) * _W for row in list(Row)[8:])
_Z, _SPIKE, _SHIFT, _SMALL, _PAD = _W, 2 * _W, 3 * _W, 4 * _W, PAD_ROWS * _W
_WORST, _NONFINITE, _DUE_ZERO, _SUSPECTED, _NEGATIVE = (int(row) * _W for row in Told)
_K_LINEAR, _K_LOGIT, _K_OFFSET, _K_LEVEL_RATE, _K_SLOPE_RATE, _K_SCALE_RATE, _K_SLACK, _K_SPIKE = (
    int(knob) * _W for knob in list(Knob)[:8]
)
_K_SHIFT, _K_UP, _K_DOWN, _K_FLOOR, _K_PRIOR, _K_WARM, _K_TOP = (int(knob) * _W for knob in list(Knob)[8:15])
_K_SPIKE_GAIN, _K_SHIFT_GAIN, _K_SUM_CAP, _K_AMONG = (int(knob) * _W for knob in list(Knob)[15:])


@njit(error_model="numpy")
def judge_tile(
    all_state: Any, all_knobs: Any, pads: Any, told: Any, t: int, pattern: int,
    evidence: Any, offset: Any, run_age: Any, steps: Any, rare: Any,
) -> None:  # fmt: skip
    """Judge and learn tile number `t`, whose constants are number `pattern`; the rest is as in tiles.py."""
    state, work = all_state[t * _TILE : (t + 1) * _TILE], pads[t * _PAD : (t + 1) * _PAD]
    knobs = all_knobs[pattern * _KNOBS : (pattern + 1) * _KNOBS]
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
        y = log2(argument if positive else _ONE) - (offset if knobs[_K_OFFSET + i] > _ZERO else _ZERO)
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
        echo *= _SINE_1 - echo * echo * (_SINE_3 - _SINE_5 * echo * echo)
        echo = least(echo * (_ONE + _ECHO_EXTRA * (_ONE - echo)), _ECHO_BOUND)
        soft = _ONE + _CAUTION * recent
        caution = evidence * soft
        oldest = most(n, run_age)
        many = rare & (not logit)
        young = _ONE / (oldest * steps + _EIGHT)
        early = _ONE + _UNSETTLED * young * young
        ready = live & (n >= knobs[_K_WARM + i])
        slow = least(most((state[_AGE + i] - _QUICK) * _PER_SLOWER, _ZERO), _ONE)
        per_once = per_unit / (_ONE + _SLOW * slow)
        per_up, per_down = knobs[_K_UP + i] * per_once, knobs[_K_DOWN + i] * per_once
        among = _ONE + (knobs[_K_AMONG + i] - _ONE) * (_ONE - slow)

        # spike: the smallest of the last three, if on one side; an echo of an outlier is none
        white = (z - echo * previous) * (_ONE / np.sqrt(_ONE - echo * echo))
        pair = least(abs(z), abs(previous)) if z * previous > _ZERO else _ZERO
        m = least(abs(z), abs(lasting)) if z * lasting > _ZERO else _ZERO
        m = pair if many & (n >= _EARLY) else m
        fresh_part = abs(white) if z * white > _ZERO else _ZERO
        m = most(least(m, fresh_part), least(_HALF * m, _ONE_AND_HALF * fresh_part))
        tail = state[_TAIL + i]
        own_tail = _TAIL_FACTOR * tail
        spike_level = most(knobs[_K_SPIKE + i], own_tail) * caution
        spike_level = least(spike_level, most(_SURE, own_tail)) if n >= _SIXTEEN else spike_level
        spike_gain = knobs[_K_SPIKE_GAIN + i]
        per_level, per_effect = _ONE / spike_level, deviation * (per_up if z > _ZERO else per_down)
        sudden = state[_AGE + i] <= _EIGHT
        per_effect *= (_HALF * (_ONE + among) if z > _ZERO else _ONE) if sudden else _ONE / early
        ratio = m * least(per_level, per_effect) * spike_gain
        spike_ratio = (ratio if z > _ZERO else -ratio) if ready else _ZERO
        small = m * least(per_level, per_effect * among) * spike_gain
        small_spike = small if ready else _ZERO

        # shift: CUSUM of whitened z
        w = least(most(white, -_CLIP), _CLIP)
        old_sum, shift_tail = state[_SUM + i], state[_SHIFT_TAIL + i]
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
        rises = (total > _ZERO) | ((total == _ZERO) & (old_sum > _ZERO))
        counts = (rises & (knobs[_K_UP + i] > _ZERO)) | ((not rises) & (knobs[_K_TOP + i] > _ZERO))
        peak = most(state[_PEAK + i], departure * per_deviation * per_soft) if grown & counts else _ZERO
        least_shift = _FAST_0 + echo * (_FAST_1 + echo * _FAST_2)
        own = per_deviation / (most(_TAIL_FACTOR * shift_tail, least_shift) * caution * early)
        shift_gain = knobs[_K_SHIFT_GAIN + i]
        per_effect = (per_up if total > _ZERO else per_down) / early
        far = abs(total) * (_ONE / shift_level)
        ratio = least(far, departure * least(own, per_effect)) * shift_gain
        known = ready & (state[_AGE + i] <= _ONE_AND_HALF * n)
        shift_ratio = (ratio if total > _ZERO else -ratio) if known else _ZERO
        small = least(far, departure * least(own, per_effect * among)) * shift_gain
        small_shift = small if known else _ZERO
        upwards = z > _ZERO if small_spike > small_shift else total > _ZERO
        small = most(small_spike, small_shift)

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
        beyond = (size >= _SUSPECT * knobs[_K_SHIFT + i]) & (n >= _SUSPECTED_FROM)
        patience = _QUICK if (total < _ZERO) & (knobs[_K_TOP + i] <= _ZERO) else _PATIENCE
        suspect = beyond & (age < patience) & (age < _ONE_AND_HALF * n) & (age * _SHORT_PATIENCE * young < n)
        settled = live & beyond & (not suspect) & (not away)
        learn = live & (not away) & (not suspect) & (not settled)

        # learn
        clipped = least(most(innovation, -_CLIP * deviation), _CLIP * deviation)
        gain = most(knobs[_K_LEVEL_RATE + i], _TWO * (_TWO * n + _ONE) / ((n + _ONE) * (n + _TWO)))
        slope_gain = most(knobs[_K_SLOPE_RATE + i], _SIX * recent * recent)
        new_level = (y if fresh else level + slope + gain * clipped) if learn else level + slope
        new_slope = (
            least(slope * _DAMPED + slope_gain * clipped, knobs[_K_TOP + i]) if learn else slope * _SLOPE_KEPT
        )
        scale = knobs[_K_PRIOR + i] * (abs(y) if linear else _ONE) if fresh else state[_SCALE + i]
        counted = (_SCALE_CLIP if grown else _EARLY_CLIP) * deviation
        counted = _LINEAR_BOUND if linear & (not grown) & (scale <= knobs[_K_FLOOR + i] * unit) else counted
        new_scale = (
            scale
            if fresh
            else scale
            + most(knobs[_K_SCALE_RATE + i], _TWO * recent) * (least(abs(innovation), counted) - scale)
        )
        same = _ONE if z * previous > _ZERO else (-_ONE if z * previous < _ZERO else _ZERO)
        new_echo = old_echo + most(_ECHO_RATE, recent) * (same - old_echo)
        new_tail = most(tail * _TAIL_KEPT, least(m * per_soft, spike_level))
        quiet = size <= _ZERO
        new_shift_tail = most(
            shift_tail * _TAIL_KEPT, least(peak, _SHIFT_TAIL_BOUND) if quiet | again | settled else _ZERO
        )

        state[_N + i] = _AGAIN if again else (n + _ONE if learn else n)
        state[_LEVEL + i] = fast if again | settled else (new_level if live else level)
        state[_SLOPE + i] = _ZERO if again | settled else (new_slope if live else slope)
        state[_SCALE + i] = new_scale if learn else state[_SCALE + i]
        state[_PREVIOUS + i] = _ZERO if again else (z if live else previous)
        pair = pair if z > _ZERO else -pair
        state[_LASTING + i] = _ZERO if again else (pair if live else lasting)
        state[_TAIL + i] = new_tail if learn else tail
        state[_ECHO + i] = new_echo if learn else old_echo
        state[_SUM + i] = _ZERO if again | settled else (total if live else old_sum)
        state[_PEAK + i] = (_ZERO if quiet | again | settled else peak) if live else state[_PEAK + i]
        state[_SHIFT_TAIL + i] = new_shift_tail if learn | again | settled else shift_tail
        state[_AGE + i] = _ZERO if again | settled else (age if live else state[_AGE + i])
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
        work[_SMALL + i] = small if upwards else -small
        told[_WORST + i] = most(top, told[_WORST + i])
        told[_NONFINITE + i] = _ONE if (not finite) & measured else told[_NONFINITE + i]
        told[_DUE_ZERO + i] = _ONE if zero & (run + _ONE >= due) else told[_DUE_ZERO + i]
        told[_SUSPECTED + i] = most(small, told[_SUSPECTED + i])
        told[_NEGATIVE + i] = _ONE if finite & (not linear) & (raw < _ZERO) else told[_NEGATIVE + i]
