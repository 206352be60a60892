"""Deliveries from entries: the one place that says keys, what a receiver groups by, and which page it reads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from anomaly.escapes import shown
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify.delivery import Delivery, Event, Page
from anomaly.notify.entry import Entry, Outcome
from anomaly.notify.links import Links
from anomaly.notify.page import page_of, storm_page, test_page
from anomaly.notify.routing import worst

log = logging.getLogger(__name__)


def single(
    entry: Entry, event: Event, links: Links, *, by: str | None = None, picture: bytes | None = None
) -> Delivery:
    """What to tell of one incident. `entry` holds the transition it is about and what was paged before.

    The key is ``<incident>-<transition>``; of a page after someone resolved it by hand, and of that resolution, also
    the round, because the transition is the same.
    """
    transition, before = entry.transition, entry.severity
    ending = f"-round{entry.round}" if entry.round else ""
    if event is Event.RESOLVE and entry.is_open:
        transition, ending = ended(transition), f"{ending}-by-hand"
    return Delivery(
        key=f"{entry.incident}-{transition.transition}{ending}",
        dedup=entry.incident,
        event=event,
        transitions=(transition,),
        page=_safe(lambda: page_of(transition, links, event, before, by), (transition,)),
        before=None if event is Event.PAGE else before,
        receipt=None if event is Event.PAGE else entry.receipt,
        picture=picture,
        storm=entry.storm,
    )


def gathered(
    storm: str,
    number: int,
    event: Event,
    members: Sequence[Entry],
    links: Links,
    *,
    before: Severity | None = None,
    receipt: str | None = None,
) -> Delivery:
    """What to tell of many incidents at once: the storm's `number`-th delivery, with all of its members."""
    over = [entry.incident for entry in members if is_over(entry)]
    transitions = tuple(ended(entry.transition) if is_over(entry) else entry.transition for entry in members)
    return Delivery(
        key=f"{storm}-{number}",
        dedup=storm,
        event=event,
        transitions=transitions,
        page=_safe(lambda: storm_page(transitions, links, event, over), transitions),
        before=before,
        receipt=receipt,
        storm=storm,
    )


def _safe(make: Callable[[], Page], transitions: Sequence[Transition]) -> Page:
    """A page that cannot be written as it should be is a plain one: nobody must go unwarned for a word."""
    try:
        return make()
    except Exception:
        log.exception("no proper page of incident %s", transitions[0].incident)
        first = transitions[0]
        more = f" and {len(transitions) - 1} more" if len(transitions) > 1 else ""
        title = f"[{worst(one.severity for one in transitions)}] {shown(first.run, 64)}: {shown(first.kind)}{more}"
        return Page(title, (("incident", shown(first.incident)),), shown(first.advice), ())


def trial(receiver: str, sample: Transition, key: str, links: Links) -> Delivery:
    """What ``--test`` sends."""
    return Delivery(key, key, Event.TEST, (sample,), test_page(receiver, links))


def is_over(entry: Entry) -> bool:
    """Whether nobody need look at it any more: it ended, or someone said so."""
    return not entry.is_open or entry.outcome is Outcome.RESOLVED_BY_HAND or entry.pending is Event.RESOLVE


def ended(transition: Transition) -> Transition:
    """The same incident as resolved."""
    return msgspec.structs.replace(transition, status=Status.RESOLVED)


def highest(entries: Sequence[Entry]) -> Severity | None:
    """The highest severity that was paged; None where nobody was."""
    paged = [entry.severity for entry in entries if entry.severity is not None]
    return worst(paged) if paged else None
