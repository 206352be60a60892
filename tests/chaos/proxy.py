"""A TCP proxy before every broker, whose links can be cut, hung, slowed down and healed.

It runs in a thread of its own. Requests are passed on whole, so that it knows which connection belongs to the group's
coordinator: the one that carries heartbeats, joins and commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Self

from anomaly.broker import HOST

CHUNK = 1 << 18
LATENCY_SECONDS = 0.15
GROUP_REQUESTS = frozenset({8, 9, 11, 12, 13, 14})
"""OffsetCommit, OffsetFetch, JoinGroup, Heartbeat, LeaveGroup, SyncGroup."""


class Mode(enum.StrEnum):
    """What the network does."""

    OPEN = "open"
    REFUSED = "refused"
    """Connections are closed, new ones at once."""
    SILENT = "silent"
    """Nothing passes and nobody is told."""
    HALF_OPEN = "half open"
    """Requests arrive, answers do not."""
    NO_COORDINATOR = "no coordinator"
    """Only the connections to the group's coordinator are silent."""
    SLOW = "slow"
    """Every piece takes `LATENCY_SECONDS` longer."""


class Link:
    """One client's connection to one broker."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, broker: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.writers = (client, broker)
        self.to_coordinator = False
        self.client_port: int = client.get_extra_info("peername")[1]
        self.answered_bytes = 0

    def abort(self) -> None:
        """Close both ends."""
        for writer in self.writers:
            writer.transport.abort()

    async def passage(self, *, request: bool) -> None:
        """Wait until a piece may pass in this direction."""
        while self._hangs(request):
            await self.proxy.changed()
        if self.proxy.mode is Mode.SLOW:
            await asyncio.sleep(LATENCY_SECONDS)

    def _hangs(self, request: bool) -> bool:
        mode = self.proxy.mode
        if mode is Mode.NO_COORDINATOR:
            return self.to_coordinator
        return mode is Mode.SILENT or (mode is Mode.HALF_OPEN and not request)


class Proxy:
    """Listens on a port for each of `brokers` (ports on the loopback). `mode` holds for all of them."""

    def __init__(self, ports: Sequence[int], brokers: Sequence[int]) -> None:
        self.mode = Mode.OPEN
        self._routes = list(zip(ports, brokers, strict=True))
        self._links: set[Link] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._change = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def start(self) -> Self:
        """Listen."""
        self._thread.start()
        self._call(self._listen())
        return self

    def close(self) -> None:
        """Cut everything and end the thread."""
        self._call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def set(self, mode: Mode) -> None:
        """From now on the network does this; `Mode.OPEN` heals it."""
        self._call(self._set(mode))

    def bytes_to(self, pid: int) -> int:
        """What a process has been sent over the connections that it has now."""
        ports = _ports_of(pid)
        return sum(link.answered_bytes for link in list(self._links) if link.client_port in ports)

    async def changed(self) -> None:
        """Return at the next change of the mode."""
        await self._change.wait()

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _set(self, mode: Mode) -> None:
        self.mode = mode
        if mode is Mode.REFUSED:
            for link in list(self._links):
                link.abort()
        self._change.set()
        self._change = asyncio.Event()

    async def _listen(self) -> None:
        for port, broker in self._routes:

            async def serve(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, broker: int = broker
            ) -> None:
                await self._serve(reader, writer, broker)

            self._servers.append(await asyncio.start_server(serve, HOST, port, limit=CHUNK))

    async def _cancel_all(self) -> None:
        for server in self._servers:
            server.close()
        for link in list(self._links):
            link.abort()
        await asyncio.sleep(0)  # an aborted connection closes its socket in the next round
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        if self.mode is Mode.REFUSED:
            writer.transport.abort()
            return
        try:
            broker_reader, broker_writer = await asyncio.open_connection(HOST, port, limit=CHUNK)
        except OSError:
            writer.transport.abort()
            return
        link = Link(self, writer, broker_writer)
        self._links.add(link)
        try:
            pumps = [
                asyncio.ensure_future(_requests(link, reader, broker_writer)),
                asyncio.ensure_future(_answers(link, broker_reader, writer)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            self._links.discard(link)
            link.abort()


def _ports_of(pid: int) -> set[int]:
    """The local ports of a process's TCP connections over IPv4."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            inodes.add(descriptor.readlink().name.removeprefix("socket:[").removesuffix("]"))
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[9] in inodes}


async def _requests(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(6)
            size, key = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            body = await reader.readexactly(size - 2)
            link.to_coordinator = link.to_coordinator or key in GROUP_REQUESTS
            await link.passage(request=True)
            writer.write(head + body)
            await writer.drain()


async def _answers(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(CHUNK):
            await link.passage(request=False)
            link.answered_bytes += len(piece)
            writer.write(piece)
            await writer.drain()
