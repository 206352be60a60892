from __future__ import annotations

import asyncio
import gzip
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from anomaly.errors import SettingsError
from anomaly.notify.delivery import DeliveryError
from anomaly.notify.http import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    Answer,
    Http,
    place_of,
    proxy_of,
    retry_after,
)
from tests.notify.recording_server import Answer as ServerAnswer
from tests.notify.recording_server import cuts, drips, floods, hangs, recording, says, server_tls
from tests.security.certificates import ELSEWHERE, Authority

KEY = "T0KEN-" + "k" * 20
NOW = 1_790_000_000.0


async def post(url: str, body: bytes = b"{}", **options: Any) -> Answer:
    """One request with a secret in it, in the path and in a header."""
    fixed: dict[str, Any] = {"environment": {}, "clock": lambda: NOW}
    client = Http(**(fixed | options))
    try:
        return await client.post(f"{url}/hook/{KEY}", body, {"Authorization": f"Bearer {KEY}"}, (KEY,))
    finally:
        await client.close()


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


async def refused_by(answer: ServerAnswer, **options: Any) -> DeliveryError:
    async with recording(answer) as server:
        with pytest.raises(DeliveryError) as caught:
            await post(server.url, **options)
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None
        return caught.value


def test_a_success_comes_back_with_its_content() -> None:
    async def scenario() -> Answer:
        async with recording(says(202, {"ok": True})) as server:
            answer = await post(server.url)
            assert server.requests[0].body == b"{}"
            return answer

    assert run(scenario()) == Answer(202, b'{"ok": true}')


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_retriable(status: int) -> None:
    error = run(refused_by(says(status, "later")))
    assert error.retriable
    assert str(status) in str(error)
    assert "later" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_what_will_be_refused_again_is_not_retriable(status: int) -> None:
    assert not run(refused_by(says(status, "no"))).retriable


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=90), usegmt=True), 0.0),
        ("999999999", 3600.0),
        ("-5", None),
        ("soon", None),
    ],
)
def test_retry_after_is_understood_in_both_forms(header: str, seconds: float | None) -> None:
    assert run(refused_by(says(429, "slow", {"Retry-After": header}))).retry_after_seconds == seconds
    assert retry_after(header, NOW) == seconds


def test_a_server_that_hangs_is_left_in_time() -> None:
    error = run(refused_by(hangs, timeout_seconds=0.3))
    assert error.retriable
    assert "no answer in time" in str(error)


def test_an_answer_that_never_ends_is_left_in_time() -> None:
    assert run(refused_by(drips, timeout_seconds=0.3)).retriable


def test_a_connection_that_is_cut_is_retriable() -> None:
    assert run(refused_by(cuts)).retriable


def test_nobody_listening_is_retriable_and_says_so() -> None:
    async def scenario() -> None:
        async with recording() as server:
            url = server.url
        with pytest.raises(DeliveryError, match="cannot connect") as caught:
            await post(url)
        assert caught.value.retriable

    run(scenario())


def test_of_gigabytes_only_the_first_part_is_read() -> None:
    async def scenario() -> None:
        async with recording(floods) as server:
            assert len((await post(server.url)).content) == MAX_ANSWER_BYTES

    run(scenario())


def test_a_small_answer_that_would_unpack_to_much_is_not_unpacked() -> None:
    async def bomb(request: web.Request) -> web.StreamResponse:
        return web.Response(body=gzip.compress(bytes(100 << 20)), headers={"Content-Encoding": "gzip"})

    async def scenario() -> None:
        async with recording(bomb) as server:
            assert len((await post(server.url)).content) < MAX_ANSWER_BYTES
            assert server.requests[0].headers["Accept-Encoding"] == "identity"

    run(scenario())


def test_more_than_the_limit_is_never_sent() -> None:
    async def scenario() -> None:
        async with recording() as server:
            with pytest.raises(DeliveryError, match="at most") as caught:
                await post(server.url, bytes(MAX_REQUEST_BYTES + 1))
            assert not caught.value.retriable
            assert server.requests == []

    run(scenario())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_its_target_is_named_by_host(status: int) -> None:
    async def scenario() -> None:
        async with recording() as other:
            target = f"{other.url}/steal?key={KEY}"
            error = await refused_by(says(status, "", {"Location": target}))
            assert other.requests == []
            assert f"{other.url}/…" in str(error)
            assert not error.retriable

    run(scenario())


def test_a_secret_that_a_server_echoes_is_not_in_the_error() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(
            status=400, text=f"bad token {request.headers['Authorization']} at {request.path}"
        )

    error = run(refused_by(echo))
    assert "bad token Bearer ********" in str(error)


def test_nothing_that_is_logged_at_any_level_holds_the_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for answer in (says(500, "no"), cuts, says(302, "", {"Location": "http://x/"})):
        run(refused_by(answer))
    assert KEY not in caplog.text


def test_a_certificate_of_an_unknown_authority_is_refused_for_good_and_taken_with_its_ca_file(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        async with recording(tls=server_tls(*authority.sign("here"))) as server:
            with pytest.raises(DeliveryError, match="certificate is refused") as caught:
                await post(server.url)
            assert not caught.value.retriable
            assert server.requests == []
            assert (await post(server.url, ca_file=str(authority.ca))).status == 200

    run(scenario())


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        async with recording(tls=server_tls(*authority.sign("elsewhere", names=ELSEWHERE))) as server:
            with pytest.raises(DeliveryError, match="certificate is refused"):
                await post(server.url, ca_file=str(authority.ca))
            assert server.requests == []

    run(scenario())


def test_a_ca_file_that_is_none_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for path in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(SettingsError, match="notify_ca_file"):
            Http(ca_file=str(path))


def test_requests_go_through_the_proxy_that_the_environment_names() -> None:
    async def scenario() -> None:
        async with recording(says(200, "by proxy")) as proxy:
            environment = {"http_proxy": proxy.url}
            answer = await post("http://receiver.invalid", environment=environment)
            assert answer.content == b"by proxy"
            assert proxy.requests[0].headers["Host"] == "receiver.invalid"
            with pytest.raises(DeliveryError):
                await post("http://receiver.invalid", environment=environment | {"NO_PROXY": ".invalid"})

    run(scenario())


@pytest.mark.parametrize(
    ("excepted", "direct"),
    [
        ("", False),
        ("*", True),
        ("am.lab", True),
        (".lab", True),
        ("lab", True),
        ("b", False),
        ("am.lab:9093", True),
    ],
)
def test_no_proxy_takes_hosts_domains_and_everything(excepted: str, direct: bool) -> None:
    environment = {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": excepted}
    assert (proxy_of("http://am.lab:9093/api", environment) is None) == direct


@pytest.mark.parametrize("url", ["https://[half", "mailto:x", "", "https://user:pw@host/secret?k=v"])
def test_a_place_never_shows_more_than_a_host(url: str) -> None:
    assert not {"pw", "secret", "k=v"} & set(place_of(url).replace("/", " ").split())
