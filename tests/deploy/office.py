"""A real Alertmanager with the shipped routes, whose receivers are recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.deploy.files import DEPLOY, read_yaml
from tests.monitoring_servers import Alertmanager, RecordingWebhook
from tests.worker.processes import eventually

CONFIG = DEPLOY / "alertmanager" / "alertmanager.yml"


class Office:
    """An Alertmanager with the routes and inhibitions of `CONFIG`, and who gets what from it."""

    def __init__(self, server: Alertmanager, webhook: RecordingWebhook) -> None:
        self.server = server
        self.webhook = webhook

    def send(self, *alerts: dict[str, Any]) -> None:
        """One request."""
        self.server.post("/api/v2/alerts", alerts)

    def messages(self, receiver: str, **labels: str) -> list[dict[str, Any]]:
        """What came to `receiver` with an alert that has these labels."""
        bodies = [each.body for each in self.webhook.at(f"/{receiver}")]
        return [
            body for body in bodies if any(labels.items() <= one["labels"].items() for one in body["alerts"])
        ]

    def wait_for(self, receiver: str, seconds: float = 60.0, count: int = 1, **labels: str) -> dict[str, Any]:
        """The last message, once there are `count`."""
        eventually(
            f"{count} messages to {receiver} of {labels}",
            lambda: len(self.messages(receiver, **labels)) >= count,
            seconds,
        )
        return self.messages(receiver, **labels)[-1]


def recorded_config(folder: Path, webhook: RecordingWebhook) -> Path:
    """The shipped configuration with `webhook` as every receiver: each at a path of its name."""
    text = read_yaml(CONFIG)
    text["receivers"] = [
        {"name": each["name"], "webhook_configs": [{"url": f"{webhook.url}/{each['name']}"}]}
        for each in text["receivers"]
    ]
    del text["global"], text["templates"]
    path = folder / "alertmanager.yml"
    path.write_text(json.dumps(text))
    return path
