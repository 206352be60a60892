"""Real Prometheus and Alertmanager as processes, and a webhook that records what Alertmanager sends.

Each is a context manager on a free port of the loopback, keeps its data in a folder of the caller's, and ends the
process that it started by process id. What Debian's packages may run as services is left alone.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from anomaly.broker import HOST, free_port
from tests.install_servers import alertmanager, prometheus

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.05


class Server:
    """A program of Prometheus's family: a configuration file, one HTTP port, and ``/-/ready`` on it."""

    name: ClassVar[str]

    def __init__(self, folder: Path, config: Path) -> None:
        self.folder = folder
        self.config = config
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://{self.address}"

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        """What it said."""
        return self.folder / f"{self.name}.log"

    def command(self) -> list[str]:
        """What to run."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start it and return once it is ready; after `kill`, with the data it had."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._is_ready():
            words = self.log.read_text(errors="replace")[-3000:]
            assert self._process.poll() is None, f"{self.name} ended at once: {words}"
            assert time.monotonic() < deadline, f"{self.name} is not ready after {START_SECONDS:g} s: {words}"
            time.sleep(LOOK_SECONDS)
        return self

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in good order; SIGKILL after `STOP_SECONDS`."""
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def get(self, path: str, **query: str) -> Any:
        """The JSON at `path`; an answer that says what is wrong fails the test with its words."""
        address = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        return _json(urllib.request.Request(address))

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Prometheus(Server):
    """``prometheus`` with this configuration."""

    name = "prometheus"

    def command(self) -> list[str]:
        """Its storage lies in the folder."""
        return [
            prometheus(), f"--config.file={self.config}", f"--storage.tsdb.path={self.folder / 'prometheus'}",
            f"--web.listen-address={self.address}",
        ]  # fmt: skip

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector that `expression` gives now: ``{"metric": labels, "value": [time, text]}``."""
        result: list[dict[str, Any]] = self.get("/api/v1/query", query=expression)["data"]["result"]
        return result


class Alertmanager(Server):
    """``prometheus-alertmanager`` with this configuration, alone: it opens no port for a cluster."""

    name = "alertmanager"

    def command(self) -> list[str]:
        """Its storage lies in the folder."""
        return [
            alertmanager(), f"--config.file={self.config}", f"--storage.path={self.folder / 'alertmanager'}",
            f"--web.listen-address={self.address}", "--cluster.listen-address=",
        ]  # fmt: skip

    def post(self, path: str, body: Any) -> Any:
        """Send JSON to the API, ``/api/v2/alerts`` for instance; its answer, or None where that is empty."""
        data = json.dumps(body).encode()
        return _json(urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}))

    def alerts(self, **query: str) -> list[dict[str, Any]]:
        """The alerts that it has."""
        found: list[dict[str, Any]] = self.get("/api/v2/alerts", **query)
        return found


@dataclass(frozen=True, slots=True)
class Received:
    """A request that came to a `RecordingWebhook`."""

    path: str
    headers: Mapping[str, str]
    body: Any
    monotonic: float = field(default_factory=time.monotonic)


class RecordingWebhook:
    """Answers 200 to every POST and keeps it."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                recorder.received.append(Received(self.path, dict(self.headers), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(LOOK_SECONDS,), daemon=True)

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def at(self, path: str) -> Sequence[Received]:
        """What came to `path` so far."""
        return [each for each in self.received if each.path == path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _json(request: urllib.request.Request) -> Any:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{request.full_url}: {error.code} {error.read().decode()}") from None
    return json.loads(body) if body else None
