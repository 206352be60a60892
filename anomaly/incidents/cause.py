"""Whether an alarm belongs to an open incident: what began with it, what spreads from it, what follows from it."""

from __future__ import annotations

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.open_incident import Moment, OpenIncident
from anomaly.incidents.origin import EXACT_KINDS
from anomaly.incidents.transition import Severity
from anomaly.records import MILLIONTHS

SAME_CAUSE_READINGS = 100
"""What begins within this many readings of an incident belongs to it, and may still be its cause; …"""
SAME_CAUSE_STEPS, RARE_READINGS = 200, 20
"""… and within so many steps, where each reading stands for some, or so few readings."""
QUIET_READINGS = 25
"""What is new after this many readings without evidence is another matter."""

DIVERGING = ("gradient_explosion", "weight_blowup", "update_ratio_high", "loss_divergence")
ENDS = ("gradient_dead", "weights_frozen")
"""Exact zeros: all that is left where numbers have grown out of range."""


def belongs(incident: OpenIncident, alarm: Alarm, moment: Moment) -> bool:
    """Whether the alarm is of this incident's cause."""
    if KINDS[incident.kind].cause_group != KINDS[alarm.kind].cause_group:
        return False
    if alarm.severity is Severity.INFO or incident.severity is Severity.INFO:
        return True
    if _began_with(incident, alarm, moment):
        return True
    if incident.finding_of(alarm.kind) is not None and _near(incident, alarm):
        return True
    if moment.reading - incident.last_evidence_reading >= QUIET_READINGS:
        return False
    if KINDS[alarm.kind].family == "nonfinite" or (incident.kind in DIVERGING and alarm.kind in ENDS):
        return True  # that is where a run that diverges ends
    if alarm.kind in EXACT_KINDS:
        return False
    return not alarm.layers or (_near(incident, alarm) and not _stands_still(incident))


def _stands_still(incident: OpenIncident) -> bool:
    """Whether nothing is learned, by an incident of the whole model: no layer goes anywhere because of that."""
    strongest = incident.evidence[0]
    slow = incident.kind == "flat_from_start" or (strongest.statistic == "lr" and strongest.value == 0.0)
    return slow and not incident.layers


def _began(incident: OpenIncident, alarm: Alarm, moment: Moment) -> float:
    """How many readings after the incident's first the alarm's onset is."""
    readings, steps = moment.reading - incident.first_reading, moment.step - incident.opened_step
    if readings <= SAME_CAUSE_READINGS or steps <= 0:
        return readings
    return readings * (alarm.first_step - incident.opened_step) / steps


def _began_with(incident: OpenIncident, alarm: Alarm, moment: Moment) -> bool:
    """Whether the alarm's onset is soon enough after the incident's first reading."""
    began = _began(incident, alarm, moment)
    if began <= RARE_READINGS:
        return True
    steps_each = (moment.step - incident.opened_step) / max(moment.reading - incident.first_reading, 1)
    return began <= SAME_CAUSE_READINGS and began * steps_each <= SAME_CAUSE_STEPS * MILLIONTHS


def _near(incident: OpenIncident, alarm: Alarm) -> bool:
    """Whether it is seen in the same part of the model, or on the same ranks; or the incident is of all of it."""
    if incident.ranks and alarm.ranks:
        return bool(set(incident.ranks) & set(alarm.ranks))
    if not incident.layers or not alarm.layers:
        return True
    parts = {block_of(layer) for layer in incident.layers}
    return any(block_of(layer) in parts for layer in alarm.layers)


def block_of(layer: str) -> str:
    """The numbered part of the model that a layer is in, or the layer itself: up to the first number between dots or
    slashes; where there is none, up to the first name that ends in one.

    >>> [block_of(name) for name in ("h.3.attn.qkv", "layer1.0.conv2", "params/Block_3/Dense_0", "head")]
    ['h.3', 'layer1.0', 'params.Block_3', 'head']
    """
    parts = layer.replace("/", ".").split(".")
    numbered = [at for at, part in enumerate(parts) if part.isdigit()]
    ending = [at for at, part in enumerate(parts) if part[-1:].isdigit()]
    found = numbered or ending
    return ".".join(parts[: found[0] + 1]) if found else layer
