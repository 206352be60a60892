"""What a notifier that runs says of itself."""

from __future__ import annotations

import asyncio

from tests.worker.processes import NotifierProcess


async def ready(*notifiers: NotifierProcess) -> None:
    for notifier in notifiers:
        await asyncio.to_thread(notifier.wait_ready)


def decided(notifier: NotifierProcess, reason: str, receiver: str = "hook") -> float:
    return notifier.metrics()[f'anomaly_notify_decisions_total{{reason="{reason}",receiver="{receiver}"}}']


def scrape(notifier: NotifierProcess) -> str:
    return "\n".join(f"{name} {value:g}" for name, value in notifier.metrics().items())


def nothing_left(notifier: NotifierProcess) -> bool:
    """Whether everything is told; not while it is being started."""
    try:
        counts = notifier.metrics()
    except OSError:
        return False
    lags = [value for name, value in counts.items() if name.startswith("anomaly_notify_lag")]
    return counts["anomaly_notify_ready"] == 1 and lags == [0.0]
