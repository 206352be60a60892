"""Drawn fault scenarios: a notifier that is killed, receivers that fail, a broker that restarts; then a verdict.

One scene is one seed: two receivers, some dozens of incidents with their transitions, kills at drawn moments, answers
drawn for each request. The verdict knows every transition that was written and every request that came.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from aiohttp import web

from anomaly.incidents.transition import Severity, Transition
from anomaly.notify.routing import worst
from tests.kafka_servers import ApacheKafka
from tests.notify.recording_server import hangs, recording
from tests.notify.stage import Stage, incident, over, until, webhook
from tests.worker.processes import NotifierProcess

RECEIVERS = ("steady", "shaky")
KILL_WINDOW_SECONDS = 6.0
"""Before a kill: what was acknowledged in it and not yet written down comes again. On an idle machine it is 10 ms; one
that is shared takes its time."""


@dataclass(frozen=True)
class Accepted:
    """A request that was answered with 200, and when."""

    key: str
    dedup: str
    event: str
    at: float


@dataclass
class Shaky:
    """A receiver whose answers are drawn: most fail in one way or another while `trouble` lasts."""

    draw: random.Random
    trouble: bool = True
    accepted: list[Accepted] = field(default_factory=list)
    requests: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        choice = self.draw.random() if self.trouble else 1.0
        if choice < 0.2:
            return web.Response(status=500)
        if choice < 0.3:
            return web.Response(status=429, headers={"Retry-After": "1"})
        if choice < 0.32:
            return await hangs(request)
        if choice < 0.4:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        await asyncio.sleep(self.draw.random() * 0.2 if self.trouble else 0.0)
        payload = await request.json()
        data = payload["data"]
        self.accepted.append(Accepted(data["key"], data["dedup"], payload["type"], time.time()))
        return web.Response()


@dataclass(frozen=True)
class Verdict:
    """What became of one receiver's deliveries."""

    expected: int
    sent: int
    lost: tuple[str, ...]
    in_kill_window: tuple[str, ...]
    doubled: tuple[str, ...]
    """The same key again outside every kill window, or one thing told under two keys."""
    disordered: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{self.expected} expected, {self.sent} requests, {len(self.lost)} lost, {len(self.in_kill_window)} "
            f"repeated in a kill window, {len(self.doubled)} doubled elsewhere, {len(self.disordered)} out of order"
        )


def judge(receiver: Shaky, expected: list[str], kills: list[tuple[float, float]]) -> Verdict:
    """Hold what came against what was written. `kills` are when the notifier was killed, each with since when what it
    delivered may not have been written down.
    """
    times: dict[str, list[float]] = defaultdict(list)
    for one in receiver.accepted:
        times[one.key].append(one.at)
    in_window: list[str] = []
    doubled: list[str] = []
    for key, found in times.items():
        for first, second in itertools.pairwise(found):
            near = any(since < first < kill + 0.5 <= second + 0.5 for since, kill in kills)
            (in_window if near else doubled).append(key)
    doubled += sorted(times.keys() - set(expected))
    first_seen = {key: found[0] for key, found in times.items()}
    disordered = [
        after
        for before, after in itertools.pairwise(expected)
        if before.partition("-")[0] == after.partition("-")[0]
        and first_seen.get(before, 0.0) > first_seen.get(after, float("inf"))
    ]
    lost = [key for key in expected if key not in times]
    return Verdict(
        len(expected), receiver.requests, tuple(lost), tuple(in_window), tuple(doubled), tuple(disordered)
    )


def drawn_lives(draw: random.Random, count: int) -> list[list[Transition]]:
    """Incidents: opened, perhaps updated, perhaps worse, mostly resolved."""
    lives = []
    for number in range(count):
        life = [incident(number, severity=draw.choice([Severity.WARNING, Severity.CRITICAL]))]
        while draw.random() < 0.4:
            severity = worst((life[-1].severity, draw.choice([Severity.WARNING, Severity.CRITICAL])))
            life.append(incident(number, len(life), severity=severity))
        if draw.random() < 0.7:
            life.append(over(number, len(life), severity=life[-1].severity))
        lives.append(life)
    return lives


async def scene(
    stage: Stage, seed: int, incidents: int, kills: int, broker: ApacheKafka | None
) -> dict[str, Verdict]:
    """Play one seed. `broker` is restarted once, where there is one."""
    draw = random.Random(seed)
    lives = drawn_lives(draw, incidents)
    receivers = {name: Shaky(random.Random(f"{seed}-{name}"), trouble=name == "shaky") for name in RECEIVERS}
    await stage.make_topics()
    async with recording(receivers["steady"]) as steady, recording(receivers["shaky"]) as shaky:
        servers = {"steady": steady, "shaky": shaky}
        stage.configure(*(webhook(name, server, pages_per_minute=1000) for name, server in servers.items()))
        with stage.notifier() as notifier:
            await asyncio.to_thread(notifier.wait_ready)
            writing = asyncio.create_task(_write(stage, draw, lives))
            killed: list[tuple[float, float]] = []
            for number in range(kills):
                await _a_drawn_moment(draw, receivers["steady"])
                since = time.time() - KILL_WINDOW_SECONDS
                if broker is not None and number == kills // 2:  # meanwhile nothing can be written down
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.start)
                killed.append((since, time.time()))
                notifier.kill()
                await until("it has ended", partial(_has_ended, notifier, len(killed)))
            await writing
            await asyncio.sleep(draw.uniform(1.0, 8.0))
            receivers["shaky"].trouble = False
            expected = [f"{one.incident}-{one.transition}" for life in lives for one in life]
            for receiver in receivers.values():
                await _all_came(receiver, expected)
            await until("all is committed", _nothing_left(notifier), 120)
            return {name: judge(receiver, expected, killed) for name, receiver in receivers.items()}


async def _a_drawn_moment(draw: random.Random, receiver: Shaky) -> None:
    """Some requests from now, and up to 20 ms; or any moment."""
    if draw.random() < 0.2:
        await asyncio.sleep(draw.uniform(0.0, 3.0))
        return
    goal = receiver.requests + draw.randint(1, 8)
    try:
        await until("requests come", lambda: receiver.requests >= goal, 30, 0.001)
    except AssertionError:
        return  # nothing is left to come
    await asyncio.sleep(draw.uniform(0.0, 0.02))


def _has_ended(notifier: NotifierProcess, times: int) -> bool:
    return len(notifier.exit_codes) >= times


async def _all_came(receiver: Shaky, expected: list[str]) -> None:
    """Wait for all, but let the verdict speak where something is lost."""
    try:
        await until("all came", lambda: set(expected) <= {one.key for one in receiver.accepted}, 180)
    except AssertionError:
        return


def _follows(log: str) -> bool:
    """Whether the process that was started last does."""
    return "follows the incidents" in log.rpartition("metrics at")[2]


def _nothing_left(notifier: NotifierProcess) -> Callable[[], bool]:
    def left() -> bool:
        try:
            counts = notifier.metrics()
        except OSError:
            return False
        return counts["anomaly_notify_ready"] == 1 and all(
            value == 0 for name, value in counts.items() if name.startswith("anomaly_notify_lag_records")
        )

    return left


async def _write(stage: Stage, draw: random.Random, lives: list[list[Transition]]) -> None:
    """All lives, interleaved, each in its order."""
    waiting = [list(life) for life in lives]
    while waiting:
        life = draw.choice(waiting)
        await stage.publish(life.pop(0))
        waiting = [each for each in waiting if each]
        await asyncio.sleep(draw.random() * 0.15)


async def latencies(stage: Stage, count: int) -> list[float]:
    """Seconds from before a transition is written until a receiver has taken its page, one after the other."""
    receiver = Shaky(random.Random(0), trouble=False)
    found = []
    await stage.make_topics()
    async with recording(receiver) as server:
        stage.configure(webhook("hook", server, pages_per_minute=1000))
        with stage.notifier() as notifier:
            await asyncio.to_thread(notifier.wait_ready)
            for number in range(count):
                began = time.time()
                await stage.publish(incident(number))
                await until("the page came", lambda at=number: len(receiver.accepted) > at, 60, 0.001)  # type: ignore[misc]
                found.append(receiver.accepted[-1].at - began)
    return sorted(found)
