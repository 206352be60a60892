"""Pages handed to Alertmanagers, and what a real one sends on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from anomaly.notify.delivery import Delivery
from anomaly.notify.http import Http
from anomaly.notify.receivers.alertmanager import Alertmanager
from anomaly.settings_receivers import AlertmanagerSpec
from tests.monitoring_servers import RecordingWebhook
from tests.notify.deliveries import LINKS, spec

CONFIG = """
route:
  receiver: record
  group_by: [incident, severity]
  group_wait: 0s
  group_interval: 1s
receivers:
  - name: record
    webhook_configs: [{url: "%s/page", send_resolved: true}]
"""


def send(
    urls: list[str],
    *deliveries: Delivery,
    clock: Callable[[], float] = time.time,
    refresh: bool = False,
    **keys: Any,
) -> list[str | None]:
    """Hand these over one after the other, each with the receipt of the one before."""

    async def scenario() -> list[str | None]:
        made = spec("alertmanager", urls=urls, **keys)
        assert isinstance(made, AlertmanagerSpec)
        http = Http(environment={})
        receiver = Alertmanager(made, http, LINKS, clock)
        receipts: list[str | None] = []
        try:
            if refresh:
                await receiver.refresh(deliveries)
                return []
            for delivery in deliveries:
                known = receipts[-1] if receipts else delivery.receipt
                receipts.append(await receiver.deliver(msgspec.structs.replace(delivery, receipt=known)))
            return receipts
        finally:
            await http.close()

    return asyncio.run(scenario())


def pages(webhook: RecordingWebhook, incident: str) -> list[tuple[str, str]]:
    """Status and severity of what came for an incident, in order."""
    return [
        (alert["status"], alert["labels"]["severity"])
        for received in webhook.at("/page")
        for alert in received.body["alerts"]
        if alert["labels"]["incident"] == incident
    ]
