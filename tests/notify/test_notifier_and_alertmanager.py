"""The notifier in front of a real Alertmanager: whatever is killed, an incident is one alert."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from anomaly.incidents.transition import Severity
from tests.conftest import Kafka, available
from tests.install_servers import alertmanager
from tests.monitoring_servers import Alertmanager, RecordingWebhook
from tests.notify.alertmanagers import CONFIG, pages
from tests.notify.stage import Stage, incident, over, until

pytestmark = pytest.mark.kafka("apache")
COUNT = 30
"""Incidents; every third becomes critical, every second ends."""


@pytest.mark.parametrize("seed", [1])
def test_through_kills_each_incident_is_one_alert_paged_once_a_severity_and_resolved(
    seed: int, kafka: Kafka, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    available(pytestconfig, alertmanager)
    stage = Stage(kafka.bootstrap_servers, kafka.prefix, tmp_path)
    draw = random.Random(seed)

    async def whole(real: Alertmanager, webhook: RecordingWebhook) -> None:
        await stage.make_topics()
        table = {"name": "team", "type": "alertmanager", "urls": [real.url], "pages_per_minute": 1000}
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        stage.configure(f"[[receivers]]\n{lines}")
        rising = [incident(number, 1, severity=Severity.CRITICAL) for number in range(0, COUNT, 3)]
        ending = [over(number, 2) for number in range(0, COUNT, 2)]
        with stage.notifier() as notifier:
            await asyncio.to_thread(notifier.wait_ready)
            for wave in ([incident(number) for number in range(COUNT)], rising, ending):
                seen = len(webhook.received)
                await stage.publish_many(wave)
                await until("some of it came", lambda before=seen: len(webhook.received) > before)  # type: ignore[misc]
                await asyncio.sleep(draw.uniform(0.0, 0.05))
                notifier.kill()
            open_ = {f"{number:016x}" for number in range(COUNT)} - {each.incident for each in ending}
            await until(
                "what is over has ended",
                lambda: {a["labels"]["incident"] for a in real.alerts()} == open_,
                120,
            )
            critical = {
                a["labels"]["incident"] for a in real.alerts() if a["labels"]["severity"] == "critical"
            }
            assert critical == {each.incident for each in rising} & open_
            assert len(real.alerts()) == len(open_)
        for number in range(COUNT):
            told = Counter(pages(webhook, f"{number:016x}"))
            assert told["firing", "warning"] == 1, number
            assert told["firing", "critical"] == (number % 3 == 0), number

    async def closed(real: Alertmanager, webhook: RecordingWebhook) -> None:
        try:
            await whole(real, webhook)
        finally:
            await stage.close()

    with RecordingWebhook() as webhook:
        config = tmp_path / "alertmanager.yml"
        config.write_text(CONFIG % webhook.url)
        with Alertmanager(tmp_path, config) as real:
            asyncio.run(closed(real, webhook))
