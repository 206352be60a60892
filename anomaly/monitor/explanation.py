"""Which benign explanations an incident has: what is known to have changed, and what is known not to have."""

from __future__ import annotations

from anomaly.incidents.open_incident import Moment
from anomaly.incidents.text import number_text
from anomaly.incidents.transition import LEARNING_RATE, Considered
from anomaly.monitor.context import BATCH, CAUTION_READINGS, LR_JUMP, RESTART
from anomaly.monitor.state import RunState
from anomaly.records import step_number

RECENT_READINGS = 2 * CAUTION_READINGS
"""A change this long before an alarm is no explanation of it any more."""


def considered(state: RunState, moment: Moment) -> tuple[Considered, ...]:
    """What was considered for an alarm of this record, and why it does not do, or that it may."""
    context = state.context
    verdicts: list[tuple[str, str]] = []
    if context.lr is not None:
        settled = context.settled_lr
        most = "" if settled is None else f", {number_text(settled)} at most before"
        jumped = settled is not None and context.lr > LR_JUMP * settled
        verdict = "may be" if jumped else "no: did not jump"
        verdicts.append((LEARNING_RATE, f"{verdict}; {number_text(context.lr)} now{most}"))
    if context.tokens is not None:
        verdicts.append((BATCH, f"no: unchanged, {number_text(context.tokens)} tokens a step"))
    verdicts.append((RESTART, "no: none lately"))
    told = dict(verdicts)
    events = False
    for what, (reading, step) in context.changes.items():
        if moment.reading - reading <= RECENT_READINGS:
            events = events or what not in told
            told[what] = (
                f"may be: changed at step {step_number(step):,}; for a while twice the evidence was asked"
            )
    if not events:
        told["event"] = "no: none lately"
    return tuple(Considered(what, verdict) for what, verdict in told.items())
