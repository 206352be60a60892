"""What can happen while a scenario runs. Each fault is over, and healed, when its function returns.

They wait in seconds, because that is what they are about: longer than the session, shorter than the patience.
"""

from __future__ import annotations

import random
import re
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from anomaly.worker.fault_points import VARIABLE, Point
from tests.chaos.proxy import Mode

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

LONGER_THAN_THE_SESSION = 8.0
BROKER_PAUSE_SECONDS = 10.0
PATIENCE_SECONDS = 6.0
HOUR = 3600

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
    pid = worker.pid
    worker.send_signal(signal.SIGSTOP)
    time.sleep(LONGER_THAN_THE_SESSION)
    if worker.pid == pid:
        worker.send_signal(signal.SIGCONT)


def worker_out_of_memory(stage: Stage, chance: random.Random) -> None:
    """No page more than it has, and a few; killed if it can live with that."""
    worker = chance.choice(stage.workers)
    pid = worker.pid
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = re.search(r"VmSize:\s+(\d+)", status)
    if kibibytes is None:
        return  # between death and the next start
    limit = (int(kibibytes[1]) << 10) + chance.choice((0, 1 << 20, 8 << 20))
    resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
    time.sleep(PATIENCE_SECONDS)
    if worker.pid == pid:
        worker.kill()


def worker_ends_at_a_point(stage: Stage, chance: random.Random) -> None:
    """Killed, and its next life ends somewhere between processing and commit."""
    worker = chance.choice(stage.workers)
    worker.first_environment = {VARIABLE: f"{chance.choice(list(Point))}:{chance.choice((1, 1, 2, 5))}"}
    worker.kill()


def workers_come_and_go(stage: Stage, chance: random.Random) -> None:
    """Two more, then one less."""
    stage.add_worker()
    stage.add_worker()
    time.sleep(PATIENCE_SECONDS)
    leaving = stage.workers.pop(0)
    stage.retired.append(leaving)
    leaving.terminate()


def broker_killed(stage: Stage, chance: random.Random) -> None:
    """SIGKILL, and a restart."""
    number = _broker(stage, chance)
    stage.cluster.kill(number)
    time.sleep(chance.uniform(0.5, 4))
    stage.cluster.start_broker(number)


def broker_stopped(stage: Stage, chance: random.Random) -> None:
    """SIGSTOP."""
    number = _broker(stage, chance)
    stage.cluster.signal(signal.SIGSTOP, number)
    time.sleep(BROKER_PAUSE_SECONDS)
    stage.cluster.signal(signal.SIGCONT, number)


def broker_disk_full(stage: Stage, chance: random.Random) -> None:
    """No file may grow; the broker gives up, and is started again with room."""
    number = _broker(stage, chance)
    stage.cluster.fill_disk(number)
    time.sleep(PATIENCE_SECONDS)
    stage.cluster.kill(number)
    stage.cluster.start_broker(number)


def brokers_unreachable(stage: Stage, chance: random.Random) -> None:
    """Connections refused."""
    _network(stage, Mode.REFUSED, chance.uniform(2, 9))


def network_silent(stage: Stage, chance: random.Random) -> None:
    """Nothing passes and nobody is told."""
    _network(stage, Mode.SILENT, chance.uniform(2, 9))


def network_half_open(stage: Stage, chance: random.Random) -> None:
    """What is sent arrives; no answer does."""
    _network(stage, Mode.HALF_OPEN, chance.uniform(2, 9))


def coordinator_silent(stage: Stage, chance: random.Random) -> None:
    """Records flow; heartbeats and commits do not."""
    _network(stage, Mode.NO_COORDINATOR, chance.uniform(4, 9))


def network_slow(stage: Stage, chance: random.Random) -> None:
    """Every piece takes longer."""
    _network(stage, Mode.SLOW, chance.uniform(4, 8))


def clock_jump(stage: Stage, chance: random.Random) -> None:
    """The workers' clock goes an hour forward or back, and returns."""
    stage.set_clock(chance.choice((-HOUR, HOUR)))
    time.sleep(chance.uniform(2, 5))
    stage.set_clock(0)


def producer_killed(stage: Stage, chance: random.Random) -> None:
    """SIGKILL amid a batch; the job goes on from its last checkpoint."""
    producer = chance.choice(stage.producers)
    producer.kill()
    producer.start()


def _broker(stage: Stage, chance: random.Random) -> int:
    return chance.randrange(stage.scenario.brokers)


def _network(stage: Stage, mode: Mode, seconds: float) -> None:
    stage.cluster.proxy.set(mode)
    time.sleep(seconds)
    stage.cluster.proxy.set(Mode.OPEN)


FAULTS: dict[str, Fault] = {
    each.__name__: each
    for each in (
        worker_killed,
        all_workers_killed,
        worker_terminated,
        worker_stopped,
        worker_out_of_memory,
        worker_ends_at_a_point,
        workers_come_and_go,
        broker_killed,
        broker_stopped,
        broker_disk_full,
        brokers_unreachable,
        network_silent,
        network_half_open,
        coordinator_silent,
        network_slow,
        clock_jump,
        producer_killed,
    )
}
