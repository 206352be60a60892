"""``/metrics``, ``/healthz`` and ``/readyz``, from a thread of their own.

A thread, so that they answer while the process's event loop is busy or stuck: ``/healthz`` then says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socket import AF_INET6
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from anomaly.errors import SettingsError
from anomaly.settings_checks import host_and_port

STUCK_SECONDS = 30.0
STOP_LOOK_SECONDS = 0.05

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Health:
    """What a process says of itself; written by its event loop, read by the server's thread."""

    clock: Callable[[], float] = time.monotonic
    ready: bool = False
    """It does its work: partitions are assigned, and what is known of them is read."""
    beat: float | None = field(default=None)
    """When the event loop last came round; None before it runs."""

    def pulse(self) -> None:
        """The event loop came round."""
        self.beat = self.clock()

    @property
    def alive(self) -> bool:
        """False once the event loop has been stuck for long."""
        return self.beat is None or self.clock() - self.beat < STUCK_SECONDS


def process_registry() -> CollectorRegistry:
    """For this process alone: with its start, its memory and its processor's seconds where the system tells them."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


def is_exposed(address: str) -> bool:
    """Whether others than this machine can reach ``HOST:PORT``.

    >>> is_exposed("127.0.0.1:9464"), is_exposed("localhost:0"), is_exposed("0.0.0.0:9464"), is_exposed("[::]:9464")
    (False, False, True, True)
    """
    host, _ = host_and_port(address) or ("", 0)
    try:
        return not ip_address(host).is_loopback
    except ValueError:  # a name, which may be anything
        return host != "localhost"


def warn_if_exposed(setting: str, address: str) -> None:
    """Say so in the log where others than this machine can reach `address`, which is that setting's value."""
    if is_exposed(address):
        log.warning(
            "%s: %s can be reached from other machines, and has neither password nor TLS; let only a proxy that has "
            "both reach it, or give 127.0.0.1",
            setting,
            address,
        )


class HealthServer:
    """Serve on `address` (``HOST:PORT``; port 0 takes a free one) while entered.

    Raises `SettingsError`, which names `setting`, when the address cannot be used.
    """

    def __init__(self, setting: str, address: str, registry: CollectorRegistry, health: Health) -> None:
        host, port = host_and_port(address) or ("", 0)

        class Handler(_Handler):
            pass

        Handler.registry, Handler.health = registry, health

        class Server(ThreadingHTTPServer):
            address_family = AF_INET6 if ":" in host else ThreadingHTTPServer.address_family
            daemon_threads = True

        try:
            self._server = Server((host, port), Handler)
        except OSError as error:
            raise SettingsError(
                [f"{setting}: got {address}, which cannot be used ({error.strerror}); choose another port"]
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_LOOK_SECONDS,), name="health", daemon=True
        )

    @property
    def address(self) -> str:
        """``HOST:PORT`` with the port that was taken."""
        host, port = self._server.server_address[:2]
        return f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    health: Health
    timeout = 10  # seconds for a client to send its request: a silent one must not keep a thread for ever

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, encode(self.registry), content_type)
        elif path == "/healthz":
            self._answer_state(self.health.alive, "alive", "the event loop is stuck")
        elif path == "/readyz":
            self._answer_state(
                self.health.ready and self.health.alive, "ready", "waiting for partitions or states"
            )
        else:
            self._answer(404, b"here are /metrics, /healthz and /readyz\n")

    def _answer_state(self, good: bool, yes: str, no: str) -> None:
        self._answer(200 if good else 503, f"{yes if good else no}\n".encode())

    def _answer(self, status: int, body: bytes, content_type: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        log.debug("health: " + format, *args)
