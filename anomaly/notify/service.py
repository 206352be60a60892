"""The notifier: all lanes, what they share, and how it ends. `Notifier.run` is all of it; `process` and the worker's
thread put a log, a health server and an exit code around.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from anomaly.health import Health
from anomaly.notify.actions import Actions
from anomaly.notify.courier import Mailbox
from anomaly.notify.desk import Desk
from anomaly.notify.http import Http
from anomaly.notify.lane import Lane
from anomaly.notify.ledger import Ledger
from anomaly.notify.links import links_of
from anomaly.notify.metrics import NotifierMetrics
from anomaly.notify.office import Office
from anomaly.notify.preflight import Found, preflight
from anomaly.notify.pulse import Pulse
from anomaly.notify.receivers import build
from anomaly.notify.routing import Routes
from anomaly.settings import Settings

if TYPE_CHECKING:
    from anomaly.notify.pictures import Pictures

PULSE_SECONDS = 0.5

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def mailboxes(settings: Settings) -> AsyncIterator[Mapping[str, Mailbox]]:
    """Every receiver of the settings, by name. Raises `SettingsError` for a secret that cannot be read or used."""
    http, links = Http(settings.notify_ca_file), links_of(settings)
    made: dict[str, Mailbox] = {}
    try:
        for spec in settings.receiver_specs:
            made[spec.name] = Mailbox(spec, build(spec, http, links))
        yield made
    finally:
        for mailbox in made.values():
            with contextlib.suppress(Exception):  # closing must not hide why it ends
                await mailbox.receiver.close()
        await http.close()


def _pictures(settings: Settings, found: Mapping[str, Mailbox]) -> Pictures | None:
    """What draws pictures, where a receiver can show them and the drawing library is there."""
    if not any(mailbox.receiver.wants_picture for mailbox in found.values()):
        return None
    try:
        from anomaly.notify.pictures import Pictures
    except ModuleNotFoundError as error:
        log.warning(
            "pages have no pictures: %s is not installed; pip install 'training-anomaly[plot]'", error.name
        )
        return None
    return Pictures(settings.connection, settings.topics.telemetry)


class Notifier:
    """One process's notifier. Raises what `run` raises only there: making one does nothing."""

    def __init__(self, settings: Settings, metrics: NotifierMetrics, health: Health) -> None:
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._pulse = Pulse(settings.session_timeout_seconds)

    async def run(self, stop: asyncio.Event) -> None:
        """Notify until `stop` is set.

        Raises `SettingsError`, `PreflightError`, `KafkaUnreachableError`, and whatever else ends it.
        """
        pulse = asyncio.create_task(self._beat())
        try:
            async with mailboxes(self._settings) as found:
                at = await preflight(self._settings, found)
                await self._follow(found, at, stop)
        finally:
            self._ready(False)
            pulse.cancel()

    async def _follow(self, found: Mapping[str, Mailbox], at: Found, stop: asyncio.Event) -> None:
        settings, topics = self._settings, self._settings.topics
        routes = Routes(settings.route_specs)
        for name in routes.misses(found):
            log.warning("receivers: %s: no route leads to it; it only stands in for others, if for any", name)
        ledger = Ledger(settings.connection, topics.notifications, settings.development_broker)
        actions = Actions(settings.connection, topics.incident_actions, at.action_partitions)
        pictures = _pictures(settings, found)
        office = Office(
            ledger, actions.book, routes, links_of(settings), self._metrics, self._pulse.check,
            None if pictures is None else pictures.of,
        )  # fmt: skip
        since = time.time()
        lanes = [
            Lane(
                Desk(mailbox, found.get(mailbox.spec.fallback), office), ledger, settings.connection,
                topics.incidents, topics.notify_group(name), at.ends, since, settings.session_timeout_seconds,
            )
            for name, mailbox in found.items()
        ]  # fmt: skip
        await ledger.start()
        try:
            await self._run_all(lanes, actions, stop)
        finally:
            await ledger.stop()
            if pictures is not None:
                pictures.close()

    async def _run_all(self, lanes: list[Lane], actions: Actions, stop: asyncio.Event) -> None:
        """Until `stop`, or until one of them fails: then it ends them all, and raises that."""

        def changed() -> None:
            for lane in lanes:
                lane.look_now.set()

        actions.changed = changed
        following = asyncio.create_task(actions.follow())
        stopping = asyncio.create_task(stop.wait())
        read = asyncio.create_task(actions.complete.wait())
        tasks = {following, stopping}
        try:
            # Before the actions are known, whoever is muted would be paged.
            await asyncio.wait({*tasks, read}, return_when=asyncio.FIRST_COMPLETED)
            if read.done():
                self._pulse.begin()
                tasks |= {asyncio.create_task(lane.run()) for lane in lanes}
                tasks.add(asyncio.create_task(self._watch(lanes)))
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            read.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended - {stopping}:
            task.result()

    async def _watch(self, lanes: list[Lane]) -> None:
        """Whether all lanes are ready. Ends the notifier once it stood still, not only when it has a page to send."""
        while True:
            self._pulse.check()
            self._ready(all(lane.settled for lane in lanes))
            await asyncio.sleep(PULSE_SECONDS)

    async def _beat(self) -> None:
        while True:
            self._health.pulse()
            self._pulse.beat()
            await asyncio.sleep(PULSE_SECONDS)

    def _ready(self, ready: bool) -> None:
        if ready and not self._health.ready:
            log.info(
                "ready: %d receivers, group %s…",
                len(self._settings.receivers),
                self._settings.topics.notify_group(""),
            )
        self._health.ready = ready
        self._metrics.ready.set(ready)
