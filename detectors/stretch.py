"""Records in a row that say nothing: judged and learned in one compiled call, up to the first that says something.

What each goes through, by the functions of the charts' own modules, in the order in which it would meet them alone:

    fences     the numbers that explain others are as they are expected to be
    unmoved    the norms of the weights, where a check of them is due: no close one, and none is what it was
    slab       its charts have nothing to say
    climb      nor has the slow climb of the losses, which have learned the record then
    and only then the norms are learned, the noise (unsteady), and now and then where levels stand (leaps)

The first that is not so ends the call, with nothing of it learned but by the slab, if that has judged it.

numba's cache looks at one file alone, and this is compiled from many: it depends on `_PARTS`, which is all of them.
"""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from . import climb, fences, gathered, kernel, lanes, leaps, profiles, rows, unmoved, unsteady
from .climb import Climb, learn_calm
from .fences import Fences, are_within
from .kernel import judge_tiles
from .leaps import Leaps, learn_levels
from .pads import PADS
from .profiles import rate_offset
from .rows import Flag
from .slab import Slab
from .unmoved import Unmoved, learn_norms, none_unmoved
from .unsteady import Unsteady, learn_noise

__all__ = ["Checks", "Now", "Passed", "Steady"]

_SPEAKS = int(Flag.NONFINITE | Flag.ALARM | Flag.SUSPECT | Flag.ZERO | Flag.NEGATIVE)
_CALM, _UNJUDGED, _HEARD, _LEARN = range(4)
_COMPILED_FROM = (climb, fences, gathered, kernel, lanes, leaps, profiles, rows, unmoved, unsteady)
_PARTS = hashlib.sha256("".join(map(inspect.getsource, _COMPILED_FROM)).encode()).hexdigest()
_NO_RATES = 0.0, 0.0, 0.0, 0.0
_offset: Any = njit(rate_offset)


class Now(NamedTuple):
    """Where a run stands: its readings (of which `age` since it began), until which of them twice (`care` times) the
    evidence is asked for, and its learning rate (NaN: none). `settled`: whether that may change without being learned
    from at once.
    """

    readings: int
    age: int
    cautious_until: int
    care: float
    lr: float
    settled: bool


class Checks(NamedTuple):
    """The norms are checked at the reading `due`, then after `every` others; from `close` readings on behind the last
    check, at `last`, a check is a close one.
    """

    due: int
    every: int
    last: int
    close: int


class Passed(NamedTuple):
    """How many records said nothing.

    flags: what is known of the next; None: nothing, or there is none; 0: it is judged by the slab, and something else
    speaks; above 0: the slab's.  readings: float32 [records, n], of the fences.  checks: how many; checked: the last
    one's reading.
    """

    records: int
    flags: int | None
    readings: NDArray[np.float32]
    checks: int
    checked: int


class Steady:
    """What a run's records are judged by while they say nothing; all of it the run's own.

    losses: how many of the fences' numbers, from the first on, are the climb's.  lr: which one is the learning rate.
    noisy, normed, leaping: the slots of `noise`, `norms` and `levels`, int [n]; the last are noted at every `every`-th
    reading.
    """

    __slots__ = (
        "_climb", "_every", "_fences", "_leaping", "_leaps", "_losses", "_lr", "_noisy", "_normed", "_rates", "_slab",
        "_unmoved", "_unsteady",
    )  # fmt: skip

    def __init__(
        self,
        numbers: Fences,
        losses: int,
        lr: int,
        slab: Slab,
        climbs: Climb,
        noise: Unsteady,
        noisy: NDArray[np.intp],
        norms: Unmoved,
        normed: NDArray[np.intp],
        levels: Leaps,
        leaping: NDArray[np.intp],
        every: int,
    ) -> None:
        self._fences, self._losses, self._lr = numbers, losses, lr
        self._slab, self._climb = slab, climbs
        self._unsteady, self._noisy = noise, noisy
        self._unmoved, self._normed = norms, normed
        self._leaps, self._leaping, self._every = levels, leaping, every
        self._rates = slab.rates(leaping) if leaping.size else _NO_RATES

    def take(self, records: NDArray[np.float32], now: Now, checks: Checks) -> Passed:
        """Take records, float32 [records, slots], in order, until one says something."""
        slab, losses, noise = self._slab, self._climb, self._unsteady
        state, knobs, patterns = slab.parts
        PADS.take(slab, patterns.size)
        if records.flags.writeable:  # decoded ones are not: one type, so one compiled version
            records = records.view()
            records.flags.writeable = False
        readings = np.empty((len(records), self._fences.slots.size), np.float32)
        done, end, flags, worst, offset, losses.due, noise.samples, count, checked = _through(
            records, readings, self._fences.slots, self._fences.rows, self._losses, self._lr,
            state, knobs, patterns, PADS.tiles, PADS.told,
            *losses.parts, losses.due, self._noisy, noise.state, noise.samples,
            self._normed, *self._unmoved.parts, *checks,
            *self._leaps.parts, self._leaping, self._rates, self._every, *now,
        )  # fmt: skip
        if done or end == _HEARD:
            slab.judged(worst, offset)
        return Passed(done, flags if end == _HEARD else None, readings, count, checked)


def _compiled(parts: str) -> Callable[..., Any]:
    @njit(cache=True, error_model="numpy")
    def through(
        records: Any, readings: Any, fence_slots: Any, fence_rows: Any, losses: int, lr_at: int,
        slab: Any, knobs: Any, patterns: Any, pads: Any, told: Any,
        climbing: Any, ratio: Any, since: Any, gain: float, climb_due: bool,
        noisy: Any, noise: Any, samples: int,
        normed: Any, last_norms: Any, watched: Any, due: int, every: int, checked: int, close: int,
        levels: Any, marks: Any, leaping: Any, rates: Any, levels_every: int,
        reading: int, age: int, cautious_until: int, care: float, lr: float, settled: bool,
    ) -> Any:  # fmt: skip
        assert parts
        norms = np.empty(normed.size, np.float32)
        done, end, flags, worst, offset, checks = 0, _CALM, 0, 0.0, 0.0, 0
        while done < records.shape[0] and end == _CALM:
            values, numbers = records[done], readings[done]
            end = _UNJUDGED
            if not are_within(values, fence_slots, fence_rows, numbers):
                break
            reading, age = reading + 1, age + 1
            check = normed.size > 0 and reading >= due and math.isfinite(values[normed[0]])
            if check:
                for i in range(normed.size):
                    norms[i] = values[normed[i]]
                if reading - checked >= close or not none_unmoved(norms, last_norms, watched):
                    break
            end = _HEARD
            moved = False
            if math.isfinite(numbers[lr_at]):
                moved, lr = np.float64(numbers[lr_at]) != lr, np.float64(numbers[lr_at])
            offset = _offset(lr)
            evidence = care if reading < cautious_until else 1.0
            flags, worst = judge_tiles(
                slab, knobs, patterns, values, pads, told, evidence, offset, age, 1.0, False
            )
            if flags & _SPEAKS:
                break
            flags = 0
            calm, climb_due = learn_calm(climbing, ratio, since, gain, numbers[:losses], evidence, climb_due)
            if not calm:
                break
            samples += learn_noise(values, noisy, noise, samples)
            if check:
                learn_norms(norms, last_norms)
                checks, checked, due = checks + 1, reading, reading + every
            if leaping.size > 0 and reading % levels_every == 0:
                learn_levels(levels, marks, slab, leaping, rates, age, levels_every)
            done += 1
            end = _LEARN if moved and not settled else _CALM
        return done, end, flags, worst, offset, climb_due, samples, checks, checked

    return through


_through = _compiled(_PARTS)
