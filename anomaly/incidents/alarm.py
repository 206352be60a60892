"""An alarm: a verdict a person may act on. The judge makes them; the incident book turns them into incidents."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import MAX_EVIDENCE, MAX_LAYERS_NAMED, Evidence, Severity
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
    severity: Severity | None = None,
) -> Alarm:
    """An alarm, as severe as its kind is unless told; evidence that does not say since when is since `first_step`."""
    since = step_number(first_step)
    told = tuple(
        each if each.since_step is not None else msgspec.structs.replace(each, since_step=since)
        for each in evidence[:MAX_EVIDENCE]
    )
    severity = KINDS[kind].severity if severity is None else severity
    return Alarm(kind, severity, first_step, told, layers[:MAX_LAYERS_NAMED], ranks)


def alarm_by(kind: str, first_step: int, evidence: Evidence, severity: Severity | None = None) -> Alarm:
    """An alarm by one statistic: of its layer, or of the whole model."""
    layers = () if evidence.layer is None else (evidence.layer,)
    return alarm_of(kind, first_step, (evidence,), layers, severity=severity)
