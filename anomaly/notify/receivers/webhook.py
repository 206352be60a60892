"""Any HTTP endpoint, signed as Standard Webhooks has it: HMAC-SHA256 over ``id.timestamp.body``.

``webhook-id`` is the idempotency key, the same in every repeat. The secret's file holds one secret, or while it is
replaced two (one a line): each signs, so the other side may take either. `PAYLOAD_SCHEMA` is the payload.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import msgspec

from anomaly.connection import Secret
from anomaly.errors import SettingsError
from anomaly.notify.delivery import Delivery, DeliveryError
from anomaly.notify.http import Http
from anomaly.notify.page import text_of
from anomaly.notify.quantities import rfc3339
from anomaly.notify.secret_files import secret_now, secret_of
from anomaly.settings_receivers import WebhookSpec

PREFIX = "whsec_"
MOST_TRANSITIONS = 300
"""With the longest of names that is 6 MiB."""
LEAST_BYTES, MOST_BYTES, MOST_SECRETS = 24, 64, 4
_NEEDED = f"{LEAST_BYTES} to {MOST_BYTES} are needed; make one: echo {PREFIX}$(openssl rand -base64 32)"


class Webhook:
    """One endpoint."""

    wants_picture = False
    refresh_seconds: float | None = None

    def __init__(self, spec: WebhookSpec, http: Http, clock: Callable[[], float] = time.time) -> None:
        self.name = spec.name
        self._spec = spec
        self._http = http
        self._clock = clock
        signing_keys(secret_of(spec, "secret"), spec.name)

    async def deliver(self, delivery: Delivery) -> str | None:
        """Post it. Raises `DeliveryError`."""
        secret, now = secret_now(self._spec, "secret"), self._clock()
        try:
            keys = signing_keys(secret, self.name)
        except SettingsError as error:
            raise DeliveryError(str(error), retriable=True) from None
        body = payload(delivery, self.name, now)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": delivery.key,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": signatures(keys, delivery.key, int(now), body),
        }
        await self._http.post(self._spec.url, body, headers, secret.split())
        return None

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Nothing is told again."""

    async def close(self) -> None:
        """Nothing of its own to give back."""


def payload(delivery: Delivery, receiver: str, now: float) -> bytes:
    """What is posted: JSON, as the schema has it. Non-ASCII characters are escaped, so every bit of it is UTF-8."""
    page = delivery.page
    worst = sorted(delivery.transitions, key=lambda one: -one.severity.rank)
    return json.dumps(
        {
            "type": f"incident.{delivery.event}",
            "timestamp": rfc3339(now),
            "data": {
                "key": delivery.key,
                "dedup": delivery.dedup,
                "receiver": receiver,
                "severity_before": delivery.before,
                "storm": delivery.storm,
                "page": {**msgspec.to_builtins(page), "text": text_of(page)},
                "incidents": len(delivery.transitions),
                "transitions": [json.loads(one.encode()) for one in worst[:MOST_TRANSITIONS]],
            },
        }
    ).encode()


def signing_keys(secret: str, name: str) -> list[Secret]:
    """The keys in a secret's text. Raises `SettingsError`, which does not repeat it."""
    lines = secret.split()
    keys = []
    for at, line in enumerate(lines, 1):
        try:
            key = base64.b64decode(line.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not LEAST_BYTES <= len(key) <= MOST_BYTES:
            raise SettingsError(
                [
                    f"receivers: {name}: secret: line {at} of {len(lines)} is {len(key)} bytes in base64; {_NEEDED}"
                ]
            )
        keys.append(Secret(line.removeprefix(PREFIX)))
    if not 1 <= len(keys) <= MOST_SECRETS:
        raise SettingsError(
            [f"receivers: {name}: secret: got {len(keys)} secrets, 1 to {MOST_SECRETS} are allowed"]
        )
    return keys


def signatures(keys: Sequence[str], identity: str, unix_seconds: int, body: bytes) -> str:
    """One signature a key, spaces between."""
    signed = f"{identity}.{unix_seconds}.".encode() + body
    digests = (hmac.new(base64.b64decode(key), signed, hashlib.sha256).digest() for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)


def payload_schema() -> dict[str, Any]:
    """The published JSON Schema of the payload."""
    text = resources.files(__package__).joinpath("webhook_payload.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
