"""From alarms to incidents: one per cause and run, opened, updated, resolved. Pure: no I/O, no clock.

Reading order: transition (what travels), kinds (severity, words, advice), alarm (what comes in), book (the rules),
timer_book (the same for what only time opens), text (one line for people).
"""

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.book import IncidentBook, Moment
from anomaly.incidents.kinds import KINDS, Kind
from anomaly.incidents.transition import (
    Evidence,
    Severity,
    Source,
    Status,
    Transition,
    decode_transition,
    transition_schema,
)

__all__ = [
    "KINDS",
    "Alarm",
    "Evidence",
    "IncidentBook",
    "Kind",
    "Moment",
    "Severity",
    "Source",
    "Status",
    "Transition",
    "decode_transition",
    "transition_schema",
]
