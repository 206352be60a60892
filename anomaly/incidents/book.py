"""The incident book of one run: alarms become incidents, opened, updated, resolved; one per cause and run.

An alarm joins the open incident of its cause (`cause`), whatever its kind: a learning rate that is too high shows in
the updates, then in the loss, then as NaN, and that is one cause and one page. Which of an incident's findings names
it is settled as they come (`origin`); what comes long after, and is worse, takes it over. All of it is a pure function
of the records: time comes from them, order from the partition's log.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.cause import SAME_CAUSE_READINGS, belongs
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.open_incident import Finding, Moment, OpenIncident, found
from anomaly.incidents.origin import FEW_LAYERS, origin_of
from anomaly.incidents.safe_step import LastGood, good_before, look_back
from anomaly.incidents.transition import (
    LEARNING_RATE,
    MAX_EVIDENCE,
    MAX_LAYERS_NAMED,
    Considered,
    Severity,
    Status,
    Transition,
    incident_identity,
)
from anomaly.records import MILLIONTHS

RESOLVE_AFTER_READINGS = 50
PAUSES_LASTED = 3
"""An incident whose evidence comes and goes is over after this many times its longest pause."""
MOST_PATIENCE = 400
SEEN_AS_THEY_HAPPEN = frozenset(("leap", "lone"))
LEAP_PAUSE = 25
"""A leap is seen as it happens; until others see where it led to, it counts as having paused for so long."""
UPDATE_EVERY_STEPS = 20
MAX_RANKS_NAMED = 64
MAX_FINDINGS = 12


class IncidentBook(msgspec.Struct):
    """A run's open incidents, and how many of each kind there have been."""

    open: list[OpenIncident] = []
    ordinals: dict[str, int] = {}
    ended: dict[str, int] = {}
    """Kind → the reading at which its last incident that is over had its last evidence."""

    def take(
        self,
        run: str,
        alarms: list[Alarm],
        moment: Moment,
        last_good: LastGood,
        considered: Sequence[Considered] = (),
    ) -> list[Transition]:
        """The transitions that one record's alarms cause, and those that come due at it. `alarms` may be empty."""
        transitions = []
        for alarm in alarms:
            incident = next((each for each in self.open if belongs(each, alarm, moment)), None)
            if incident is not None:
                if _join(incident, alarm, moment, last_good, considered):
                    transitions.append(incident.told(run, Status.UPDATED, moment))
            elif not alarm.symptom:
                transitions.append(
                    self._opened(run, alarm, moment, good_before(alarm, moment, last_good), considered)
                )
        for incident in tuple(self.open):
            if moment.reading - incident.last_evidence_reading >= _patience(incident):
                transitions.append(self._resolved(run, incident, moment))
            elif incident.changed and _update_due(incident, moment):
                transitions.append(incident.told(run, Status.UPDATED, moment))
        return transitions

    def resolve_all(self, run: str, moment: Moment) -> list[Transition]:
        """Close what is open: the run started over, or finished."""
        return [self._resolved(run, incident, moment) for incident in tuple(self.open)]

    def next_ordinal(self, kind: str) -> int:
        """What the next incident of a kind counts as."""
        return self.ordinals.get(kind, 0) + 1

    def _opened(
        self,
        run: str,
        alarm: Alarm,
        moment: Moment,
        last_good_step: int | None,
        considered: Sequence[Considered] = (),
    ) -> Transition:
        ordinal = self.ordinals[alarm.kind] = self.next_ordinal(alarm.kind)
        finding = found(alarm, moment, last_good_step)
        incident = OpenIncident(
            incident=incident_identity(run, moment.attempt, alarm.kind, moment.step, ordinal),
            kind=alarm.kind,
            severity=alarm.severity,
            attempt=moment.attempt,
            first_step=alarm.first_step,
            first_reading=moment.reading,
            last_good_step=last_good_step,
            last_checkpoint_step=None,
            layers=list(finding.layers),
            ranks=finding.ranks[:MAX_RANKS_NAMED],
            evidence=list(alarm.evidence[:MAX_EVIDENCE]),
            opened_time=moment.time,
            source=moment.source,
            transition=-1,
            last_evidence_reading=moment.reading,
            opened_step=moment.step,
            findings=[finding],
            considered=_benign(alarm, considered),
        )
        pause = moment.reading - self.ended.get(alarm.kind, -MOST_PATIENCE)
        if 0 < pause < MOST_PATIENCE:
            incident.longest_pause = pause  # it has come back once: do not close it so soon again
        elif any(entry.detector in SEEN_AS_THEY_HAPPEN for entry in alarm.evidence):
            incident.longest_pause = LEAP_PAUSE
        look_back(incident, finding, moment)
        self.open.append(incident)
        return incident.told(run, Status.OPENED, moment)

    def _resolved(self, run: str, incident: OpenIncident, moment: Moment) -> Transition:
        self.open.remove(incident)
        self.ended[incident.kind] = incident.last_evidence_reading
        return incident.told(run, Status.RESOLVED, moment)


def _join(
    incident: OpenIncident,
    alarm: Alarm,
    moment: Moment,
    last_good: LastGood,
    considered: Sequence[Considered],
) -> bool:
    """Add an alarm to an open incident. True when people must hear of it now: its severity rose."""
    if not alarm.symptom:
        incident.longest_pause = max(incident.longest_pause, moment.reading - incident.last_evidence_reading)
        incident.last_evidence_reading = moment.reading
    rises = alarm.severity.rank > incident.severity.rank and not alarm.symptom
    age = moment.reading - incident.first_reading
    if rises:
        incident.changed = True
        if incident.severity is Severity.INFO or age > SAME_CAUSE_READINGS:
            incident.severity = alarm.severity
            _take_over(incident, alarm, moment, last_good, considered)
            return True
        incident.severity = alarm.severity
    if alarm.severity is Severity.INFO and incident.severity is not Severity.INFO and not alarm.symptom:
        return rises  # a remark keeps an incident open; it does not name suspects
    _note(incident, alarm, moment, last_good)
    if age <= SAME_CAUSE_READINGS:
        _settle(incident, incident.findings, moment)
    elif set(alarm.layers) & set(incident.layers[:FEW_LAYERS]) or set(alarm.ranks) & set(incident.ranks):
        both = (incident.finding_of(incident.kind), incident.finding_of(alarm.kind))
        _settle(incident, [each for each in both if each is not None], moment)
    _show(incident, alarm, rises)
    return rises


def _note(incident: OpenIncident, alarm: Alarm, moment: Moment, last_good: LastGood) -> None:
    """Add the alarm to the findings of its kind."""
    known = incident.finding_of(alarm.kind)
    if known is None or (known.symptom and not alarm.symptom) or alarm.severity.rank > known.severity.rank:
        if known is not None:
            incident.findings.remove(known)
        elif len(incident.findings) >= MAX_FINDINGS:
            return
        incident.findings.append(found(alarm, moment, good_before(alarm, moment, last_good)))
        return
    seen = {(entry.statistic, entry.layer, entry.detector) for entry in known.evidence}
    known.evidence += [
        entry for entry in alarm.evidence if (entry.statistic, entry.layer, entry.detector) not in seen
    ]
    del known.evidence[MAX_EVIDENCE:]
    known.layers += [layer for layer in alarm.layers if layer not in known.layers]
    del known.layers[MAX_LAYERS_NAMED:]
    known.ranks = sorted({*known.ranks, *alarm.ranks})[:MAX_RANKS_NAMED]


def _settle(incident: OpenIncident, findings: list[Finding], moment: Moment) -> None:
    """Let these findings say what the incident is about: all while it is young, then what its suspects show."""
    origin = origin_of(findings)
    if origin.kind == incident.kind:
        return
    incident.kind = origin.kind
    incident.first_step = min(origin.first_step, incident.first_step)
    incident.layers = (origin.layers + [each for each in incident.layers if each not in origin.layers])[
        :MAX_LAYERS_NAMED
    ]
    if not origin.layers:
        incident.layers = []  # a cause of the whole model: the layers in which it shows are no suspects
    incident.evidence = (origin.evidence + incident.evidence)[:MAX_EVIDENCE]
    incident.changed = True
    look_back(incident, origin, moment)


def _show(incident: OpenIncident, alarm: Alarm, rises: bool) -> None:
    """Name further suspects and the evidence for them."""
    layers = [layer for layer in alarm.layers if incident.layers and layer not in incident.layers]
    ranks = [rank for rank in alarm.ranks if rank not in incident.ranks]
    if layers and len(incident.layers) < MAX_LAYERS_NAMED and not alarm.symptom:
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


def _take_over(
    incident: OpenIncident,
    alarm: Alarm,
    moment: Moment,
    last_good: LastGood,
    considered: Sequence[Considered],
) -> None:
    """The stronger finding is what the incident is about from now on; what was seen before stays as evidence."""
    finding = found(alarm, moment, good_before(alarm, moment, last_good))
    incident.kind = alarm.kind
    incident.first_step = alarm.first_step
    incident.first_reading = moment.reading
    incident.opened_step = moment.step
    incident.last_good_step = None
    incident.layers = list(finding.layers)
    incident.ranks = finding.ranks[:MAX_RANKS_NAMED]
    incident.evidence = (list(alarm.evidence) + incident.evidence)[:MAX_EVIDENCE]
    incident.source = moment.source
    incident.findings = [finding]
    incident.considered = _benign(alarm, considered)
    look_back(incident, finding, moment)


def _benign(alarm: Alarm, considered: Sequence[Considered]) -> list[Considered]:
    """What was considered; a number that is none has no benign explanation, and nothing explains itself."""
    if KINDS[alarm.kind].family == "nonfinite":
        return []
    return [each for each in considered if (alarm.kind, each.explanation) != ("lr_schedule", LEARNING_RATE)]


def _patience(incident: OpenIncident) -> int:
    return max(RESOLVE_AFTER_READINGS, min(PAUSES_LASTED * incident.longest_pause, MOST_PATIENCE))


def _update_due(incident: OpenIncident, moment: Moment) -> bool:
    return abs(moment.step - incident.last_transition_step) >= UPDATE_EVERY_STEPS * MILLIONTHS
