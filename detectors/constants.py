"""The numbers that a slab's profiles stand for, laid out as its tiles are; shared by all slabs of the same profiles."""

from __future__ import annotations

from weakref import WeakValueDictionary

import numpy as np

from .levels import shift_level, spike_level
from .profiles import PROFILES, Profile, Transform
from .rows import LANES, Knob

__all__ = ["Constants", "constants_of"]

_FREE_SLOPE = 1e30
_NO_SPIKES = 1e30


class Constants:
    """The constants of a list of profiles; one for all runs of a layout, while one of them lives.

    knobs: flat float32, 256 for each different tile of 16 profiles.  patterns: int32 [tiles], which of those it is.
    """

    __slots__ = ("__weakref__", "knobs", "patterns")

    def __init__(self, profiles: bytes, budget: float) -> None:
        slots = len(profiles)
        tiles = np.full((-(-slots // LANES), LANES), len(PROFILES), np.uint8)
        tiles.reshape(-1)[:slots] = np.frombuffer(profiles, np.uint8)
        different, patterns = np.unique(tiles, axis=0, return_inverse=True)
        table = np.zeros((len(PROFILES) + 1, len(Knob)), np.float32)
        table[:-1] = [_column(profile, slots, budget) for profile in PROFILES]
        self.knobs = np.ascontiguousarray(table[different].transpose(0, 2, 1)).reshape(-1)
        self.patterns = patterns.reshape(-1).astype(np.int32)


_known: WeakValueDictionary[tuple[bytes, float], Constants] = WeakValueDictionary()


def constants_of(profiles: bytes, budget: float) -> Constants:
    """Of these profiles (one byte a slot) and this budget."""
    constants = _known.get((profiles, budget))
    if constants is None:
        constants = _known[profiles, budget] = Constants(profiles, budget)
    return constants


def _column(profile: Profile, slots: int, budget: float) -> list[float]:
    """One slot's constants in the order of Knob."""
    return [
        float(profile.transform is Transform.LINEAR),
        float(profile.transform is Transform.LOGIT),
        float(profile.transform is Transform.LOG2_OVER_LR),
        profile.level_rate,
        profile.slope_rate,
        profile.scale_rate,
        profile.slack,
        spike_level(slots, budget) * profile.caution if profile.spikes else _NO_SPIKES,
        shift_level(slots, budget, profile.slack) * profile.caution,
        1.0 / profile.effect_up,
        1.0 / profile.effect_down,
        profile.floor,
        profile.prior,
        float(profile.warm),
        0.0 if profile.ratchet else _FREE_SLOPE,
        0.0,
    ]
