"""What a desk is given in its tests: transitions, people's actions, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from anomaly.incidents.actions import Action, IncidentAction, Match
from anomaly.incidents.transition import Severity, Status, Transition
from anomaly.notify.delivery import Delivery, DeliveryError
from tests.notify.desks import Scene
from tests.notify.pages import nan_gradient

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def one(number: int, transition: int = 0, severity: Severity = WARNING, **changes: object) -> Transition:
    fields: dict[str, object] = {
        "incident": f"{number:016x}", "run": f"run-{number}", "transition": transition, "severity": severity,
        "status": Status.UPDATED if transition else Status.OPENED,
    }  # fmt: skip
    return nan_gradient(**(fields | changes))


def end(number: int, transition: int = 1, severity: Severity = WARNING) -> Transition:
    return one(number, transition, severity, status=Status.RESOLVED)


def key(number: int, transition: int = 0) -> str:
    return f"{number:016x}-{transition}"


def play(scene: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scene())  # type: ignore[arg-type]


def refuses(count: int | None = None, **more: Any) -> Callable[[Delivery], None]:
    """An answer that fails so many times (None: always)."""
    left = [count]

    def answer(delivery: Delivery) -> None:
        if left[0] is not None:
            if left[0] == 0:
                return
            left[0] -= 1
        raise DeliveryError("POST http://x: got 503", **({"retriable": True} | more))

    return answer


def act(
    scene: Scene, action: Action, incident: int | None = None, until: float | None = None, **match: str
) -> None:
    named = None if incident is None else f"{incident:016x}"
    scene.book.take(
        IncidentAction(
            action=action, who="ana", why="known", unix_seconds=scene.clock.now, incident=named, until=until,
            match=Match(**match) if match else None,
        )
    )  # fmt: skip
