"""An alarm: a verdict a person may act on. The judge makes them; the incident book turns them into incidents."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Evidence, Severity
from anomaly.records import step_number


@dataclass(frozen=True, slots=True)
class Alarm:
    """One finding in one record. Steps are millionths; `layers` are suspects, the most probable origin first."""

    kind: str
    severity: Severity
    first_step: int
    evidence: tuple[Evidence, ...]
    layers: tuple[str, ...] = ()
    ranks: tuple[int, ...] = ()
    symptom: bool = False
    """Too weak to open an incident or to keep one open: it only tells what an open one is about."""


def alarm_of(
    kind: str,
    first_step: int,
    evidence: tuple[Evidence, ...],
    layers: tuple[str, ...] = (),
    ranks: tuple[int, ...] = (),
) -> Alarm:
    """An alarm as severe as its kind is."""
    return Alarm(kind, KINDS[kind].severity, first_step, evidence, layers, ranks)


def alarm_by(kind: str, first_step: int, evidence: Evidence) -> Alarm:
    """An alarm by one statistic since `first_step`: of its layer, or of the whole model."""
    since = msgspec.structs.replace(evidence, since_step=step_number(first_step))
    return alarm_of(kind, first_step, (since,), () if evidence.layer is None else (evidence.layer,))
