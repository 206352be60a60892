"""Which of an incident's findings is the cause: the others follow from it, or are the same thing seen elsewhere.

An exact rule knows what it saw, and a comparison of ranks knows where: both go before charts. Among charts the
earlier onset does, and of equal ones what is nearer to the cause within a training step: an activation's own trouble,
weights, gradients, updates, the loss. Weights and the size of activations are one growth seen twice; the larger one
names it: a channel that runs away hardly moves its layer's norm, weights that grow take all activations along.

Updates of a layer or two name an incident only until it shows what they do there: weights are all that any fault inside
a layer can act through. Too large updates of weights that are scaled are the scaling; too small ones follow from a
gradient that vanished. A rank whose forward pass differs sends another gradient for that.
"""

from __future__ import annotations

import math

from anomaly.incidents.open_incident import Finding
from anomaly.incidents.transition import Severity
from anomaly.records import MILLIONTHS

ONSET_STEPS = 10 * MILLIONTHS
"""Onsets of charts closer than this are the same."""
EXACT_SOON_READINGS = 20
"""Zeros that come later than this after another finding follow from it."""
NONFINITE_SOON_READINGS = 3
SCALING = "scaling"
"""The detector of evidence that a layer's weights are scaled."""
CHANNEL_RATIO = 1.2
"""A largest activation that grew by this many times the log of its layer's weights grew by itself."""

_ALWAYS = frozenset(
    (
        "bad_batch",
        "duplicate_run",
        "loss_out_of_range",
        "loss_scale_collapse",
        "lr_schedule",
        "missing_zero_grad",
        "optimizer_state_lost",
        "poor_initialisation",
        "rank_gradient_outlier",
        "repeated_batch",
        "replica_divergence",
        "residual_gain_outlier",
        "resume_corruption",
    )
)
_SOON = {"gradient_dead": EXACT_SOON_READINGS, "weights_frozen": EXACT_SOON_READINGS}
_NONFINITE = "nonfinite_"
_ORDER = {
    "duplicate_run": -1,
    "dead_units": 0,
    "saturation": 0,
    "attention_logit_growth": 0,
    "router_collapse": 0,
    "underflow": 0,
    "variance_collapse": 1,
    "outlier_growth": 1,
    "weight_blowup": 1,
    "gradient_explosion": 2,
    "gradient_spike": 2,
    "layer_gradient_spike": 2,
    "gradient_vanishing": 2,
    "gradient_noise": 2,
    "update_ratio_high": 3,
    "update_ratio_low": 3,
    "loss_spike_persistent": 5,
    "loss_divergence": 5,
    "loss_collapse": 5,
}
_OTHER = 4
_GROWTH = frozenset(("weight_blowup", "outlier_growth"))
_REFINED = _GROWTH | {"variance_collapse"}
_OF_UPDATES = ("update_ratio_high", "update_ratio_low")
FEW_LAYERS = 2
_FORWARD = frozenset(("bad_batch", "residual_gain_outlier"))
_TAME = frozenset(
    (
        "dead_units",
        "flat_from_start",
        "gradient_dead",
        "gradient_vanishing",
        "loss_collapse",
        "loss_plateau",
        "overfit",
        "repeated_batch",
        "saturation",
        "underflow",
        "update_ratio_low",
        "weights_frozen",
    )
)
"""Nothing grows in these: numbers that are none do not follow from them."""
EXACT_KINDS = _ALWAYS | frozenset(_SOON)


def origin_of(findings: list[Finding]) -> Finding:
    """The cause among the findings; at least one."""
    loud = [finding for finding in findings if not finding.symptom] or findings
    highest = max(finding.severity.rank for finding in loud)
    level = min(highest, Severity.WARNING.rank)
    heard = [finding for finding in loud if finding.severity.rank >= level]
    if any(each.kind.startswith(_NONFINITE) for each in heard):
        heard = [each for each in heard if each.kind not in _TAME]
    best = _first(heard)
    if best.kind == "nonfinite_loss":  # of the same step, or seen where the layer reports next
        return next((each for each in heard if each.kind == "nonfinite_activation" and each.layers), best)
    if best.kind == "rank_gradient_outlier":
        return _forward(best, heard)
    best = _behind(best, findings)
    if best.kind in _REFINED or (best.kind in _OF_UPDATES and len(best.layers) <= FEW_LAYERS):
        return _refined(best, heard + [each for each in findings if each.symptom])
    if best.kind == "gradient_spike" and not best.layers:
        few = next((each for each in findings if each.symptom and each.kind == "layer_gradient_spike"), None)
        best = few or best  # the total moved because a few layers did
    if best.kind == "layer_gradient_spike":
        best = next((each for each in heard if _is_noise_of(each, best)), best)
    return _first_of_update(best, heard) if best.kind.endswith("_spike") else best


def _is_noise_of(noise: Finding, spike: Finding) -> bool:
    """Whether a layer's noise has grown, so that three high readings in a row are a part of it."""
    return noise.kind == "gradient_noise" and noise.layers[:1] == spike.layers[:1]


def _first(heard: list[Finding]) -> Finding:
    """By trust, onset and place in the step."""
    first_seen = min(finding.reading for finding in heard)
    first_step = min(finding.first_step for finding in heard)

    def order(finding: Finding) -> tuple[int, int, int, int]:
        later = finding.first_step > first_step + ONSET_STEPS
        return (_trust(finding, first_seen), int(later), _ORDER.get(finding.kind, _OTHER), finding.reading)

    return min(heard, key=order)


def _trust(finding: Finding, first_seen: int) -> int:
    """0 for what is exact and no consequence, 1 for charts, 2 for what follows from others by its nature."""
    if finding.kind in _ALWAYS:
        return 0
    if finding.kind.startswith(_NONFINITE):
        return 0 if finding.reading - first_seen <= NONFINITE_SOON_READINGS else 2
    soon = _SOON.get(finding.kind)
    if soon is None:
        return 1
    return 0 if finding.reading - first_seen <= soon else 2


def _behind(updates: Finding, findings: list[Finding]) -> Finding:
    """What is behind updates that stand out: their layer's weights are scaled, or its gradient has vanished."""
    first = set(updates.layers[:FEW_LAYERS])
    for each in findings:
        scales = any(entry.detector == SCALING and entry.layer in first for entry in each.evidence)
        starves = each.kind == "gradient_vanishing" and first & set(each.layers)
        if (updates.kind == "update_ratio_high" and scales) or (
            updates.kind == "update_ratio_low" and starves
        ):
            return each
    return updates


def _refined(best: Finding, others: list[Finding]) -> Finding:
    """What the first suspects show themselves, symptoms included, where no more than their change is known."""
    here = [each for each in others if set(each.layers) & set(best.layers[:2])]
    own = [each for each in here if _ORDER.get(each.kind) == 0]
    if own:
        return min(own, key=lambda each: each.reading)
    if best.kind == "update_ratio_high":
        shown = [each for each in here if each.kind in _REFINED and not each.symptom]
        best = min(shown, key=lambda each: each.reading, default=best)
    other = next((each for each in here if {each.kind, best.kind} == _GROWTH), None)
    if other is None:
        return best
    weights, activations = (best, other) if best.kind == "weight_blowup" else (other, best)
    return activations if _effect(activations, "act_absmax") >= CHANNEL_RATIO * _effect(weights) else weights


def _forward(best: Finding, heard: list[Finding]) -> Finding:
    """What the forward pass of the same rank shows."""
    shown = [each for each in heard if each.kind in _FORWARD and set(each.ranks) & set(best.ranks)]
    return min(shown, key=lambda each: each.reading, default=best)


def _first_of_update(best: Finding, heard: list[Finding]) -> Finding:
    """Updates that grew before the gradients did are no consequence of them; in the same step they are."""
    updates = next((each for each in heard if each.kind == "update_ratio_high"), None)
    return updates if updates is not None and updates.first_step < best.first_step else best


def _effect(finding: Finding, statistic: str | None = None) -> float:
    """The largest change among its evidence, in log2 units; of one statistic, or of any."""
    changes = [
        abs(math.log2(entry.value / entry.expected))
        for entry in finding.evidence
        if statistic in (None, entry.statistic)
        and entry.expected
        and entry.value > 0
        and entry.expected > 0
        and math.isfinite(entry.value)
    ]
    return max(changes, default=0.0)
