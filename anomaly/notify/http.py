"""The one way out over HTTP: bounded in time and size, TLS verified, no redirect followed, no secret in any word.

Every receiver that speaks HTTP goes through `Http.post`. A URL may hold a key, so messages name its host alone; what a
server answers is shown with the secrets that were sent taken out.
"""

from __future__ import annotations

import asyncio
import math
import os
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from anomaly.connection import MASKED
from anomaly.errors import SettingsError
from anomaly.escapes import shown
from anomaly.notify.delivery import DeliveryError

TIMEOUT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
MAX_REQUEST_BYTES = 8 << 20
MAX_ANSWER_BYTES = 256 << 10
MAX_RETRY_AFTER_SECONDS = 3600.0
EXCERPT = 300
_RETRIABLE = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: a status of 200 to 299, its content, at most `MAX_ANSWER_BYTES`."""

    status: int
    content: bytes


class Http:
    """An outbound client; one for all receivers, closed by who made it.

    `ca_file` is a PEM file of authorities to trust beside the system's. `environment` is where proxies are named
    (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``, in small letters too). Raises `SettingsError` for a file without
    certificates. `tls` is for whoever speaks another protocol to the same world.
    """

    def __init__(
        self,
        ca_file: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.tls = tls_context(ca_file)
        self._timeout = aiohttp.ClientTimeout(
            total=timeout_seconds, sock_connect=min(CONNECT_SECONDS, timeout_seconds)
        )
        self._environment = environment
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], secrets: Iterable[str] = ()
    ) -> Answer:
        """Send `body`; the answer, if it is a success. `secrets` are what an answer must not bring into a log.

        Raises `DeliveryError`: retriable where the network failed, for 408, 425, 429 and 5xx.
        """
        where = place_of(url)
        if len(body) > MAX_REQUEST_BYTES:
            raise DeliveryError(
                f"POST {where}: got {len(body):,} bytes to send, at most {MAX_REQUEST_BYTES:,} are sent; not sent",
                retriable=False,
            )
        try:
            return await self._post(url, body, headers, tuple(secrets))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise DeliveryError(
                f"POST {where}: {_reason(error)}", retriable=not _is_final(error)
            ) from None  # the original may name the URL

    async def close(self) -> None:
        """Give back connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], secrets: tuple[str, ...]
    ) -> Answer:
        async with self._open().post(
            url,
            data=body,
            headers={"User-Agent": "training-anomaly", "Accept-Encoding": "identity", **headers},
            allow_redirects=False,
            proxy=proxy_of(url, self._environment),
        ) as response:
            content = await _read(response)
            if 200 <= response.status < 300:
                return Answer(response.status, content)
            raise self._refused(place_of(url), response, content, secrets)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self.tls, limit=32),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _refused(
        self, where: str, response: aiohttp.ClientResponse, content: bytes, secrets: tuple[str, ...]
    ) -> DeliveryError:
        status = response.status
        said = excerpt(content, secrets)
        text = f"POST {where}: got {status} {_phrase(status)}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            target = place_of(response.headers.get("Location", ""))
            text += f", to {target}; redirects are not followed, give the final address"
        return DeliveryError(
            text,
            retriable=status in _RETRIABLE or status >= 500,
            retry_after_seconds=retry_after(response.headers.get("Retry-After"), self._clock()),
        )


def tls_context(ca_file: str) -> ssl.SSLContext:
    """TLS 1.2 or newer that verifies certificate and host name, by the system's authorities and those of `ca_file`."""
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=ca_file)
        except ssl.SSLError:
            problem = "holds no certificate in PEM; correct that file"
            raise SettingsError([f"notify_ca_file: {ca_file} {problem}"]) from None
        except OSError as error:
            problem = f"cannot be read ({error.strerror}); correct the path or its mode"
            raise SettingsError([f"notify_ca_file: {ca_file} {problem}"]) from None
    return context


def place_of(url: str) -> str:
    """A URL as it may be shown: its host, and that there is more.

    >>> place_of("https://hooks.example.com/services/T0/KEY?token=1"), place_of("http://user:pw@[::1]:9093")
    ('https://hooks.example.com/…', 'http://[::1]:9093')
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "an address that cannot be read"
    more = "/…" if parts.path.strip("/") or parts.query else ""
    return shown(f"{parts.scheme}://{host}{more}") if host else "no host"


def proxy_of(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy that the environment names for this URL, or None.

    >>> proxy_of("https://a.example/x", {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "b.example"})
    'http://proxy:3128'
    >>> proxy_of("https://a.example/x", {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "localhost,.example"})
    """
    parts = urlsplit(url)
    named = _named(environment, "no_proxy")
    excepted = [entry.strip().lower() for entry in named.split(",") if entry.strip()]
    host = (parts.hostname or "").lower()
    for entry in excepted:
        bare = entry.lstrip("*").lstrip(".")
        if bare in ("", host, parts.netloc.lower()) or host.endswith(f".{bare}"):
            return None
    return _named(environment, f"{parts.scheme}_proxy") or None


def _named(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def retry_after(text: str | None, now: float) -> float | None:
    """Seconds to wait, from either form of ``Retry-After``; at most an hour, None where it says nothing.

    >>> retry_after("120", 0.0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10.0), retry_after("soon", 0.0)
    (120.0, 50.0, None)
    """
    if text is None:
        return None
    try:
        seconds = float(text) if text.strip().isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def excerpt(content: bytes, secrets: Iterable[str]) -> str:
    """The beginning of an answer, for a message: on one line, without the secrets that were sent."""
    text = content[: EXCERPT * 8].decode("utf-8", "replace")
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASKED)
    return shown(" ".join(text.split()), EXCERPT)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The content up to the limit; what comes after is not waited for, the connection is dropped."""
    pieces: list[bytes] = []
    size = 0
    while size < MAX_ANSWER_BYTES:
        piece = await response.content.read(MAX_ANSWER_BYTES - size)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    response.close()
    return b"".join(pieces)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no status of HTTP)"


def _is_final(error: BaseException) -> bool:
    """Whether the same request fails again for sure, as far as one can know: a certificate, an address."""
    return isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL | ValueError)


def _reason(error: BaseException) -> str:
    """What went wrong, without the text of the error, which may hold the URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        inner = error.certificate_error
        why = getattr(inner, "verify_message", "") or type(inner).__name__
        return f"its certificate is refused ({why}); give its authority in notify_ca_file, or correct it"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        number = error.os_error.errno
        return f"cannot connect ({os.strerror(number) if number else type(error.os_error).__name__})"
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError):
        return "the connection was cut before an answer came"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "is no address that can be used; correct it"
    return f"the exchange failed ({type(error).__name__})"
