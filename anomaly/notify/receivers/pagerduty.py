"""PagerDuty's Events API v2: one PagerDuty incident an incident, found again by its `dedup_key`.

An update is a trigger with the same key: PagerDuty adds it to the incident's log, wakes nobody and leaves an
acknowledgement as it is. For the same reason an escalation needs a key of its own: the critical one is opened, then
the old one resolved. PagerDuty takes pictures by public address only, so none is sent; the links lead to them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from anomaly.escapes import shown
from anomaly.incidents.transition import Severity
from anomaly.notify.delivery import Delivery, Event
from anomaly.notify.http import Http
from anomaly.notify.page import web_links
from anomaly.notify.quantities import rfc3339
from anomaly.notify.secret_files import secret_now, secret_of
from anomaly.settings_receivers import PagerDutySpec

SUMMARY_CHARACTERS = 1024
EVENT_BYTES = 512 << 10
DETAIL_CHARACTERS = 1000
KEY_CHARACTERS = 255
CRITICAL = "-critical"
_SEVERITIES = {Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}


class PagerDuty:
    """One service of PagerDuty."""

    wants_picture = False
    refresh_seconds: float | None = None

    def __init__(self, spec: PagerDutySpec, http: Http) -> None:
        self.name = spec.name
        self._spec = spec
        self._http = http
        secret_of(spec, "routing_key")

    async def deliver(self, delivery: Delivery) -> str | None:
        """Send it; the receipt is the key under which PagerDuty has it now. Raises `DeliveryError`."""
        louder = delivery.dedup[: KEY_CHARACTERS - len(CRITICAL)] + CRITICAL
        known = louder if delivery.receipt == louder else delivery.dedup[:KEY_CHARACTERS]
        if delivery.event is Event.RESOLVE:
            await self._send({"event_action": "resolve", "dedup_key": known})
            return known
        if delivery.event is not Event.ESCALATE:
            await self._send(trigger(delivery, known))
            return known
        await self._send(trigger(delivery, louder))
        if known != louder:
            await self._send({"event_action": "resolve", "dedup_key": known})
        return louder

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """PagerDuty forgets nothing."""

    async def close(self) -> None:
        """Nothing of its own to give back."""

    async def _send(self, event: dict[str, Any]) -> None:
        routing_key = secret_now(self._spec, "routing_key")
        body = _within_limit({"routing_key": routing_key, **event})
        url = f"{self._spec.url.rstrip('/')}/v2/enqueue"
        await self._http.post(url, body, {"Content-Type": "application/json"}, (routing_key,))


def trigger(delivery: Delivery, key: str) -> dict[str, Any]:
    """The event without its routing key."""
    page = delivery.page
    first = delivery.transitions[0] if delivery.transitions else None
    payload: dict[str, Any] = {
        "summary": page.title[:SUMMARY_CHARACTERS],
        "source": shown(first.run) if first is not None else "training-anomaly",
        "severity": _severity(delivery),
        "custom_details": _details(delivery),
    }
    if first is not None:
        payload |= {"component": shown(first.layer or "the whole model"), "class": shown(first.kind)}
        if first.opened_unix_seconds is not None:
            payload["timestamp"] = rfc3339(first.opened_unix_seconds)
    return {
        "event_action": "trigger",
        "dedup_key": key,
        "client": "training-anomaly",
        "payload": payload,
        "links": [{"href": url, "text": name} for name, url in web_links(page)],
    }


def _severity(delivery: Delivery) -> str:
    """The worst of all; a test is the mildest, so that it need wake nobody."""
    found = [one.severity for one in delivery.transitions if delivery.event is not Event.TEST]
    return _SEVERITIES[max(found, key=lambda severity: severity.rank, default=Severity.INFO)]


def _details(delivery: Delivery) -> dict[str, Any]:
    page = delivery.page
    facts: dict[str, Any] = {name: text[:DETAIL_CHARACTERS] for name, text in page.facts}
    facts |= {"do": page.advice} if page.advice else {}
    facts |= {"runs": list(page.runs)} if page.runs else {}
    return facts | {name: path for name, path in page.links if not path.startswith("http")}


def _within_limit(event: dict[str, Any]) -> bytes:
    """PagerDuty refuses more than 512 KB: then the details go, the summary says what there is."""
    body = json.dumps(event).encode()
    if len(body) <= EVENT_BYTES:
        return body
    payload = {**event["payload"], "custom_details": {"left out": f"{len(body):,} bytes are too many"}}
    return json.dumps({**event, "payload": payload, "links": []}).encode()
