"""Deliveries for the tests of receivers: what the notifier hands over, in the order in which it happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anomaly.incidents.transition import Severity, Transition
from anomaly.notify.delivery import Delivery, Event
from anomaly.notify.links import Links
from anomaly.notify.page import page_of, storm_page, test_page
from anomaly.notify.receivers import build
from anomaly.settings_receivers import TYPES, ReceiverSpec
from anomaly.settings_tables import made
from tests.notify.pages import nan_gradient

LINKS = Links("https://grafana.lab.example", "https://runbooks.lab.example/anomaly")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


def told(
    event: Event = Event.PAGE,
    transition: Transition | None = None,
    before: Severity | None = None,
    **more: Any,
) -> Delivery:
    """Of one incident."""
    one = transition or nan_gradient()
    page = page_of(one, LINKS, event, before)
    return Delivery(f"{one.incident}-{one.transition}", one.incident, event, (one,), page, before, **more)


def told_storm(
    members: list[Transition], event: Event = Event.PAGE, number: int = 1, **more: Any
) -> Delivery:
    """Of many."""
    storm = "storm-on-call-1790000000-1"
    page = storm_page(members, LINKS, event)
    return Delivery(f"{storm}-{number}", storm, event, tuple(members), page, storm=storm, **more)


def trial() -> Delivery:
    """A test page."""
    return Delivery("test-1", "test-1", Event.TEST, (nan_gradient(),), test_page("on-call", LINKS))


def spec(kind: str, **keys: Any) -> ReceiverSpec:
    """A table of this type, as the settings read it."""
    return made(TYPES[kind], {"type": kind, "name": "on-call", **keys})


def secret_file(folder: Path, text: str) -> str:
    """A file with a secret."""
    path = folder / "secret"
    path.write_text(text)
    return str(path)


__all__ = ["LINKS", "PNG", "build", "secret_file", "spec", "told", "told_storm", "trial"]
