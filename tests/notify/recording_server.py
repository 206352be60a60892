"""An HTTP server on loopback that keeps what it is sent and answers as a test says, badly where asked to."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class RecordingServer:
    """`answers` are given in turn; once they are used up, `otherwise`."""

    otherwise: Answer
    requests: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(Request(request.method, request.path, dict(request.headers), body))
        answer = self.answers.pop(0) if self.answers else self.otherwise
        return await answer(request)


@asynccontextmanager
async def recording(
    otherwise: Answer | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RecordingServer]:
    """A server on a free port, gone at the end together with whoever still waits for it."""
    server = RecordingServer(otherwise or says(200, {}))
    application = web.Application(client_max_size=64 << 20)
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    _, port = runner.addresses[0][:2]
    server.url = f"{'https' if tls else 'http'}://localhost:{port}"
    try:
        yield server
    finally:
        await runner.cleanup()


def says(status: int, content: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """A plain answer; `content` as JSON unless it is text."""

    async def answer(request: web.Request) -> web.StreamResponse:
        text = content if isinstance(content, str) else json.dumps({} if content is None else content)
        return web.Response(status=status, text=text, headers=dict(headers or {}))

    return answer


async def hangs(request: web.Request) -> web.StreamResponse:
    """It never answers."""
    await asyncio.Event().wait()
    raise AssertionError("waited for ever")


async def cuts(request: web.Request) -> web.StreamResponse:
    """It cuts the connection instead of an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def floods(request: web.Request) -> web.StreamResponse:
    """It answers without end."""
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    try:
        while True:
            await response.write(b"x" * 65_536)
    except ConnectionError:
        return response


async def drips(request: web.Request) -> web.StreamResponse:
    """It begins an answer and never ends it."""
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    await response.write(b"{")
    await asyncio.Event().wait()
    return response


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a TLS server on loopback shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
