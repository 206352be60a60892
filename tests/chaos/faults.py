"""What can happen while a scenario runs. Each fault is over, and healed, when its function returns.

They wait in seconds, because that is what they are about: longer than the session, shorter than the patience.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

LONGER_THAN_THE_SESSION = 8.0
PATIENCE_SECONDS = 8.0

Fault = Callable[["Stage", random.Random], None]


def worker_killed(stage: Stage, chance: random.Random) -> None:
    """SIGKILL."""
    chance.choice(stage.workers).kill()


def all_workers_killed(stage: Stage, chance: random.Random) -> None:
    """SIGKILL to all at once."""
    for worker in stage.workers:
        worker.kill()


def worker_terminated(stage: Stage, chance: random.Random) -> None:
    """SIGTERM, and another start."""
    worker = chance.choice(stage.workers)
    worker.terminate()
    worker.start()


def worker_stopped(stage: Stage, chance: random.Random) -> None:
    """SIGSTOP for longer than the session: Kafka gives its partitions away, and then it goes on."""
    worker = chance.choice(stage.workers)
    worker.send_signal(signal.SIGSTOP)
    pid = worker.pid
    time.sleep(LONGER_THAN_THE_SESSION)
    if worker.pid == pid:
        worker.send_signal(signal.SIGCONT)


FAULTS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        worker_killed,
        all_workers_killed,
        worker_terminated,
        worker_stopped,
    )
}
