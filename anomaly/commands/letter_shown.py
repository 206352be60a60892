"""Dead letters for people and for programs. All of it comes from outside: nothing here reaches a terminal unescaped."""

from __future__ import annotations

import base64
import datetime
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from anomaly.commands.letters import Letter, Place
from anomaly.escapes import shown
from anomaly.records import LayoutMessage, StepMessage, step_number
from anomaly.screen import age_text

PREVIEW_BYTES = 256
_WIDTH = 16


def letters_table(letters: Iterable[Letter], again: set[Place], now_unix_seconds: float) -> Table:
    """One letter a line, the newest last."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("letter", "refused", "reason", "run", "from", "detail"):
        table.add_column(name, overflow="fold", no_wrap=name in ("letter", "from"))
    for letter in letters:
        table.add_row(
            f"{letter.partition}:{letter.offset}",
            f"{age_text(max(0.0, now_unix_seconds - letter.unix_seconds))} ago",
            Text(shown(letter.reason) + (" (sent again)" if letter.place in again else "")),
            Text(shown(letter.run, 60)),
            "unknown" if letter.origin is None else f"{letter.origin[0]}:{letter.origin[1]}",
            Text(shown(letter.detail)),
        )
    return table


def reasons_line(reasons: Counter[str], listed: int, topic: str) -> str:
    """How many there are of each reason."""
    if not reasons:
        return f"{topic} holds no such dead letter"
    each = ", ".join(f"{count:,} {shown(reason)}" for reason, count in reasons.most_common())
    return f"{each}; the newest {listed:,} of {reasons.total():,} are listed"


def details(letter: Letter, again: set[Place]) -> Iterator[RenderableType]:
    """All that is known of one letter."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in _facts(letter, again):
        grid.add_row(Text(name), Text(text))
    yield grid
    if letter.value:
        yield Text(hex_dump(letter.value[:PREVIEW_BYTES]))
        if len(letter.value) > PREVIEW_BYTES:
            yield Text(f"… and {len(letter.value) - PREVIEW_BYTES:,} bytes more; --json has all of them")


def as_json(letter: Letter, sent_again: bool, whole: bool) -> dict[str, Any]:
    """For programs; `whole` adds the record itself, bytes in base64."""
    found: dict[str, Any] = {
        "letter": f"{letter.partition}:{letter.offset}",
        "reason": letter.reason,
        "detail": letter.detail,
        "run": letter.run,
        "topic": letter.topic,
        "partition": None if letter.origin is None else letter.origin[0],
        "offset": None if letter.origin is None else letter.origin[1],
        "refused_unix_seconds": letter.unix_seconds,
        "record_unix_seconds": None if letter.timestamp_ms is None else letter.timestamp_ms / 1000,
        "bytes": len(letter.value),
        "omitted_bytes": letter.omitted,
        "sent_again": sent_again,
    }
    if whole:
        found["key_base64"] = None if letter.key is None else base64.b64encode(letter.key).decode()
        found["value_base64"] = base64.b64encode(letter.value).decode()
        found["headers"] = [
            [name, None if value is None else base64.b64encode(value).decode()]
            for name, value in letter.headers
        ]
    return found


def hex_dump(payload: bytes) -> str:
    r"""Bytes as people look at them.

    >>> print(hex_dump(b"\x92\x01run\x1b"))
    0000  92 01 72 75 6e 1b                                ..run.
    """
    lines = []
    for at in range(0, len(payload), _WIDTH):
        row = payload[at : at + _WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:04x}  {row.hex(' '):<{_WIDTH * 3}} {text}")
    return "\n".join(lines)


def _facts(letter: Letter, again: set[Place]) -> Iterator[tuple[str, str]]:
    yield (
        "letter",
        f"{letter.partition}:{letter.offset}" + (", was sent again" if letter.place in again else ""),
    )
    yield "reason", shown(letter.reason)
    yield "detail", shown(letter.detail, 2000)
    yield "from", _origin_text(letter)
    yield "refused", _time(letter.unix_seconds)
    yield (
        "sent",
        "no time"
        if letter.timestamp_ms is None or letter.timestamp_ms < 0
        else _time(letter.timestamp_ms / 1000),
    )
    yield "key", "none" if letter.key is None else shown(letter.key.decode(errors="backslashreplace"))
    for name, value in letter.headers:
        yield (
            f"header {shown(name, 40)}",
            "null" if value is None else shown(value.decode(errors="backslashreplace")),
        )
    size = (
        f"{letter.omitted:,} bytes, left where it lay" if letter.omitted else f"{len(letter.value):,} bytes"
    )
    yield "record", f"{size}{_content(letter)}"


def _content(letter: Letter) -> str:
    """What can be read of the record, as far as it goes."""
    message = letter.message
    if isinstance(message, LayoutMessage):
        layout = message.layout
        return f": a layout of {len(layout.layers):,} layers × {len(layout.signals):,} signals"
    if isinstance(message, StepMessage):
        first, last = step_number(message.steps[0]), step_number(message.steps[-1])
        form = "JSON" if message.layout is not None else f"compact, layout {message.layout_hash.hex()}"
        width = message.values.shape[1]
        return f": {form}, rank {message.rank}, steps {first} to {last}, {width:,} values each"
    for name, read in (("JSON", json.loads), ("MessagePack", msgspec.msgpack.decode)):
        try:
            return f": {name} that is no record: {shown(repr(read(letter.value)))}"
        except Exception:  # whatever it is, it is not that
            continue
    return ": neither JSON nor MessagePack" if letter.value else ""


def _origin_text(letter: Letter) -> str:
    if letter.origin is None:
        return "unknown"
    return f"{shown(letter.topic, 80)}, partition {letter.origin[0]}, offset {letter.origin[1]}"


def _time(unix_seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(unix_seconds, datetime.UTC).isoformat(
            sep=" ", timespec="milliseconds"
        )
    except (OverflowError, OSError, ValueError):
        return f"{unix_seconds} unix seconds"
