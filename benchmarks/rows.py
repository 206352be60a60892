"""A measured figure with its target, a table of them, and ``results.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gates import DETECTION, GATES


class Row(msgspec.Struct, frozen=True):
    """One figure. `value` is None where it could not be measured; `note` is for the table alone.

    `target` reads "≥ 0.5" or "≤ 250", None where none is set; `ok` then is None too.
    """

    name: str
    value: float | None
    unit: str
    target: str | None = None
    ok: bool | None = None
    note: str = ""


def row(name: str, value: float | None, unit: str, note: str = "") -> Row:
    """A row judged against its gate, if `gates` has one. What could not be measured has failed, gate or not.

    >>> row("vs_plain_aiokafka", 0.62, "ratio").ok
    True
    """
    gate = GATES.get(name) or DETECTION.get(name)
    target = None if gate is None else gate.target
    if value is None or math.isnan(value):
        return Row(name, None, unit, target, False, note)
    return Row(name, value, unit, target, None if gate is None else gate.met(value), note)


def write(rows: Sequence[Row], path: Path) -> None:
    """Write ``[{"name", "value", "unit", "target", "ok"}, …]``.

    Of what `path` held, the rows of the other command stay: those of ``make bench``, and those of ``make scoreboard``,
    which are the gates of detection.
    """
    of_detection = any(row.name in DETECTION for row in rows)
    entries = [
        {"name": row.name, "value": row.value, "unit": row.unit, "target": row.target, "ok": row.ok}
        for row in rows
    ]
    before: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes()) if path.exists() else []
    kept = [entry for entry in before if (entry["name"] in DETECTION) is not of_detection]
    entries = kept + entries if of_detection else entries + kept
    path.write_bytes(msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n")


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown."""
    lines = ["| row | value | unit | target | | note |", "|---|--:|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {shown(row.value)} | {row.unit} | {row.target or ''} | {_verdict(row)} | {row.note} |"
        for row in rows
    ]
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> str:
    """The rows for people, notes included."""
    titles = ("name", "value", "unit", "target", "", "note")
    cells = [titles] + [
        (row.name, shown(row.value), row.unit, row.target or "", _verdict(row), row.note) for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column == 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def shown(value: float | None) -> str:
    """A figure as people read it.

    >>> shown(21_345_678.0), shown(0.4567), shown(None)
    ('21,300,000', '0.457', 'not measured')
    """
    if value is None:
        return "not measured"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 1000 else f"{rounded:g}"


def _verdict(row: Row) -> str:
    return "" if row.ok is None else "ok" if row.ok else "MISSED" if row.value is not None else "FAILED"
