"""What a setting's value may be. A check returns what is wrong and what to do about it, or None."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

_NAME = re.compile(r"[A-Za-z0-9._-]{0,200}")
_LEVELS = ("debug", "info", "warning", "error")


def not_empty(value: str) -> str | None:
    """Refuse an empty text."""
    return None if value else "got nothing; give a value or leave the setting out"


def between(low: float, high: float) -> Callable[[float], str | None]:
    """A check for low ≤ value ≤ high; NaN is outside."""

    def check(value: float) -> str | None:
        if low <= value <= high:
            return None
        return f"got {value}, {low} to {high} is allowed"

    return check


def name(value: str) -> str | None:
    """What Kafka allows in the name of a topic or group, with room for our endings."""
    if _NAME.fullmatch(value):
        return None
    return f"got {value!r}; up to 200 letters, digits, dots, hyphens and underscores are allowed"


def log_level(value: str) -> str | None:
    """One of four words."""
    return None if value in _LEVELS else f"got {value!r}; give one of {', '.join(_LEVELS)}"


def address(value: str) -> str | None:
    """``HOST:PORT``; IPv6 in brackets."""
    return (
        None if host_and_port(value) is not None else f"got {value!r}; give HOST:PORT, such as 127.0.0.1:9464"
    )


def servers(value: str) -> str | None:
    """One or more ``HOST:PORT`` with commas between."""
    for entry in value.split(","):
        found = host_and_port(entry)
        if found is None or found[1] == 0:
            return f"got {entry.strip()!r}; give HOST:PORT, such as kafka-1:9092, with commas between several"
    return None


def host_and_port(text: str) -> tuple[str, int] | None:
    """Split ``HOST:PORT``; None where it is not one.

    >>> host_and_port("[::1]:9092"), host_and_port("kafka"), host_and_port("user:secret@kafka:1")
    (('::1', 9092), None, None)
    """
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        return None
    if not colon or not re.fullmatch(r"[A-Za-z0-9._:-]+", host) or not re.fullmatch(r"[0-9]{1,5}", port):
        return None
    return (host, int(port)) if int(port) < 65_536 else None


def web_url(value: str) -> str | None:
    """``http://`` or ``https://`` with a host, and without a login, which every log on the way would show."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"got {_without_login(value)!r}; give http://HOST:PORT/… or https://HOST/…"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\x00-\x1f\x7f]", value):
        return f"got {_without_login(value)!r}; give http://HOST:PORT/… or https://HOST/…"
    if "@" in parts.netloc:
        return f"got a name or password in {_without_login(value)!r}; leave it out of the address"
    return None


def base_url(value: str) -> str | None:
    """The same, or nothing."""
    return web_url(value) if value else None


def _without_login(url: str) -> str:
    return re.sub(r"//[^/]*@", "//…@", url)


def watch_tables(tables: tuple[Any, ...]) -> str | None:
    """Only that they are tables: what they say is checked by those who know the detectors."""
    wrong = [table for table in tables if not isinstance(table, dict)]
    return f"got {wrong[0]!r}; each must be a table, written as [[watch]]" if wrong else None
