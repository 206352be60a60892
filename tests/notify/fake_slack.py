"""A fake of Slack, which cannot run here: the four methods we call, with the answers that Slack's documentation gives.

It refuses what Slack refuses (a token that is wrong, a header of more than 150 characters, a section of more than
3,000), keeps messages and threads, and can be told to answer otherwise the next time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from tests.notify.recording_server import Answer, RecordingServer, recording

TOKEN = "xoxb-1234-" + "s" * 24
CHANNEL = "C012AB3CD"


@dataclass
class FakeSlack:
    """`messages` by their `ts`; `threads` holds replies by their parent's; `files` what was uploaded and shared."""

    server: RecordingServer
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    threads: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    shared: list[dict[str, Any]] = field(default_factory=list)
    refuse: dict[str, list[str]] = field(default_factory=dict)
    upload_url: str = ""

    @property
    def url(self) -> str:
        return f"{self.server.url}/api"

    def calls(self) -> list[str]:
        return [request.path.rpartition("/")[2] for request in self.server.requests]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        method = request.path.rpartition("/")[2]
        body = self.server.requests[-1].body
        if method.startswith("upload-"):
            self.files[method] = body
            return web.Response(text=f"OK - {len(body)}")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _refused("invalid_auth")
        if self.refuse.get(method):
            return _refused(self.refuse[method].pop(0))
        as_form = request.content_type == "application/x-www-form-urlencoded"
        fields = dict(parse_qsl(body.decode())) if as_form else json.loads(body)
        return getattr(self, "_" + method.replace(".", "_"))(fields)  # type: ignore[no-any-return]

    def _chat_postMessage(self, fields: dict[str, Any]) -> web.Response:  # noqa: N802
        problem = _problem(fields)
        if problem:
            return _refused(problem)
        stamp = f"1790000000.{len(self.messages) + sum(map(len, self.threads.values())):06d}"
        if "thread_ts" in fields:
            if fields["thread_ts"] not in self.messages:
                return _refused("thread_not_found")
            self.threads.setdefault(fields["thread_ts"], []).append(fields)
        else:
            self.messages[stamp] = fields
        return web.json_response({"ok": True, "channel": CHANNEL, "ts": stamp, "message": fields})

    def _chat_update(self, fields: dict[str, Any]) -> web.Response:
        if fields["ts"] not in self.messages:
            return _refused("message_not_found")
        problem = _problem(fields)
        if problem:
            return _refused(problem)
        self.messages[fields["ts"]] = fields
        return web.json_response({"ok": True, "channel": CHANNEL, "ts": fields["ts"], "text": fields["text"]})

    def _files_getUploadURLExternal(self, fields: dict[str, Any]) -> web.Response:  # noqa: N802
        if not int(fields.get("length", 0)) or not fields.get("filename"):
            return _refused("invalid_arguments")
        url = self.upload_url or f"{self.server.url}/upload-1"
        return web.json_response({"ok": True, "upload_url": url, "file_id": "F1"})

    def _files_completeUploadExternal(self, fields: dict[str, Any]) -> web.Response:  # noqa: N802
        self.shared.append(fields)
        return web.json_response({"ok": True, "files": fields["files"]})


@asynccontextmanager
async def fake_slack() -> AsyncIterator[FakeSlack]:
    """On a free port; answers that a test queues in `server.answers` come first."""
    async with recording() as server:
        slack = FakeSlack(server)
        answer: Answer = slack.answer
        server.otherwise = answer
        yield slack


def _problem(fields: dict[str, Any]) -> str:
    """What Slack would refuse of a message."""
    if not fields.get("channel"):
        return "channel_not_found"
    for block in fields.get("blocks", ()):
        if block["type"] == "header" and not (
            block["text"]["type"] == "plain_text" and 1 <= len(block["text"]["text"]) <= 150
        ):
            return "invalid_blocks"
        if block["type"] == "section" and not 1 <= len(block["text"]["text"]) <= 3000:
            return "invalid_blocks"
        if block["type"] == "context" and not 1 <= len(block["elements"]) <= 10:
            return "invalid_blocks"
    return "" if fields.get("blocks") or fields.get("text") else "no_text"


def _refused(error: str) -> web.Response:
    return web.json_response({"ok": False, "error": error})
