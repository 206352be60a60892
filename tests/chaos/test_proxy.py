"""The proxy does what its modes say, shown on an echo behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from anomaly.broker import HOST, free_port
from tests.chaos.proxy import Mode, Proxy

ORDINARY, HEARTBEAT = 3, 12


def request(key: int) -> bytes:
    body = key.to_bytes(2, "big") + b"body"
    return len(body).to_bytes(4, "big") + body


@pytest.fixture
def proxied() -> Iterator[tuple[Proxy, int]]:
    """A proxy before an echo, and the port to connect to."""
    listener = socket.create_server((HOST, 0))

    def echo(peer: socket.socket) -> None:
        with peer:
            while data := peer.recv(1000):
                peer.sendall(data)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=echo, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    port = free_port()
    proxy = Proxy([port], [listener.getsockname()[1]]).start()
    yield proxy, port
    proxy.close()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def answered(connection: socket.socket, key: int, seconds: float = 5.0) -> bool:
    """Whether a request comes back."""
    connection.settimeout(seconds)
    connection.sendall(request(key))
    try:
        return connection.recv(1000) == request(key)
    except TimeoutError:
        return False


@pytest.mark.parametrize("mode", [Mode.SILENT, Mode.HALF_OPEN])
def test_what_hangs_comes_once_it_is_healed(proxied: tuple[Proxy, int], mode: Mode) -> None:
    proxy, port = proxied
    with socket.create_connection((HOST, port)) as connection:
        assert answered(connection, ORDINARY)
        proxy.set(mode)
        assert not answered(connection, ORDINARY, 0.3)
        proxy.set(Mode.OPEN)
        connection.settimeout(5)
        assert connection.recv(1000) == request(ORDINARY)


def test_refused_closes_what_is_open_and_what_comes(proxied: tuple[Proxy, int]) -> None:
    proxy, port = proxied
    with socket.create_connection((HOST, port)) as connection:
        assert answered(connection, ORDINARY)
        proxy.set(Mode.REFUSED)
        assert closed(connection)
    with socket.create_connection((HOST, port)) as connection:
        assert closed(connection)


def closed(connection: socket.socket) -> bool:
    connection.settimeout(5)
    try:
        return connection.recv(1000) == b""
    except ConnectionError:
        return True


def test_only_the_coordinators_connections_hang(proxied: tuple[Proxy, int]) -> None:
    proxy, port = proxied
    with socket.create_connection((HOST, port)) as data, socket.create_connection((HOST, port)) as group:
        assert answered(data, ORDINARY)
        assert answered(group, HEARTBEAT)
        proxy.set(Mode.NO_COORDINATOR)
        assert answered(data, ORDINARY)
        assert not answered(group, HEARTBEAT, 0.3)


def test_slow_answers_come_after_the_latency(proxied: tuple[Proxy, int]) -> None:
    proxy, port = proxied
    proxy.set(Mode.SLOW)
    with socket.create_connection((HOST, port)) as connection:
        assert not answered(connection, ORDINARY, 0.1)
        connection.settimeout(5)
        assert connection.recv(1000) == request(ORDINARY)
