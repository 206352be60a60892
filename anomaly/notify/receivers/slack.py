"""Slack's Web API: one message an incident, kept up to date in place; what happens to it is told in its thread.

Four methods over our own client rather than slack_sdk: its client follows redirects and reads answers of any size,
and could be held to neither. An escalation is shown to the channel, too; a picture goes into the thread.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from anomaly.escapes import shown
from anomaly.notify.delivery import Delivery, DeliveryError, Event
from anomaly.notify.http import Http, place_of
from anomaly.notify.receivers.slack_blocks import escaped, message
from anomaly.notify.secret_files import secret_now, secret_of
from anomaly.settings_receivers import SlackSpec

_RECEIPT = re.compile(r"[A-Z0-9]{2,40}:[0-9]+\.[0-9]+")
_GONE = ("message_not_found", "thread_not_found", "cant_update_message")
_LATER = (
    "fatal_error",
    "internal_error",
    "ratelimited",
    "request_timeout",
    "service_unavailable",
    "rate_limited",
)
_NOT_AGAIN = {
    "channel_not_found": "give the channel's id, and invite the bot to it",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "give another channel",
    "invalid_auth": "correct the token",
    "token_revoked": "correct the token",
    "missing_scope": "grant the bot chat:write and files:write",
}
_log = logging.getLogger(__name__)


class SlackRefusedError(DeliveryError):
    """Slack answered ``ok: false``."""

    def __init__(self, method: str, reason: str) -> None:
        todo = _NOT_AGAIN.get(reason, "see Slack's documentation of the method")
        super().__init__(
            f"Slack: {method}: got {shown(reason, 80)}; {todo}",
            retriable=reason in _LATER,
        )
        self.reason = reason


class Slack:
    """One channel."""

    wants_picture = True
    refresh_seconds: float | None = None

    def __init__(self, spec: SlackSpec, http: Http) -> None:
        self.name = spec.name
        self._spec = spec
        self._http = http
        secret_of(spec, "token")

    async def deliver(self, delivery: Delivery) -> str | None:
        """Post or bring up to date; the receipt says which message it is. Raises `DeliveryError`."""
        if not _RECEIPT.fullmatch(delivery.receipt or "") or delivery.event in (Event.PAGE, Event.TEST):
            return await self._post(delivery)
        try:
            await self._follow_up(delivery)
        except SlackRefusedError as refused:
            if refused.reason not in _GONE:
                raise
            # Someone deleted the message. What wakes is said anew, the rest is not for them to see again.
            return await self._post(delivery) if delivery.event.wakes else delivery.receipt
        return delivery.receipt

    async def refresh(self, deliveries: Sequence[Delivery]) -> None:
        """Slack forgets nothing."""

    async def close(self) -> None:
        """Nothing of its own to give back."""

    async def _post(self, delivery: Delivery) -> str:
        said = await self._call("chat.postMessage", self._message(self._spec.channel, delivery))
        channel, stamp = str(said.get("channel", "")), str(said.get("ts", ""))
        await self._show(delivery, channel, stamp)
        return f"{channel}:{stamp}"

    async def _follow_up(self, delivery: Delivery) -> None:
        """The message first: it may be repeated without harm, the reply may not."""
        channel, _, stamp = (delivery.receipt or "").partition(":")
        await self._call("chat.update", {**self._message(channel, delivery), "ts": stamp})
        reply = {
            "channel": channel,
            "thread_ts": stamp,
            "text": escaped(f"{delivery.event}: {delivery.page.title}"),
            "reply_broadcast": delivery.event is Event.ESCALATE,
            "unfurl_links": False,
            "unfurl_media": False,
        }
        await self._call("chat.postMessage", reply)
        await self._show(delivery, channel, stamp)

    def _message(self, channel: str, delivery: Delivery) -> dict[str, Any]:
        return {"channel": channel, "unfurl_links": False, "unfurl_media": False, **message(delivery.page)}

    async def _show(self, delivery: Delivery, channel: str, stamp: str) -> None:
        """The picture; the page has arrived without it, so what fails here is only noted."""
        if delivery.picture is None:
            return
        try:
            await self._upload(delivery.picture, delivery.key, channel, stamp)
        except DeliveryError as error:
            _log.warning(
                "receiver %s: the picture of %s could not be sent: %s", self.name, delivery.key, error
            )

    async def _upload(self, picture: bytes, key: str, channel: str, stamp: str) -> None:
        wanted = {"filename": f"{key}.png", "length": len(picture), "alt_txt": "the evidence over time"}
        said = await self._call("files.getUploadURLExternal", wanted, as_form=True)
        address = str(said.get("upload_url", ""))
        if not _is_of(address, self._spec.url):
            raise DeliveryError(
                f"Slack: the address for a picture is {place_of(address)}, not one of {place_of(self._spec.url)}; "
                "not sent there",
                retriable=False,
            )
        await self._http.post(address, picture, {"Content-Type": "application/octet-stream"}, (address,))
        shared = {
            "files": [{"id": said.get("file_id"), "title": key}],
            "channel_id": channel,
            "thread_ts": stamp,
        }
        await self._call("files.completeUploadExternal", shared)

    async def _call(self, method: str, fields: Mapping[str, Any], as_form: bool = False) -> dict[str, Any]:
        token = secret_now(self._spec, "token")
        kind = "application/x-www-form-urlencoded" if as_form else "application/json; charset=utf-8"
        body = urlencode(fields).encode() if as_form else json.dumps(fields).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
        answer = await self._http.post(f"{self._spec.url.rstrip('/')}/{method}", body, headers, (token,))
        try:
            said = json.loads(answer.content)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise DeliveryError(
                f"Slack: {method}: got no JSON object; is this Slack's address?", retriable=True
            )
        if said.get("ok") is not True:
            raise SlackRefusedError(method, str(said.get("error", "no reason")))
        return said


def _is_of(address: str, api: str) -> bool:
    """Whether an address that Slack names is Slack's own: the API's host, or another one of its domain."""
    there, here = urlsplit(address), urlsplit(api)
    if there.scheme != here.scheme:
        return False
    if there.netloc == here.netloc:
        return True
    domain = (here.hostname or "").split(".")[-2:]
    return len(domain) == 2 and not domain[-1].isdigit() and (there.hostname or "").split(".")[-2:] == domain
