"""What to tell a receiver of a transition, and why: a pure function of what is known. The reason is the log's word,
the metric's label and the tests' expectation.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from anomaly.incidents.actions import Action, IncidentAction
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify.delivery import Event
from anomaly.notify.entry import Entry, Outcome
from anomaly.notify.routing import Routed


class Reason(enum.StrEnum):
    """Why something is, or is not, told."""

    PAGED = "paged"
    ESCALATED = "escalated"
    UPDATED = "updated"
    RESOLVED = "resolved"
    REPEATED = "repeated"
    INFO = "info"
    NOT_ROUTED = "not_routed"
    OUTSIDE_HOURS = "outside_hours"
    MUTED = "muted"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED_BY_HAND = "resolved_by_hand"
    NEVER_PAGED = "never_paged"
    UNREADABLE = "unreadable"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to tell, or None; and why."""

    event: Event | None
    reason: Reason


_QUIET = {
    Action.MUTE: Reason.MUTED,
    Action.ACKNOWLEDGE: Reason.ACKNOWLEDGED,
    Action.RESOLVE: Reason.RESOLVED_BY_HAND,
    Action.FALSE_ALARM: Reason.RESOLVED_BY_HAND,
}
HELD_BACK = {
    Reason.MUTED: Outcome.MUTED,
    Reason.ACKNOWLEDGED: Outcome.ACKNOWLEDGED,
    Reason.RESOLVED_BY_HAND: Outcome.RESOLVED_BY_HAND,
    Reason.OUTSIDE_HOURS: Outcome.OUTSIDE_HOURS,
}
"""Reasons that are remembered: what they hold back may be told later."""
_CLOSING = (Action.RESOLVE, Action.FALSE_ALARM)


def decide(
    transition: Transition, entry: Entry | None, holding: Sequence[IncidentAction], routed: Routed
) -> Decision:
    """What to tell of a transition that has just been read.

    `entry` is what the receiver was told of the incident, `holding` what people did with it that holds now, the
    strongest first, `routed` whether it goes to this receiver now.
    """
    if entry is not None and transition.transition <= entry.transition.transition:
        return Decision(None, Reason.REPEATED)
    paged = None if entry is None else entry.severity
    if transition.status is Status.RESOLVED:
        return _of_the_end(paged, entry)
    if _is_escalation(transition, entry) and routed is Routed.YES:
        if paged is None:
            return Decision(Event.PAGE, Reason.ESCALATED)
        return Decision(Event.ESCALATE, Reason.ESCALATED)
    return _of_the_rest(transition, paged, holding, routed)


def decide_again(entry: Entry, holding: Sequence[IncidentAction], routed: Routed) -> Decision | None:
    """What to tell now of an incident that goes on, though no transition came; None: nothing has changed.

    People act, mutes end, hours begin, and a receiver that was down may be back.
    """
    if entry.pending is not None:
        return None
    if entry.outcome is Outcome.FAILED and entry.severity is not None:
        failed = _again_after_failure(entry, routed)
        if failed is not None:
            return failed
    if not entry.is_open:
        return None
    if entry.severity is not None:
        closed = any(action.action in _CLOSING for action in holding)
        return Decision(Event.RESOLVE, Reason.RESOLVED_BY_HAND) if closed else None
    decision = _of_the_rest(entry.transition, None, holding, routed)
    return decision if decision.event is not None else None


def _again_after_failure(entry: Entry, routed: Routed) -> Decision | None:
    if not entry.is_open:
        return Decision(Event.RESOLVE, Reason.RESOLVED)
    if _is_escalation(entry.transition, entry) and routed is Routed.YES:
        return Decision(Event.ESCALATE, Reason.ESCALATED)
    return None


def _of_the_end(paged: Severity | None, entry: Entry | None) -> Decision:
    if paged is not None:
        return Decision(Event.RESOLVE, Reason.RESOLVED)
    by_hand = entry is not None and entry.outcome is Outcome.RESOLVED_BY_HAND
    return Decision(None, Reason.RESOLVED_BY_HAND if by_hand else Reason.NEVER_PAGED)


def _is_escalation(transition: Transition, entry: Entry | None) -> bool:
    """Whether it has become critical since it was dealt with last: what pages whatever was muted or acknowledged."""
    if transition.severity is not Severity.CRITICAL:
        return False
    if entry is None:  # it was less before, or would have been paged
        return transition.status is Status.UPDATED
    if entry.severity is not None:
        return entry.severity is not Severity.CRITICAL
    return entry.transition.severity is not Severity.CRITICAL


def _of_the_rest(
    transition: Transition, paged: Severity | None, holding: Sequence[IncidentAction], routed: Routed
) -> Decision:
    quiet = _QUIET.get(holding[0].action) if holding else None
    if paged is not None:
        if quiet is None or quiet is Reason.ACKNOWLEDGED:  # whoever looks after it sees it as it is
            return Decision(Event.UPDATE, Reason.UPDATED)
        return Decision(None, quiet)
    if transition.severity is Severity.INFO:
        return Decision(None, Reason.INFO)
    if routed is Routed.NO:
        return Decision(None, Reason.NOT_ROUTED)
    if quiet is not None:
        return Decision(None, quiet)
    if routed is Routed.LATER:
        return Decision(None, Reason.OUTSIDE_HOURS)
    return Decision(Event.PAGE, Reason.PAGED)
