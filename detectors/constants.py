"""The numbers that a slab's profiles stand for, laid out as its tiles are; shared by all slabs of the same profiles."""

from __future__ import annotations

from weakref import WeakValueDictionary

import numpy as np

from .levels import Levels, shift_level, spike_level
from .profiles import PROFILES, Profile, Transform
from .rows import LANES, Knob

__all__ = ["Constants", "constants_of", "design_shift"]

_FREE_SLOPE = 1e30
_NO_SPIKES = 1e30
_SUM_CAP = 1.25
"""Of the level at which a CUSUM alarms: what its sum is held at, so that an alarm ends soon after its cause."""
SPIKE_SHARE = 0.65
"""Of the level for one reading: what each of three readings in a row must reach."""


class Constants:
    """The constants of a list of profiles; one for all runs of a layout, while one of them lives.

    profiles: uint8 [slots].  knobs: flat float32, 304 for each different tile of 16 profiles.  patterns: int32 [tiles],
    which of those it is.
    """

    __slots__ = ("__weakref__", "knobs", "patterns", "profiles")

    def __init__(self, profiles: bytes, levels: Levels) -> None:
        slots = len(profiles)
        self.profiles = np.frombuffer(profiles, np.uint8)
        tiles = np.full((-(-slots // LANES), LANES), len(PROFILES), np.uint8)
        tiles.reshape(-1)[:slots] = self.profiles
        different, patterns = np.unique(tiles, axis=0, return_inverse=True)
        table = np.zeros((len(PROFILES) + 1, len(Knob)), np.float32)
        of_kind = np.bincount(tiles.reshape(-1)[:slots], minlength=len(PROFILES)).tolist()
        table[:-1] = [
            _column(profile, slots, count, levels) for profile, count in zip(PROFILES, of_kind, strict=True)
        ]
        self.knobs = np.ascontiguousarray(table[different].transpose(0, 2, 1)).reshape(-1)
        self.patterns = patterns.reshape(-1).astype(np.int32)


_known: WeakValueDictionary[tuple[bytes, Levels], Constants] = WeakValueDictionary()


def constants_of(profiles: bytes, levels: Levels) -> Constants:
    """Of these profiles (one byte a slot) and these levels."""
    constants = _known.get((profiles, levels))
    if constants is None:
        constants = _known[profiles, levels] = Constants(profiles, levels)
    return constants


def design_shift(profile: Profile, slots: int) -> float:
    """The level of the shift chart that a series of this kind is designed for, in a run of `slots`."""
    return shift_level(slots, slack=profile.slack) * profile.caution


def _column(profile: Profile, slots: int, of_kind: int, levels: Levels) -> list[float]:
    """One slot's constants in the order of Knob."""
    shift_gain = levels.gain("shift", profile.name, slots, of_kind)
    return [
        float(profile.transform is Transform.LINEAR),
        float(profile.transform is Transform.LOGIT),
        float(profile.transform is Transform.LOG2_OVER_LR),
        profile.level_rate,
        profile.slope_rate,
        profile.scale_rate,
        profile.slack,
        SPIKE_SHARE * spike_level(slots) * profile.caution if profile.spikes else _NO_SPIKES,
        design_shift(profile, slots),
        1.0 / profile.effect_up,
        1.0 / profile.effect_down,
        profile.floor,
        profile.prior,
        float(profile.warm),
        0.0 if profile.ratchet else _FREE_SLOPE,
        levels.gain("spike", profile.name, slots, of_kind),
        shift_gain,
        _SUM_CAP / min(shift_gain, 1.0),
        1.0 / profile.among,
    ]
