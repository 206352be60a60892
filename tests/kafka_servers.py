"""Real brokers as processes, for tests and benchmarks: `EmbeddedKafka` and `ApacheKafka`.

Both are context managers on free ports of the loopback, keep their data in a temporary folder (the embedded one: in
memory), and end the processes they started by process id. ``kill`` is SIGKILL; ``start`` after it begins again on the
same port, on Apache Kafka with the same data.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from anomaly.broker import HOST, DevelopmentBroker, free_port
from tests.install_servers import java, kafka_jars

START_SECONDS = 60.0
STOP_SECONDS = 20.0

# What makes a broker for tests quick and small; everything else is Kafka's default.
SETTINGS = {
    "auto.create.topics.enable": "false",
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",  # a killed broker may not come back before; 9 s is the default
    "controller.listener.names": "CONTROLLER",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.dedupe.buffer.size": str(16 << 20),
    "num.io.threads": "2",
    "num.network.threads": "2",
    "offsets.topic.num.partitions": "4",
    "process.roles": "broker,controller",
    "transaction.state.log.num.partitions": "4",
}
# On two cores the concurrent collector and the second compiler take more from a short test than they give.
JAVA_OPTIONS = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
LOGGING = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %c: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
logger.authorizer.name = kafka.authorizer.logger
logger.authorizer.level = INFO
logger.selector.name = org.apache.kafka.common.network.Selector
logger.selector.level = INFO
"""


class EmbeddedKafka(DevelopmentBroker):
    """The development broker under the names that `ApacheKafka` has."""

    kind = "embedded"

    def kill(self) -> None:
        """End it with SIGKILL; what it held is gone."""
        self.stop(kill=True)


class ApacheKafka:
    """Apache Kafka in KRaft mode: each broker is a controller too.

    ``settings`` are lines of server.properties over `SETTINGS`; in their values ``{directory}`` is this cluster's
    folder. ``format_arguments`` go to the storage tool (``--add-scram …``). ``listeners`` are more of them beside the
    plain one, name to protocol (``{"LOGIN": "SASL_SSL"}``), on ports of their own: `address`.
    """

    kind = "apache"

    def __init__(
        self,
        brokers: int = 1,
        settings: Mapping[str, str] | None = None,
        *,
        heap: str = "512m",
        format_arguments: tuple[str, ...] = (),
        listeners: Mapping[str, str] | None = None,
    ) -> None:
        self._java = [java(), f"-Xmx{heap}", *JAVA_OPTIONS, "-cp", f"{kafka_jars()}/*"]
        self._settings = dict(settings or {})
        self._format_arguments = format_arguments
        self._scratch = tempfile.TemporaryDirectory(prefix="kafka-")
        self.directory = Path(self._scratch.name)
        self.ports = [free_port() for _ in range(brokers)]
        self._controllers = [free_port() for _ in range(brokers)]
        self._listeners = dict(listeners or {})
        self._more_ports = {
            (name, number): free_port() for name in self._listeners for number in range(brokers)
        }
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap_servers(self) -> str:
        """``host:port,host:port,…`` of every broker."""
        return ",".join(f"{HOST}:{port}" for port in self.ports)

    def address(self, listener: str, number: int = 0) -> str:
        """``host:port`` of one of ``listeners``."""
        return f"{HOST}:{self._more_ports[listener, number]}"

    def advertised(self, listener: str, number: int) -> str:
        """``host:port`` that clients are told for one of ``listeners``."""
        return self.address(listener, number)

    def start(self, wait: bool = True) -> Self:
        """Start every broker that does not run; with `wait`, return once the cluster answers and is complete."""
        for number in range(len(self.ports)):
            self.start_broker(number)
        if wait:
            self._wait_until_complete()
        return self

    def start_broker(self, number: int) -> None:
        """Start one broker without waiting for it; with the data it had, if it ran before."""
        if number in self._processes and self._processes[number].poll() is None:
            return
        properties = self._properties(number)
        if not (self.directory / f"data-{number}").exists():
            self._format(properties)
        logging = self.directory / "log4j2.properties"
        logging.write_text(LOGGING)
        command = [*self._java, f"-Dlog4j2.configurationFile={logging}", "kafka.Kafka", str(properties)]
        with self.log_file(number).open("ab") as log:
            self._processes[number] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
            )

    def log_file(self, number: int = 0) -> Path:
        """Where broker `number` writes its log."""
        return self.directory / f"broker-{number}.log"

    def pid(self, number: int = 0) -> int:
        """The process id of a broker that was started."""
        return self._processes[number].pid

    def signal(self, which: signal.Signals, number: int = 0) -> None:
        """Send a broker a signal, SIGSTOP and SIGCONT for instance."""
        os.kill(self.pid(number), which)

    def kill(self, number: int | None = None) -> None:
        """End one broker, or all, with SIGKILL, as a lost machine would."""
        for process in self._pop(number):
            process.kill()
            process.wait()

    def stop(self, number: int | None = None) -> None:
        """End one broker, or all, in good order; SIGKILL after `STOP_SECONDS`."""
        processes = self._pop(number)
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End everything and remove the data: nobody needs either, so no good order."""
        self.kill()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pop(self, number: int | None) -> list[subprocess.Popen[bytes]]:
        numbers = list(self._processes) if number is None else [number]
        return [self._processes.pop(each) for each in numbers if each in self._processes]

    def _properties(self, number: int) -> Path:
        replication = str(min(3, len(self.ports)))
        voters = [f"{node}@{HOST}:{port}" for node, port in enumerate(self._controllers)]
        plain = f"PLAINTEXT://{HOST}:{self.ports[number]}"
        more = [f"{name}://{self.address(name, number)}" for name in self._listeners]
        told = [f"{name}://{self.advertised(name, number)}" for name in self._listeners]
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"} | self._listeners
        settings = SETTINGS | {
            "node.id": str(number),
            "log.dirs": f"{{directory}}/data-{number}",
            "listeners": ",".join([plain, *more, f"CONTROLLER://{HOST}:{self._controllers[number]}"]),
            "advertised.listeners": ",".join([plain, *told]),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in protocols.items()),
            "controller.quorum.voters": ",".join(voters),
            "default.replication.factor": replication,
            "offsets.topic.replication.factor": replication,
            "transaction.state.log.replication.factor": replication,
            "transaction.state.log.min.isr": str((len(self.ports) + 1) // 2),
        }
        settings |= self._settings
        lines = [
            f"{key}={value.replace('{directory}', str(self.directory))}\n" for key, value in settings.items()
        ]
        path = self.directory / f"server-{number}.properties"
        path.write_text("".join(lines))
        return path

    def _format(self, properties: Path) -> None:
        # One cluster, so one id for all its brokers; any 16 bytes in base64 will do.
        command = [*self._java, "kafka.tools.StorageTool", "format", "-t", "dHJhaW5pbmctYW5vbWFseQ", "-c"]
        command += [str(properties), *self._format_arguments]
        run = subprocess.run(command, capture_output=True, text=True, cwd=self.directory, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"Kafka's storage tool failed: {run.stdout}{run.stderr}")

    def _wait_until_complete(self) -> None:
        """Wait until every broker answers and knows all the others; only plain listeners can be asked."""
        deadline = time.monotonic() + START_SECONDS
        for number, port in enumerate(self.ports):
            # Each for itself: the others go on listing a killed one for a while.
            admin = AdminClient({"bootstrap.servers": f"{HOST}:{port}", "log_level": 0})
            while not self._is_complete(number, admin):
                if time.monotonic() > deadline:
                    raise RuntimeError(
                        f"broker {number} is not up in {START_SECONDS:g} s: {self._last_words(number)}"
                    )

    def _is_complete(self, number: int, admin: AdminClient) -> bool:
        if self._processes[number].poll() is not None:
            raise RuntimeError(f"broker {number} ended at its start: {self._last_words(number)}")
        try:
            return len(admin.list_topics(timeout=1).brokers) == len(self.ports)
        except KafkaException:
            return False

    def _last_words(self, number: int) -> str:
        return self.log_file(number).read_text(errors="replace")[-3000:]
