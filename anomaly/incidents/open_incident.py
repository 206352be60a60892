"""An incident that is not resolved, what was found in it so far, and the record at which it is looked at."""

from __future__ import annotations

import msgspec

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.text import summary_of
from anomaly.incidents.transition import (
    MAX_LAYERS_NAMED,
    Considered,
    Evidence,
    Number,
    Severity,
    Source,
    Status,
    Transition,
)
from anomaly.records import step_number


class Moment(msgspec.Struct, frozen=True):
    """The record being judged, as far as an incident needs it. Steps are millionths."""

    step: int
    reading: int
    attempt: int
    time: float | None
    source: Source | None
    checkpoints: tuple[int, ...] = ()
    tags: dict[str, str] | None = None


class Finding(msgspec.Struct):
    """All alarms of one kind in one incident. Steps are millionths.

    `severity` is the highest, `first_step` and `reading` are of the first alarm at that severity; `symptom`: none of
    them would have been told by itself.
    """

    kind: str
    severity: Severity
    first_step: int
    reading: int
    layers: list[str]
    ranks: list[int]
    evidence: list[Evidence]
    last_good_step: int | None = None
    symptom: bool = False


class OpenIncident(msgspec.Struct):
    """An incident that is not resolved; it lives in the run's snapshot. Steps are millionths."""

    incident: str
    kind: str
    severity: Severity
    attempt: int
    first_step: int
    first_reading: int
    last_good_step: int | None
    last_checkpoint_step: int | None
    layers: list[str]
    ranks: list[int]
    evidence: list[Evidence]
    opened_time: float | None
    source: Source | None
    transition: int = 0
    last_evidence_reading: int = 0
    last_transition_step: int = 0
    changed: bool = False
    opened_step: int = 0
    findings: list[Finding] = []
    considered: list[Considered] = []
    longest_pause: int = 0
    """Readings without evidence, the most after which it came back."""

    def finding_of(self, kind: str) -> Finding | None:
        """What was found of that kind."""
        return next((finding for finding in self.findings if finding.kind == kind), None)

    def told(self, run: str, status: Status, moment: Moment) -> Transition:
        """The incident as it stands, numbered on."""
        self.transition += 1
        self.last_transition_step = moment.step
        self.changed = False
        kind, strongest = KINDS[self.kind], self.evidence[0]
        layer = self.layers[0] if self.layers else None
        return Transition(
            incident=self.incident,
            transition=self.transition,
            status=status,
            run=run,
            attempt=self.attempt,
            kind=self.kind,
            severity=self.severity,
            step=step_number(moment.step),
            first_step=step_number(self.first_step),
            last_good_step=_number(self.last_good_step),
            last_checkpoint_step=_number(self.last_checkpoint_step),
            layer=layer,
            layers=tuple(self.layers),
            ranks=tuple(self.ranks),
            statistic=strongest.statistic,
            value=strongest.value,
            expected=strongest.expected,
            score=strongest.score,
            detector=strongest.detector,
            evidence=tuple(self.evidence),
            summary=summary_of(kind, layer, self.ranks, self.first_step, strongest),
            advice=kind.advice,
            runbook=kind.runbook,
            source=self.source,
            opened_unix_seconds=self.opened_time,
            updated_unix_seconds=moment.time,
            tags=moment.tags,
            considered=tuple(self.considered),
        )


def found(alarm: Alarm, moment: Moment, last_good_step: int | None) -> Finding:
    """The first alarm of its kind as a finding."""
    return Finding(
        kind=alarm.kind,
        severity=alarm.severity,
        first_step=alarm.first_step,
        reading=moment.reading,
        layers=list(alarm.layers[:MAX_LAYERS_NAMED]),
        ranks=sorted(alarm.ranks),
        evidence=list(alarm.evidence),
        last_good_step=last_good_step,
        symptom=alarm.symptom,
    )


def _number(step: int | None) -> Number | None:
    return None if step is None else step_number(step)
