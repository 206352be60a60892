"""Apache Kafka behind a proxy: producers and onlookers come directly, workers through the proxy."""

from __future__ import annotations

import resource
from types import TracebackType
from typing import Self

from anomaly.broker import HOST, free_port
from tests.chaos.proxy import Mode, Proxy
from tests.kafka_servers import ApacheKafka

SETTINGS = {
    "log.cleaner.backoff.ms": "500",  # the cleaner shall be at work; 15 s is the default
    "log.index.size.max.bytes": "65536",  # so that a file grows only with its records: the disk can be full
    "replica.lag.time.max.ms": "4000",  # a stopped broker leaves the in-sync replicas in seconds
    "unclean.leader.election.enable": "false",
}
DISK_BYTES = 1 << 20
WORKERS = "WORKERS"


class ProxiedKafka(ApacheKafka):
    """`ApacheKafka` with a second listener, which says that it is where the proxy listens."""

    def __init__(self, brokers: int = 1) -> None:
        settings = SETTINGS | {"inter.broker.listener.name": "PLAINTEXT"}
        super().__init__(brokers, settings, listeners={WORKERS: "PLAINTEXT"})
        self._proxied = [free_port() for _ in range(brokers)]
        behind = [int(self.address(WORKERS, number).rpartition(":")[2]) for number in range(brokers)]
        self.proxy = Proxy(self._proxied, behind)

    @property
    def worker_servers(self) -> str:
        """``host:port,…`` through the proxy."""
        return ",".join(self.advertised(WORKERS, number) for number in range(len(self.ports)))

    def advertised(self, listener: str, number: int) -> str:
        """Where the proxy listens."""
        return f"{HOST}:{self._proxied[number]}"

    def fill_disk(self, number: int) -> None:
        """From now on no file of the broker grows beyond `DISK_BYTES`; a restart takes the limit away."""
        resource.prlimit(self.pid(number), resource.RLIMIT_FSIZE, (DISK_BYTES, DISK_BYTES))

    def heal(self) -> None:
        """Everything runs again, as at the start."""
        self.proxy.set(Mode.OPEN)
        self.start()

    def __enter__(self) -> Self:
        self.proxy.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.proxy.close()
