"""Whether what a chart found is a loss to anybody: what explains a change of one series, kind by kind."""

from __future__ import annotations

from math import isfinite

import numpy as np

from anomaly.monitor.context import clipping_of_late, other_data_explain
from anomaly.monitor.kin import are_next_to_nothing
from anomaly.monitor.learning import SLOW_READINGS, moving_slowly
from anomaly.monitor.losses import is_young
from anomaly.monitor.own_series import left_its_level
from anomaly.monitor.rounded import is_rounding_error
from anomaly.monitor.rules import is_expert, updates_are_lost
from anomaly.monitor.state import RunState

CLIPPED = 0.7
"""Gradients clipped to less than this share of what they usually are make updates smaller, with plain SGD as much."""
LEFT_BY_CLIPPING = 0.35
CLIPPING_READINGS = 600
"""From so many on, what is usual of clipping is known."""
BEGINNING_READINGS = 20
"""Until then weights of next to nothing may grow as they like."""
ENTROPY_LEFT = 0.3
"""Heads that learn where to look have half of it left."""
LIMIT = 1.01
"""Of a tanh, rounded."""
SAME_UPDATES = 1.75
"""Times what a layer's updates were: less is no more than their noise."""
OF_ONE_LAYER = ("layer_gradient_spike", "gradient_vanishing", "update_ratio_high", "update_ratio_low")
OF_UNKNOWN_UNIT = ("series_shift", "rl_reward")
OF_POLICIES = ("rl_kl", "rl_entropy")
"""An autoencoder has a KL, too, and a router an entropy."""


def matters(state: RunState, slot: int, kind: str, least_change: float = 0.0) -> bool:
    """Whether the change is a loss to somebody, and more than the clipping of gradients explains."""
    if kind in OF_POLICIES and not state.table.of_policy:
        return False
    if kind in OF_ONE_LAYER and is_rounding_error(state, slot):
        return False
    if kind == "underflow" and is_expert(state, slot):
        return False
    if kind == "update_ratio_low":
        if updates_are_lost(state, slot, state.context.lr):
            return False
        clipped = _clipped(state)
        return clipped > CLIPPED or _ratio(state, slot) < LEFT_BY_CLIPPING * clipped
    if kind == "loss_spike_persistent":
        if is_young(state) and len(moving_slowly(state, np.array([slot]), SLOW_READINGS)):
            return False
        loss = state.slab.describe(slot)
        return not other_data_explain(state, loss.value, loss.expected)
    if kind == "update_ratio_high" and _are_smaller_weights(state, slot):
        return False
    if kind == "weight_blowup" and are_next_to_nothing(state, slot):
        return state.slab.learned(slot) >= BEGINNING_READINGS
    if kind == "saturation" and _has_no_limit(state, slot):
        return False
    if kind == "attention_logit_growth" and state.table.signal_name(slot) == "attn_entropy":
        return _ratio(state, slot) < ENTROPY_LEFT
    if kind in OF_UNKNOWN_UNIT and not left_its_level(state.slab, slot):
        return False
    if not least_change:
        return True
    reading = state.slab.describe(slot)
    return abs(reading.value - reading.expected) >= least_change


def _are_smaller_weights(state: RunState, slot: int) -> bool:
    """Whether a layer's updates are about what they were, of weights that are next to nothing now, as biases may be."""
    weights = state.table.slot_of(state.table.layer_name(slot) or "", "weight_norm")
    return weights is not None and _ratio(state, slot) * _ratio(state, weights) < SAME_UPDATES


def _has_no_limit(state: RunState, slot: int) -> bool:
    """Whether it is the last layer, and puts out more than a tanh or a sigmoid gives: it is not at its end.

    Another layer's share may be that of a tanh behind it, and what it puts out itself may be anything.
    """
    layer = state.table.layer_name(slot) or ""
    if layer != state.table.layers[-1]:
        return False
    sizes = (state.table.slot_of(layer, signal) for signal in ("act_absmax", "act_rms"))
    return any(size is not None and state.slab.describe(size).value > LIMIT for size in sizes)


def _clipped(state: RunState) -> float:
    """What clipping leaves of the gradient, over what it usually leaves; 1 where nothing is clipped."""
    slot = state.table.model_slots.get("clip_coef")
    if slot is None:
        return 1.0
    clip = state.slab.describe(slot)
    left = min(clipping_of_late(state), clip.value if isfinite(clip.value) else 1.0)
    if state.slab.learned(slot) < CLIPPING_READINGS:  # it was switched on a while ago
        return left
    return left / clip.expected


def _ratio(state: RunState, slot: int) -> float:
    """The slot's last reading over what is expected of it; 1 where that says nothing."""
    reading = state.slab.describe(slot)
    ratio = reading.value / reading.expected if reading.expected > 0 else 1.0
    return ratio if isfinite(ratio) else 1.0
