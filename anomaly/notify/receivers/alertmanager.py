"""Alertmanager's API v2: one alert an incident, told again every minute, so that the team's own routes do the rest.

An alert is known by its labels, so they stay as they were when the incident was opened (the receipt holds them). An
escalation ends the old alert and opens the new one in one request. Where several Alertmanagers are named, one that
took it is enough: the others get what is open with the next refresh, and what they missed the end of expires there.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from anomaly.escapes import escaped
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.notify.http import Http, place_of
from anomaly.notify.inert import without_tags
from anomaly.notify.links import Links
from anomaly.notify.page import body_of, page_of, web_links, what
from anomaly.notify.quantities import rfc3339, sane
from anomaly.notify.secret_files import secret_now, secret_of
from anomaly.settings_receivers import AlertmanagerSpec

REFRESH_SECONDS = 60.0
ENDS_AFTER_SECONDS = 900.0
TEST_SECONDS = 60.0
ALERTS_A_REQUEST = 200
ALERTNAME = "TrainingAnomaly"
TAGS = ("team", "project", "owner")
_log = logging.getLogger(__name__)

Labels = dict[str, str]


class Alertmanager:
    """One or several Alertmanagers that know of each other."""

    wants_picture = False
    refresh_seconds: float | None = REFRESH_SECONDS

    def __init__(
        self, spec: AlertmanagerSpec, http: Http, links: Links, clock: Callable[[], float] = time.time
    ) -> None:
        self.name = spec.name
        self._links = links
        self._spec = spec
        self._http = http
        self._clock = clock
        secret_of(spec, "password")

    async def deliver(self, delivery: Delivery) -> str | None:
        """Send it; the receipt is the labels of its alert. Raises `DeliveryError` if no Alertmanager took it."""
        now = self._clock()
        if delivery.event is Event.TEST:
            await self._send([_test_alert(delivery, now)])
            return None
        alerts: list[dict[str, Any]] = []
        labels: Labels = {}
        for transition in delivery.transitions:
            before = known_labels(delivery, transition)
            labels = before
            if delivery.event is Event.ESCALATE:
                labels = before | {"severity": str(transition.severity)}
            if labels != before:
                alerts.append(self._alert(before, transition, delivery, now, now))
            over = delivery.event is Event.RESOLVE or transition.status is Status.RESOLVED
            ends = now if over else now + ENDS_AFTER_SECONDS
            alerts.append(self._alert(labels, transition, delivery, now, ends))
        await self._send(alerts)
        return json.dumps(labels) if len(delivery.transitions) == 1 else None

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Tell again what is open, so that it keeps firing. Raises `DeliveryError` if no Alertmanager took it."""
        now = self._clock()
        await self._send(
            [
                self._alert(known_labels(delivery, one), one, delivery, now, now + ENDS_AFTER_SECONDS)
                for delivery in deliveries
                for one in delivery.transitions
                if one.status is not Status.RESOLVED
            ]
        )

    async def close(self) -> None:
        """Nothing of its own to give back."""

    def _alert(
        self, labels: Labels, transition: Transition, delivery: Delivery, now: float, ends: float
    ) -> dict[str, Any]:
        """`startsAt` is never after now: a training host's clock may be ahead; Alertmanager refuses such an end."""
        opened = now if transition.opened_unix_seconds is None else transition.opened_unix_seconds
        page = page_of(transition, self._links, delivery.event) if delivery.page.runs else delivery.page
        links = dict(web_links(page))
        annotations = {
            "summary": what(transition),
            "description": body_of(page),
            "advice": page.advice,
            "runbook_url": links.get("Runbook", ""),
            "grafana": links.get("Grafana", ""),
        }
        alert = {
            "labels": labels,
            "annotations": {name: without_tags(text) for name, text in annotations.items() if text},
            "startsAt": rfc3339(min(sane(opened), now)),
            "endsAt": rfc3339(ends),
        }
        return alert | ({"generatorURL": links["Grafana"]} if "Grafana" in links else {})

    async def _send(self, alerts: Sequence[dict[str, Any]]) -> None:
        """In several requests where they are many: one that fails does not keep the others back."""
        failures: list[DeliveryError] = []
        for start in range(0, len(alerts), ALERTS_A_REQUEST):
            try:
                await self._send_to_all(json.dumps(alerts[start : start + ALERTS_A_REQUEST]).encode())
            except DeliveryError as error:
                failures.append(error)
        if failures:
            raise _together(failures)

    async def _send_to_all(self, body: bytes) -> None:
        password = secret_now(self._spec, "password")
        headers = {"Content-Type": "application/json"} | _login(self._spec.username, password)
        posts = (
            self._http.post(f"{url.rstrip('/')}/api/v2/alerts", body, headers, (password,))
            for url in self._spec.urls
        )
        answers = await asyncio.gather(*posts, return_exceptions=True)
        failures = [each for each in answers if isinstance(each, DeliveryError)]
        for each in answers:
            if isinstance(each, BaseException) and not isinstance(each, DeliveryError):
                raise each
        if len(failures) == len(answers):
            raise _together(failures)
        for url, failure in zip(self._spec.urls, answers, strict=True):
            if isinstance(failure, DeliveryError):
                _log.warning(
                    "receiver %s: one Alertmanager of %d did not take it; it is told again within a minute: %s: %s",
                    self.name, len(answers), place_of(url), failure,
                )  # fmt: skip


def labels_of(transition: Transition, severity: Severity, storm: str | None) -> Labels:
    """The labels that an incident's alert gets when it is opened. Names are shown as people read them, not obeyed."""
    kind = KINDS.get(transition.kind)
    tags = transition.tags or {}
    labels = {
        "alertname": ALERTNAME,
        "incident": transition.incident,
        "run": transition.run,
        "kind": transition.kind,
        "severity": str(severity),
        "family": "" if kind is None else kind.family,
        **{name: tags.get(name, "") for name in TAGS},
        "storm": storm or "",
    }
    return {name: without_tags(escaped(text)) for name, text in labels.items() if text}


def known_labels(delivery: Delivery, transition: Transition) -> Labels:
    """The labels under which Alertmanager knows this incident.

    Of a storm's incidents no labels were kept, nor which of them it was that rose: each that is critical may have been
    a warning, and to end an alert that never was does nothing.
    """
    if len(delivery.transitions) > 1:
        rose = delivery.event is Event.ESCALATE and transition.severity is Severity.CRITICAL
        return labels_of(transition, Severity.WARNING if rose else transition.severity, delivery.storm)
    try:
        labels = json.loads(delivery.receipt or "")
    except ValueError:
        labels = None
    if isinstance(labels, dict) and labels.get("incident") == transition.incident:
        return labels
    return labels_of(transition, delivery.before or transition.severity, delivery.storm)


def _test_alert(delivery: Delivery, now: float) -> dict[str, Any]:
    """It ends by itself."""
    return {
        "labels": {"alertname": ALERTNAME, "incident": delivery.dedup, "kind": "test", "severity": "warning"},
        "annotations": {"summary": delivery.page.title, "description": body_of(delivery.page)},
        "startsAt": rfc3339(now),
        "endsAt": rfc3339(now + TEST_SECONDS),
    }


def _together(failures: Sequence[DeliveryError]) -> DeliveryError:
    waits = [each.retry_after_seconds for each in failures if each.retry_after_seconds is not None]
    return DeliveryError(
        "; ".join(dict.fromkeys(str(each) for each in failures)),
        retriable=any(each.retriable for each in failures),
        retry_after_seconds=min(waits, default=None),
    )


def _login(username: str, password: str) -> dict[str, str]:
    if not username:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()}
