"""The incident book of one run: alarms become incidents, opened, updated, resolved; one per cause and run.

An alarm joins the open incident of its cause group, whatever its kind: a learning rate that is too high shows in the
updates, then in the loss, then as NaN, and that is one cause and one page. The kind stays that of the first finding
a person would act on; an incident that was only `info`, or whose onset lies far back, takes the kind of the stronger
finding. All of it is a pure function of the records: time comes from them, order from the partition's log.
"""

from __future__ import annotations

import msgspec

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.text import summary_of
from anomaly.incidents.transition import (
    MAX_EVIDENCE,
    MAX_LAYERS_NAMED,
    Evidence,
    Number,
    Severity,
    Source,
    Status,
    Transition,
    incident_identity,
)
from anomaly.records import MILLIONTHS, step_number

RESOLVE_AFTER_READINGS = 50
UPDATE_EVERY_STEPS = 20
SAME_CAUSE_READINGS = 100
"""An open incident keeps its kind against a stronger finding when its onset is at most this many readings old."""
MAX_RANKS_NAMED = 64


class Moment(msgspec.Struct, frozen=True):
    """The record being judged, as far as an incident needs it. Steps are millionths."""

    step: int
    reading: int
    attempt: int
    time: float | None
    source: Source | None
    checkpoints: tuple[int, ...] = ()
    tags: dict[str, str] | None = None


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


class IncidentBook(msgspec.Struct):
    """A run's open incidents, and how many of each kind there have been."""

    open: list[OpenIncident] = []
    ordinals: dict[str, int] = {}

    def take(
        self, run: str, alarms: list[Alarm], moment: Moment, last_good_step: int | None
    ) -> list[Transition]:
        """The transitions that one record's alarms cause, and those that come due at it. `alarms` may be empty."""
        transitions = []
        for alarm in alarms:
            incident = self._incident_of(alarm)
            if incident is None:
                transitions.append(self._opened(run, alarm, moment, last_good_step))
            elif _join(incident, alarm, moment, last_good_step):
                transitions.append(_transition(run, incident, Status.UPDATED, moment))
        for incident in tuple(self.open):
            if moment.reading - incident.last_evidence_reading >= RESOLVE_AFTER_READINGS:
                transitions.append(self._resolved(run, incident, moment))
            elif incident.changed and _update_due(incident, moment):
                transitions.append(_transition(run, incident, Status.UPDATED, moment))
        return transitions

    def resolve_all(self, run: str, moment: Moment) -> list[Transition]:
        """Close what is open: the run started over, or finished."""
        return [self._resolved(run, incident, moment) for incident in tuple(self.open)]

    def next_ordinal(self, kind: str) -> int:
        """What the next incident of a kind counts as."""
        return self.ordinals.get(kind, 0) + 1

    def _incident_of(self, alarm: Alarm) -> OpenIncident | None:
        group = KINDS[alarm.kind].cause_group
        return next((incident for incident in self.open if KINDS[incident.kind].cause_group == group), None)

    def _opened(self, run: str, alarm: Alarm, moment: Moment, last_good_step: int | None) -> Transition:
        ordinal = self.ordinals[alarm.kind] = self.next_ordinal(alarm.kind)
        incident = OpenIncident(
            incident=incident_identity(run, moment.attempt, alarm.kind, moment.step, ordinal),
            kind=alarm.kind,
            severity=alarm.severity,
            attempt=moment.attempt,
            first_step=alarm.first_step,
            first_reading=moment.reading,
            last_good_step=last_good_step,
            last_checkpoint_step=_checkpoint_before(moment, alarm.first_step),
            layers=list(alarm.layers[:MAX_LAYERS_NAMED]),
            ranks=sorted(alarm.ranks)[:MAX_RANKS_NAMED],
            evidence=list(alarm.evidence[:MAX_EVIDENCE]),
            opened_time=moment.time,
            source=moment.source,
            transition=-1,
            last_evidence_reading=moment.reading,
        )
        self.open.append(incident)
        return _transition(run, incident, Status.OPENED, moment)

    def _resolved(self, run: str, incident: OpenIncident, moment: Moment) -> Transition:
        self.open.remove(incident)
        return _transition(run, incident, Status.RESOLVED, moment)


def _join(incident: OpenIncident, alarm: Alarm, moment: Moment, last_good_step: int | None) -> bool:
    """Add an alarm to an open incident. True when people must hear of it now: its severity rose."""
    incident.last_evidence_reading = moment.reading
    rises = alarm.severity.rank > incident.severity.rank
    if rises:
        acted_on = incident.severity is not Severity.INFO
        same_cause = acted_on and moment.reading - incident.first_reading <= SAME_CAUSE_READINGS
        incident.severity = alarm.severity
        incident.changed = True
        if not same_cause:
            _take_over(incident, alarm, moment, last_good_step)
            return True
    if alarm.severity is Severity.INFO and incident.severity is not Severity.INFO:
        return rises  # a remark keeps an incident open; it does not name suspects
    # a cause of the whole model stays one: the layers in which it shows are no suspects
    layers = [layer for layer in alarm.layers if incident.layers and layer not in incident.layers]
    ranks = [rank for rank in alarm.ranks if rank not in incident.ranks]
    if layers and len(incident.layers) < MAX_LAYERS_NAMED:
        incident.layers = (incident.layers + layers)[:MAX_LAYERS_NAMED]
        incident.changed = True
    if ranks and len(incident.ranks) < MAX_RANKS_NAMED:
        incident.ranks = sorted(incident.ranks + ranks)[:MAX_RANKS_NAMED]
        incident.changed = True
    if rises:
        incident.evidence = [*alarm.evidence[:1], *incident.evidence][:MAX_EVIDENCE]
    known = {(entry.statistic, entry.layer) for entry in incident.evidence}
    for entry in alarm.evidence:
        if len(incident.evidence) < MAX_EVIDENCE and (entry.statistic, entry.layer) not in known:
            incident.evidence.append(entry)
    return rises


def _take_over(incident: OpenIncident, alarm: Alarm, moment: Moment, last_good_step: int | None) -> None:
    """The stronger finding is what the incident is about from now on; what was seen before stays as evidence."""
    incident.kind = alarm.kind
    incident.first_step = alarm.first_step
    incident.first_reading = moment.reading
    incident.last_good_step = last_good_step
    incident.last_checkpoint_step = _checkpoint_before(moment, alarm.first_step)
    incident.layers = list(alarm.layers[:MAX_LAYERS_NAMED])
    incident.ranks = sorted(alarm.ranks)[:MAX_RANKS_NAMED]
    incident.evidence = (list(alarm.evidence) + incident.evidence)[:MAX_EVIDENCE]
    incident.source = moment.source


def _update_due(incident: OpenIncident, moment: Moment) -> bool:
    return abs(moment.step - incident.last_transition_step) >= UPDATE_EVERY_STEPS * MILLIONTHS


def _checkpoint_before(moment: Moment, first_step: int) -> int | None:
    return max((step for step in moment.checkpoints if step < first_step), default=None)


def _transition(run: str, incident: OpenIncident, status: Status, moment: Moment) -> Transition:
    """The incident as it stands, numbered on."""
    incident.transition += 1
    incident.last_transition_step = moment.step
    incident.changed = False
    kind, strongest = KINDS[incident.kind], incident.evidence[0]
    layer = incident.layers[0] if incident.layers else None
    return Transition(
        incident=incident.incident,
        transition=incident.transition,
        status=status,
        run=run,
        attempt=incident.attempt,
        kind=incident.kind,
        severity=incident.severity,
        step=step_number(moment.step),
        first_step=step_number(incident.first_step),
        last_good_step=_number(incident.last_good_step),
        last_checkpoint_step=_number(incident.last_checkpoint_step),
        layer=layer,
        layers=tuple(incident.layers),
        ranks=tuple(incident.ranks),
        statistic=strongest.statistic,
        value=strongest.value,
        expected=strongest.expected,
        score=strongest.score,
        detector=strongest.detector,
        evidence=tuple(incident.evidence),
        summary=summary_of(kind, layer, incident.ranks, incident.first_step, strongest),
        advice=kind.advice,
        runbook=kind.runbook,
        source=incident.source,
        opened_unix_seconds=incident.opened_time,
        updated_unix_seconds=moment.time,
        tags=moment.tags,
    )


def _number(step: int | None) -> Number | None:
    return None if step is None else step_number(step)
