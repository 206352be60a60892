"""Brokers, workers and other programs as processes, ended by process id, and the CPU time they took.

Each is in a session of its own, so that Ctrl-C reaches the benchmark alone, whose ``with`` blocks then end them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from anomaly.broker import free_port
from tests.install_servers import ServerUnavailableError, kafka_jars
from tests.kafka_servers import ApacheKafka, EmbeddedKafka

REPOSITORY = Path(__file__).resolve().parent.parent
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Broker:
    """A running broker. `kind` says which; `logs` is the folder of its topics, None where they are not on disk."""

    kind: str
    bootstrap_servers: str
    is_development_broker: bool
    logs: Path | None = None


@contextmanager
def broker() -> Iterator[Broker]:
    """Apache Kafka where Java and its jars can be had, else the embedded broker."""
    try:
        apache = ApacheKafka()
    except ServerUnavailableError as error:
        with EmbeddedKafka() as embedded:
            yield Broker(f"the embedded broker ({error})", embedded.bootstrap_servers, True)
        return
    with apache:
        kind = f"Apache Kafka {kafka_jars().name.rpartition('-')[2]}, one broker"
        yield Broker(kind, apache.bootstrap_servers, False, apache.directory / "data-0")


class Program:
    """``python -m MODULE FLAGS…`` as a child; what it says on stderr goes to a file in `folder`."""

    def __init__(self, folder: Path, module: str, *flags: str) -> None:
        self.log = folder / f"{module}-{free_port()}.log"
        self._command = [sys.executable, "-m", module, *flags]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The child; only within the context."""
        assert self._process is not None
        return self._process

    def output(self, seconds: float) -> bytes:
        """What it writes on stdout, once it has ended; RuntimeError if it fails or takes longer."""
        try:
            output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{self._name} has not ended in {seconds:g} s: {self.last_words}") from None
        if self.process.returncode != 0:
            raise RuntimeError(f"{self._name} ended with status {self.process.returncode}: {self.last_words}")
        return output

    @property
    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2000:].strip() or "it said nothing"

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=_environment(self._folder), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self.process
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    @property
    def _name(self) -> str:
        return " ".join(self._command[1:])


class Worker(Program):
    """A real ``anomaly worker`` with its default settings but for `flags`; ready once entered, if `wait`."""

    def __init__(
        self, folder: Path, broker: Broker, prefix: str, group: str, *flags: str, wait: bool = True
    ) -> None:
        address = f"127.0.0.1:{free_port()}"
        given = ["--bootstrap-servers", broker.bootstrap_servers, "--topic-prefix", prefix, "--group", group]
        given += ["--data-dir", str(folder / f"{group}-{free_port()}"), "--metrics-address", address]
        if broker.is_development_broker:
            given.append("--development-broker")
        super().__init__(folder, "anomaly", "worker", *given, *flags)
        self._address = address
        self._wait = wait

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            if self._wait:
                self._wait_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                self._get("readyz")
                return
            except (OSError, HTTPException):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the worker is not ready: {self.last_words}") from None
            time.sleep(LOOK_SECONDS)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, over all labels."""
        try:
            lines = self._get("metrics").splitlines()
        except (OSError, HTTPException) as error:
            raise RuntimeError(f"the worker does not answer ({error}): {self.last_words}") from error
        return sum(
            float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))
        )

    def metric_or_none(self, name: str) -> float | None:
        """The same; None while the worker does not answer, as at its start."""
        try:
            return self.metric(name)
        except RuntimeError:
            return None

    def resident_bytes(self) -> int:
        """The process's memory: resident, shared libraries included."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))

    def cpu_seconds(self) -> float:
        """User and system time of the process so far, all threads, in steps of 10 ms."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._address}/{path}", timeout=10) as answer:
            text: str = answer.read().decode()
            return text


def _environment(folder: Path) -> dict[str, str]:
    """This process's, without settings of the user's own; temporary files go with `folder`, however a child ends."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("ANOMALY_")}
    return kept | {"PYTHONPATH": str(REPOSITORY), "TMPDIR": str(folder)}
