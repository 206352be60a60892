"""What each signal means to the judge: how its series is charted, and which kind of incident a shift is.

One table; a signal that is not in it is generic.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from anomaly.monitor.objectives import words_of

UNCHARTED = "uncharted"
LEAST_SHARE = 0.05
"""Of a layer's units: fewer that die or saturate are no loss to anybody."""
LEAST_UNDERFLOW = 0.25
"""Fewer gradients of 0 cost a layer little; of eight weights one is an eighth."""
LEAST_SATURATED = 0.15
"""Of a layer's outputs: as it becomes sure, a healthy layer comes to pin a few."""
LEAST_SECONDS = 0.05
"""A step that is less than this slower is at the mercy of whatever else its machine does."""


class Stage(enum.IntEnum):
    """Where in a training step a signal is measured: what is nearer to a cause comes first."""

    WEIGHT = 0
    ACTIVATION = 1
    GRADIENT = 2
    LOSS = 3
    OTHER = 4


@dataclass(frozen=True, slots=True)
class Meaning:
    """How one signal is read. `up` and `down` are kinds, None where that direction is no fault."""

    profile: str
    stage: Stage
    up: str | None = None
    down: str | None = None
    count: bool = False
    """A number of non-finite values: anything above 0 is one."""
    least_change: float = 0.0
    """In the signal's own unit: a smaller change is nobody's concern, however many times the value it is."""


_W, _A, _G, _L, _O = Stage.WEIGHT, Stage.ACTIVATION, Stage.GRADIENT, Stage.LOSS, Stage.OTHER

MEANINGS: dict[str, Meaning] = {
    "loss": Meaning("loss", _L, "loss_spike_persistent", "loss_collapse"),
    "eval_loss": Meaning("loss", _L, "eval_regression"),
    "grad_norm_total": Meaning("gradient", _G, "gradient_spike", "gradient_vanishing"),
    "lr": Meaning(UNCHARTED, _O),
    "loss_scale": Meaning(UNCHARTED, _O),
    "clip_coef": Meaning(UNCHARTED, _O),
    "skipped": Meaning(UNCHARTED, _O),
    "tokens": Meaning(UNCHARTED, _O),
    "step_seconds": Meaning("seconds", _O, "throughput_drop", least_change=LEAST_SECONDS),
    "data_seconds": Meaning(UNCHARTED, _O),
    "peak_memory_bytes": Meaning(UNCHARTED, _O),
    "input_hash": Meaning(UNCHARTED, _O),
    "weight_hash": Meaning(UNCHARTED, _O),
    "grad_norm": Meaning("gradient", _G, "layer_gradient_spike", "gradient_vanishing"),
    "grad_absmax": Meaning("gradient", _G, "layer_gradient_spike"),
    "grad_zero_frac": Meaning("gradient_share", _G, "underflow", least_change=LEAST_UNDERFLOW),
    "act_zero_frac": Meaning("activation_share", _A, "dead_units", least_change=LEAST_SHARE),
    "act_saturated_frac": Meaning("activation_share", _A, "saturation", least_change=LEAST_SATURATED),
    "weight_norm": Meaning("weight", _W, "weight_blowup"),
    "update_ratio": Meaning("update_ratio", _W, "update_ratio_high", "update_ratio_low"),
    "act_mean": Meaning(UNCHARTED, _A),
    "act_rms": Meaning("activation", _A, "outlier_growth", "variance_collapse"),
    "act_in_rms": Meaning("activation", _A, "outlier_growth", "variance_collapse"),
    "act_absmax": Meaning("activation", _A, "outlier_growth", "variance_collapse"),
    "attn_logit_max": Meaning("attention", _A, "attention_logit_growth"),
    "attn_entropy": Meaning("entropy", _A, None, "attention_logit_growth"),
    "router_entropy": Meaning("entropy", _A, None, "router_collapse"),
    "grad_nonfinite": Meaning(UNCHARTED, _G, count=True),
    "act_nonfinite": Meaning(UNCHARTED, _A, count=True),
    "weight_nonfinite": Meaning(UNCHARTED, _W, count=True),
    "nonfinite": Meaning(UNCHARTED, _O, count=True),
}
GENERIC = Meaning("generic", _O, "series_shift", "series_shift")
COUNTING = Meaning(UNCHARTED, _O)


_OF_POLICIES: tuple[tuple[frozenset[str], Meaning], ...] = (
    (frozenset(("kl",)), Meaning("policy_drift", _O, up="rl_kl")),
    (frozenset(("entropy",)), Meaning("policy", _O, down="rl_entropy")),
    (frozenset(("reward", "rewards", "rew", "return", "returns")), Meaning("reward", _O, down="rl_reward")),
)
_NO_POLICY = frozenset(("loss", "coef", "coefficient", "target", "std", "max", "min", "scale"))
"""Words in a name that make it another quantity: the sign turned round, a setting, a spread."""
_COUNTS = frozenset(("epoch", "epochs", "iteration", "iterations", "count", "seen", "elapsed"))
"""Words of numbers that go up by steps: no level to leave."""


def meaning_of(signal: str) -> Meaning:
    """The signal's meaning; one outside the closed list is a policy's, by the words of its name, or generic."""
    known = MEANINGS.get(signal)
    if known is not None:
        return known
    words = words_of(signal)
    if words & _COUNTS:
        return COUNTING
    if words & _NO_POLICY:
        return GENERIC
    return next((meaning for named, meaning in _OF_POLICIES if words & named), GENERIC)
