"""What a run can be taken back to: the last step, and the last checkpoint, before an incident's cause."""

from __future__ import annotations

from collections.abc import Callable

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.open_incident import Finding, Moment, OpenIncident
from anomaly.records import MILLIONTHS

DRIFT_STEPS = 30 * MILLIONTHS
"""What took a sum longer than this to find came slowly: its onset may lie before the estimate."""

LastGood = Callable[[int], int | None]
"""The last step without suspicion before a step; in millionths."""


def look_back(incident: OpenIncident, finding: Finding, moment: Moment) -> None:
    """What is safe to go back to: before this finding's onset and before any that was believed until now."""
    known = [
        step
        for step in (incident.last_good_step, finding.last_good_step)
        if step is not None and step <= incident.first_step  # a finding that came later has its own
    ]
    incident.last_good_step = min(known, default=None)
    last = incident.first_step - 1 if incident.last_good_step is None else incident.last_good_step
    incident.last_checkpoint_step = max((step for step in moment.checkpoints if step <= last), default=None)


def good_before(alarm: Alarm, moment: Moment, last_good: LastGood) -> int | None:
    """The last good step; for what came slowly with a margin of half of the time that it took to be found."""
    took = moment.step - alarm.first_step
    summed = bool(alarm.evidence) and alarm.evidence[0].detector == "shift"
    margin = took // 2 if summed and took > DRIFT_STEPS else 0
    step = last_good(alarm.first_step - margin)
    return last_good(alarm.first_step) if step is None else step
