"""How each kind of signal is judged: one row of constants per kind.

A profile is chosen by name when a series is first seen and is part of the run's layout; its index is what
state and snapshots hold, so rows are only ever appended.  All levels, scales and effects are in the
*transformed* unit: log2 for magnitudes (1.0 = a factor of two), log2 odds for shares, the signal's own unit
for LINEAR, where floor, prior and effects are fractions of the level.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["NEVER", "PROFILES", "SHARE_EPS", "Profile", "Transform", "profile_index"]

NEVER = float("inf")
"""An effect that no reading has: the direction does not count."""

ANY_LEVEL = 1e-6
"""Of the level: some steps of float32. For series of unknown unit, whose zero says nothing: 60 °C are 333 K."""

SHARE_EPS = 1e-2
"""Added to both sides of a share's odds, so that 0 and 1 are values like any other."""


class Transform(IntEnum):
    """What is done to a reading before anything else.

    LINEAR        y = x; signed or generic quantities.
    LOG2          y = log2 x; positive magnitudes.  Exactly 0 is counted, not learned; below 0 is reported.
    LOGIT         y = log2((x + 0.01) / (1 - x + 0.01)); shares of 0 to 1.
    LOG2_OVER_LR  y = log2 x - offset with offset = log2(learning rate); so a schedule moves nothing.
    """

    LINEAR = 0
    LOG2 = 1
    LOGIT = 2
    LOG2_OVER_LR = 3


@dataclass(frozen=True, slots=True)
class Profile:
    """How one kind of signal is judged; units as in the module's docstring.

    effect_up, effect_down: the least departure from the reference that may alarm, however improbable it is.
        More of it: fewer alarms on steady series.  NEVER: that direction does not count.
    level_rate: share of an innovation that moves the level, once warm.  More: follows drift, forgets faults.
    slope_rate: the same for the slope.  More: follows a steady drift sooner, overshoots after a bend.
    scale_rate: the same for the scale.  More: noise that grows is accepted sooner.
    slack: CUSUM slack k, in reference deviations; half of the smallest shift worth finding.
    floor: least scale; the width of a series that hardly moves.  prior: the scale before the first reading.
    warm: readings before the first verdict.
    ratchet: the slope is never above 0 (losses: a rise is never expected).
    spikes: False = a few bad readings in a row are nature; only a shift of the level counts.
    caution: factor on both design levels, for kinds whose healthy noise is heavy-tailed or comes in bursts.
    among: share of the effects that is enough where the siblings, the same signal of other layers, stay.
    """

    name: str
    transform: Transform
    effect_up: float
    effect_down: float
    level_rate: float = 0.02
    slope_rate: float = 0.0001
    scale_rate: float = 0.01
    slack: float = 0.5
    floor: float = 0.02
    prior: float = 0.2
    warm: int = 2
    ratchet: bool = False
    spikes: bool = True
    caution: float = 1.0
    among: float = 0.5


PROFILES: tuple[Profile, ...] = (
    Profile(
        "generic",
        Transform.LINEAR,
        ANY_LEVEL,
        ANY_LEVEL,
        floor=ANY_LEVEL,
        prior=0.01,
        warm=16,
        caution=4.0,
        spikes=False,
    ),
    Profile("magnitude", Transform.LOG2, 1.0, 1.5),
    Profile("loss", Transform.LOG2, 0.58, 3.0, ratchet=True, among=1.0),
    Profile("signed_loss", Transform.LINEAR, 0.5, NEVER, warm=16, caution=1.25, among=1.0),
    Profile("gradient", Transform.LOG2, 2.0, 2.5, among=0.65),
    Profile("gradient_share", Transform.LOGIT, 3.0, NEVER, floor=0.3),
    Profile("update_ratio", Transform.LOG2_OVER_LR, 1.6, 2.0, among=0.75),
    Profile("activation", Transform.LOG2, 3.0, 3.0, among=0.67),
    Profile("activation_share", Transform.LOGIT, 2.4, NEVER, floor=0.1),
    Profile("weight", Transform.LOG2, 1.0, 1.0, floor=0.01, prior=0.05, among=0.7),
    Profile("seconds", Transform.LOG2, 2.0, NEVER, spikes=False, among=1.0),
    Profile("entropy", Transform.LINEAR, NEVER, 0.3, warm=16),
    Profile("uncharted", Transform.LINEAR, NEVER, NEVER),
    Profile("attention", Transform.LOG2, 2.0, 2.0, among=0.8),
    Profile("policy", Transform.LINEAR, 0.5, 0.5, warm=16, caution=1.75, among=1.0),
    Profile("policy_drift", Transform.LOG2_OVER_LR, 2.0, NEVER, warm=16, caution=1.75, among=1.0),
    Profile(
        "reward",
        Transform.LINEAR,
        NEVER,
        ANY_LEVEL,
        floor=ANY_LEVEL,
        prior=0.01,
        warm=16,
        caution=2.0,
        spikes=False,
    ),
)
"""The table; a row's index is its identity in snapshots, so never reorder or remove."""

_INDEX = {profile.name: index for index, profile in enumerate(PROFILES)}


def profile_index(name: str) -> int:
    """The index of a profile in PROFILES; KeyError lists the known names."""
    try:
        return _INDEX[name]
    except KeyError:
        raise KeyError(f"unknown profile {name!r}; known: {', '.join(_INDEX)}") from None
