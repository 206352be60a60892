"""The state of all series of one run as one block of float32, and the call that judges a record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .constants import constants_of, design_shift
from .gathered import cadence_of, known_of, last_of, middle_of, readings_of
from .levels import Levels
from .pads import PADS
from .profiles import PROFILES, SHARE_EPS, Transform
from .rows import DEVIATION, FAST_RATE, FIELDS, LANES, SUSPECT, Row
from .tiles import judge_tiles

__all__ = ["MOST_STEPS", "SPARSE_STEPS", "Reading", "Slab", "readings_that_last"]

SPARSE_STEPS: Final = 10
"""Steps a reading from which on two in a row are lasting. One by itself never is, not even of a hundred steps: of
442 healthy public runs 17 have one that is eight times all of late."""
MOST_STEPS: Final = 100.0
"""Steps that one reading stands for at the most."""
_ANEW, _RESUMED = 2.0, 50.0
"""Readings that a level is worth, at the most, in a run that begins anew, and in one that goes on."""


def readings_that_last(steps: float) -> int:
    """How many readings in a row are lasting, where one stands for so many steps."""
    return 2 if steps >= SPARSE_STEPS else 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What a person needs to see of one slot, in the signal's own unit.

    value: the last reading given, NaN if it was not measured.  expected: the reference.  scale: one deviation,
    measured upwards from `expected`.  z: the last reading in deviations, 0.0 if not judged.  since: readings
    since the onset of the present excursion, as the larger CUSUM has it; 0 = none.
    """

    value: float
    expected: float
    scale: float
    z: float
    since: int


class Slab:
    """All slots of one run: profiles uint8 [n] -> state float32 [tiles, FIELDS, LANES], 64 bytes a slot.

    z, spike, shift: float32 [n], of the last judge(); not state: zeros once another slab has judged.
    `spike` and `shift` are the statistic over its alarm level, signed upwards: |ratio| >= 1 is an alarm; `worst` is
    the largest of them all by magnitude.  `z` is the reading alone, in deviations: for breadth over layers and for
    readings that stand for many steps.
    levels: the budget that all slots together have, and the tails it is spent by (levels.py).
    """

    __slots__ = ("_constants", "_offset", "_state", "levels", "profiles", "worst")

    def __init__(self, profiles: NDArray[np.uint8], levels: Levels | None = None) -> None:
        self.levels = levels or Levels()
        self.worst = 0.0
        self._offset = 0.0
        self._state = np.zeros(0, np.float32)
        self._adopt(np.asarray(profiles, np.uint8))

    def __len__(self) -> int:
        return int(self.profiles.size)

    @property
    def z(self) -> NDArray[np.float32]:
        """Deviations of the last reading from its reference: float32 [n]."""
        return self._pad(1)

    @property
    def spike(self) -> NDArray[np.float32]:
        """The spike chart's ratios: float32 [n]."""
        return self._pad(2)

    @property
    def shift(self) -> NDArray[np.float32]:
        """The CUSUM's ratios: float32 [n]."""
        return self._pad(3)

    @property
    def small(self) -> NDArray[np.float32]:
        """The larger of both, were the effects a slot needs among its siblings all that counts: float32 [n]."""
        return self._pad(4)

    def _pad(self, row: int) -> NDArray[np.float32]:
        if PADS.judged is not self:
            return np.zeros(self.profiles.size, np.float32)
        return PADS.row(row, self.profiles.size)

    def grow(self, profiles: NDArray[np.uint8]) -> None:
        """Append slots with these profiles (uint8 [m]); what is known stays, verdicts are emptied."""
        self._adopt(np.concatenate([self.profiles, np.asarray(profiles, np.uint8)]))

    def judge_by(self, levels: Levels) -> None:
        """Judge by other levels from now on; what is known stays."""
        self.levels = levels
        self._adopt(self.profiles)

    def judge(
        self,
        x: NDArray[np.float32],
        evidence: float = 1.0,
        offset: float = 0.0,
        age: int = 0,
        steps: float = 1.0,
    ) -> int:
        """Judge one record, then learn it; returns the Flag bits of all slots together.

        x: float32 [n], raw; the bits NOT_MEASURED leave a slot's state alone, as does any other NaN or infinity.
        evidence: factor on all alarm levels (2.0 = twice the evidence; effects stay as they are).
        offset: log2(learning rate), for LOG2_OVER_LR; not finite (a learning rate of 0) = those slots are not
        measured.  age: readings since the run began (anew): a series that is rarer than they is past its first
        drift the sooner.  steps: that the record stands for: where they are many, two readings last.
        ValueError if x has another length.
        """
        if x.shape != self.profiles.shape:
            raise ValueError(
                f"a record must have one value per slot: got shape {x.shape}, the slab has {self.profiles.size} "
                "slots; grow() it or fill the missing with NOT_MEASURED"
            )
        self._offset, constants = offset, self._constants
        PADS.take(self, constants.patterns.size)
        flags: int
        flags, self.worst = judge_tiles(
            self._state, constants.knobs, constants.patterns, x, PADS.tiles, PADS.told,
            float(evidence), float(offset), float(age), float(steps), steps >= SPARSE_STEPS,
        )  # fmt: skip
        return flags

    def row(self, row: Row) -> NDArray[np.float32]:
        """A copy of one row of state for all slots: float32 [n]."""
        return self._tiles()[:, row, :].reshape(-1)[: self.profiles.size]

    def known(self, row: Row, slots: NDArray[np.intp], learned: int) -> NDArray[np.float32]:
        """A row of state for these slots (int [n]): float32 [n], NaN where fewer than `learned` readings are known."""
        known: NDArray[np.float32] = known_of(self._state, int(row), slots, learned)
        return known

    def last(self, slots: NDArray[np.intp]) -> NDArray[np.float32]:
        """The last readings, y, of these slots (int [n], of one profile): float32 [n]; NaN: none, or very far off.

        Worked out from what they made of the state: exact to 1e-3 but in the few readings that start a reference again.
        """
        if not len(slots):
            return np.zeros(0, np.float32)
        profile = PROFILES[self.profiles[slots[0]]]
        rates = profile.floor, profile.level_rate, profile.scale_rate
        suspect = SUSPECT * design_shift(profile, len(self))
        last: NDArray[np.float32] = last_of(self._state, slots, *rates, suspect)
        return last

    def cadence(self, slots: NDArray[np.intp], age: int) -> float:
        """Readings of the run, of `age`, for one of these slots (int [n]), at the most."""
        return float(cadence_of(self._state, slots, age))

    def middle(self, row: Row, slots: NDArray[np.intp]) -> float:
        """The median of a row of state over those of `slots` (int [n]) that have learned a reading; NaN without any."""
        return float(middle_of(self._state, int(row), slots))

    def readings(
        self, groups: NDArray[np.int32], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Readings learned by all slots of each of `count` groups (int32 [n], below 0: none): float64 [count].

        And float64 [count] that stays as it is only where nothing finite was measured since.
        """
        return readings_of(self._state, groups, count)  # type: ignore[no-any-return]

    def dead(self, minimum: int = 3) -> NDArray[np.intp]:
        """Slots exactly 0 for at least `minimum` readings and 3 times their longest healthy run of zeros."""
        run = self.row(Row.ZERO_RUN)
        return np.flatnonzero(run >= np.maximum(minimum, 3.0 * self.row(Row.LONGEST_ZERO)))

    def restart(self, *, resumed: bool = False) -> None:
        """The run repeats steps; scales and tails are kept.

        Resumed from a checkpoint, it is expected where it was, and what has moved a little is learned soon; else
        every level is learned again from where it stands.
        """
        rows = self._tiles()
        np.minimum(rows[:, Row.N], _RESUMED if resumed else _ANEW, out=rows[:, Row.N])
        for row in (Row.SLOPE, Row.LASTING, Row.SUM, Row.PEAK, Row.AGE, Row.HOLD):
            rows[:, row] = 0.0

    def forget(self, slots: NDArray[np.intp]) -> None:
        """Nothing is known of these slots (int [n]) any more."""
        self._tiles()[slots // LANES, :, slots % LANES] = 0.0

    @property
    def ever_measured(self) -> NDArray[np.bool_]:
        """Which slots were ever given a finite value: bool [slots]."""
        return (self.row(Row.N) > 0) | (self.row(Row.ZERO_RUN) > 0) | (self.row(Row.LONGEST_ZERO) > 0)

    def learned(self, slot: int) -> int:
        """Readings this slot has learned from; 0 = nothing is known of it."""
        return int(self._tiles()[slot // LANES, Row.N, slot % LANES])

    def zero_run(self, slot: int) -> int:
        """Readings of exactly 0 in a row, up to the last one."""
        return int(self._tiles()[slot // LANES, Row.ZERO_RUN, slot % LANES])

    def moved(self, slot: int) -> float:
        """How far the slot's fast mean is from its reference, in deviations; 0.0 if nothing is known of it."""
        state = self._tiles()[slot // LANES, :, slot % LANES].tolist()
        profile = PROFILES[self.profiles[slot]]
        unit = abs(state[Row.LEVEL]) if profile.transform is Transform.LINEAR else 1.0
        deviation = max(state[Row.SCALE], profile.floor * unit) * DEVIATION
        return (state[Row.FAST] - state[Row.LEVEL]) / deviation if deviation > 0.0 else 0.0

    def drift(self, slot: int) -> float:
        """How fast a LOG2 slot moves, log2 a reading: what its fast mean lags behind the reading just judged, above 0.

        NaN if it was not measured.
        """
        reading = self.describe(slot).value
        fast = float(self._tiles()[slot // LANES, Row.FAST, slot % LANES])
        return (math.log2(reading) - fast) * FAST_RATE / (1.0 - FAST_RATE) if reading > 0.0 else math.nan

    def describe(self, slot: int) -> Reading:
        """What is known of one slot, in the signal's own unit; value and z only until another slab judges."""
        state = self._tiles()[slot // LANES, :, slot % LANES].tolist()
        profile = PROFILES[self.profiles[slot]]
        unit = abs(state[Row.LEVEL]) if profile.transform is Transform.LINEAR else 1.0
        deviation = max(state[Row.SCALE], profile.floor * unit) * DEVIATION
        reference = state[Row.LEVEL] + state[Row.SLOPE]
        expected = self._inverse(profile.transform, reference)
        above = self._inverse(profile.transform, reference + deviation)
        judged = PADS.judged is self
        return Reading(
            value=PADS.of(0, slot) if judged else math.nan,
            expected=expected,
            scale=above - expected,
            z=PADS.of(1, slot) if judged else 0.0,
            since=int(state[Row.AGE]),
        )

    def dump(self) -> bytes:
        """The state; profiles and levels are not in it."""
        return self._state.tobytes()

    @classmethod
    def load(cls, profiles: NDArray[np.uint8], state: bytes, levels: Levels | None = None) -> Slab:
        """A slab that continues exactly as the dumped one; ValueError if the state is not of these profiles."""
        slab = cls(profiles, levels)
        if len(state) != slab._state.nbytes:
            raise ValueError(
                f"state of {len(slab)} slots must have {slab._state.nbytes} bytes, got {len(state)}; "
                "load it with the profiles it was dumped with"
            )
        slab._state[:] = np.frombuffer(state, np.float32)
        return slab

    def _tiles(self) -> NDArray[np.float32]:
        return self._state.reshape(-1, FIELDS, LANES)

    def _adopt(self, profiles: NDArray[np.uint8]) -> None:
        """Take a (longer) list of profiles: make room in the state, find the constants.

        `profiles` last: a thread that only looks (metrics do) never sees more slots than there is room for.
        """
        width = -(-profiles.size // LANES) * LANES
        state = np.zeros(width * FIELDS, np.float32)
        state[: self._state.size] = self._state
        self._state = state
        if PADS.judged is self:
            PADS.judged = None
        self._constants = constants_of(profiles.tobytes(), self.levels)
        self.profiles = self._constants.profiles

    def _inverse(self, transform: Transform, y: float) -> float:
        """From the transformed unit back to the signal's own."""
        if transform is Transform.LINEAR:
            return y
        if transform is Transform.LOG2_OVER_LR:
            y += self._offset if math.isfinite(self._offset) else 0.0
        power: float = 2.0 ** min(y, 1000.0)
        if transform is Transform.LOGIT:
            return min(max((power * (1.0 + SHARE_EPS) - SHARE_EPS) / (1.0 + power), 0.0), 1.0)
        return power
