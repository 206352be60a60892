"""A fake of PagerDuty's Events API v2, which cannot run here: the rules and answers that its documentation gives.

An event that breaks a rule gets 400. A trigger with the key of an open incident joins it and wakes nobody, also where
someone acknowledged it; a new key, or that of a resolved one, opens an incident and wakes someone.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

from tests.notify.recording_server import Answer, RecordingServer, recording

ROUTING_KEY = "r0ut1ng" + "k" * 25


@dataclass
class Incident:
    """As PagerDuty shows it."""

    state: str
    events: list[dict[str, Any]]


@dataclass
class FakePagerDuty:
    """`incidents` by their key; `woken` are the keys for which someone was woken, in order."""

    server: RecordingServer
    incidents: dict[str, Incident] = field(default_factory=dict)
    woken: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = self.server.requests[-1].body
        event = json.loads(body)
        problems = _problems(event, len(body), request.path)
        if problems:
            return web.json_response(
                {"status": "invalid event", "message": "Event object is invalid", "errors": problems},
                status=400,
            )
        key = event["dedup_key"]
        incident = self.incidents.get(key)
        if event["event_action"] == "trigger":
            if incident is None or incident.state == "resolved":
                self.incidents[key] = Incident("triggered", [event])
                self.woken.append(key)
            else:
                incident.events.append(event)
        elif incident is not None:
            incident.state = "resolved"
        return web.json_response(
            {"status": "success", "message": "Event processed", "dedup_key": key}, status=202
        )


@asynccontextmanager
async def fake_pagerduty() -> AsyncIterator[FakePagerDuty]:
    """On a free port."""
    async with recording() as server:
        fake = FakePagerDuty(server)
        answer: Answer = fake.answer
        server.otherwise = answer
        yield fake


def _problems(event: dict[str, Any], size: int, path: str) -> list[str]:
    payload = event.get("payload", {})
    rules = {
        "path": path == "/v2/enqueue",
        "size": size <= 512 * 1024,
        "routing_key": event.get("routing_key") == ROUTING_KEY and len(ROUTING_KEY) == 32,
        "event_action": event.get("event_action") in ("trigger", "acknowledge", "resolve"),
        "dedup_key": 1 <= len(event.get("dedup_key", "")) <= 255,
    }
    if event.get("event_action") == "trigger":
        rules |= {
            "payload.summary": 1 <= len(payload.get("summary", "")) <= 1024,
            "payload.source": bool(payload.get("source")),
            "payload.severity": payload.get("severity") in ("critical", "error", "warning", "info"),
            "payload.timestamp": "timestamp" not in payload or _is_time(payload["timestamp"]),
            "links": all(link["href"].startswith("http") for link in event.get("links", ())),
        }
    return [f"{name} is invalid" for name, kept in rules.items() if not kept]


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
