"""``anomaly runs list|show RUN``: is mine watched, since when, what is normal for it, what is open.

Read from the changelog: the workers' saved states. Each is as old as its last save, and says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anomaly.commands.run_reading import LayerLevels, RunView, read_saved, view_of
from anomaly.escapes import json_line, shown
from anomaly.incidents.text import number_text
from anomaly.incidents.transition import Severity
from anomaly.pace import budget_text
from anomaly.screen import STYLES, age_text, screen, step_text, title_of
from anomaly.settings import CONNECTION
from anomaly.settings_sources import add_flags, load

LAYERS_SHOWN = 40
NOT_FOUND = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    actions = parser.add_subparsers(dest="action", metavar="list|show RUN", required=True)
    listing = actions.add_parser("list", help="every run that is watched")
    showing = actions.add_parser("show", help="one run: since when, what is normal, what is open")
    showing.add_argument("run", metavar="RUN", help="the run's id")
    for action in (listing, showing):
        action.add_argument("--json", action="store_true", help="JSON, to stdout alone")
        add_flags(action, (*CONNECTION, "topic_prefix", "group"))


def run(options: argparse.Namespace) -> int:
    """Print what is known; 1 if the run asked for is not watched."""
    settings = load(vars(options), os.environ).settings
    wanted = options.run if options.action == "show" else None
    saved = asyncio.run(read_saved(settings, wanted))
    views = [view_of(one, time.time()) for one in saved]
    if not views:
        return _nothing(settings.topics.changelog, wanted)
    if options.json:
        for view in views:
            sys.stdout.write(json_line(json.dumps(view.as_json(with_layers=wanted is not None))) + "\n")
        return 0
    console = screen()
    if wanted is None:
        console.print(_listed(views))
    for view in views if wanted is not None else ():
        _show(console, view)
    return 0


def _nothing(changelog: str, wanted: str | None) -> int:
    notes = screen(stderr=True)
    if wanted is None:
        notes.print(
            f"no run is watched: topic {changelog} holds no state (is a worker running, with this group?)"
        )
        return 0
    notes.print(f"run {shown(wanted)} is not watched by this group; `anomaly runs list` shows those that are")
    return NOT_FOUND


def _listed(views: Sequence[RunView]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("run", "last step", "last record", "watched for", "ranks", "series", "open", "snapshot"):
        table.add_column(name, justify="left" if name in ("run", "open") else "right", overflow="fold")
    for view in views:
        attempt = f" (attempt {view.attempt})" if view.attempt else ""
        table.add_row(
            Text(shown(view.run) + attempt),
            step_text(view.last_step),
            age_text(view.last_record_seconds_ago),
            age_text(view.watched_seconds),
            str(view.ranks),
            f"{view.series:,}",
            _open_text(view),
            age_text(view.snapshot_seconds_ago),
        )
    return table


def _open_text(view: RunView) -> Text:
    if not view.open:
        return Text("-", style="dim")
    worst = max(view.open, key=lambda one: Severity(one.severity).rank)
    more = f" +{len(view.open) - 1}" if len(view.open) > 1 else ""
    return Text(f"{worst.severity}: {title_of(worst.kind)}{more}", style=STYLES[worst.severity])


def _show(console: Console, view: RunView) -> None:
    console.print(Text(shown(view.run), style="bold"))
    facts: list[tuple[str, str]] = [
        ("last step", f"{step_text(view.last_step)}, {age_text(view.last_record_seconds_ago)} ago"),
        (
            "watched",
            f"for {age_text(view.watched_seconds)}, {view.readings:,} steps judged, attempt {view.attempt}",
        ),
        ("ranks, series", f"{view.ranks}, {view.series:,}"),
        ("snapshot", f"{age_text(view.snapshot_seconds_ago)} old, partition {view.partition}"),
        (
            "budget",
            f"{budget_text(view.budget, view.seconds_a_step)}; tails {shown(view.tails) or 'of theory'}",
        ),
        *((f"tag {shown(name, 40)}", shown(text)) for name, text in view.tags.items()),
    ]
    grid = Table.grid(padding=(0, 2))
    for name, text in facts:
        grid.add_row(Text(name, style="dim"), Text(text))
    console.print(grid)
    for incident in view.open:
        style = STYLES[incident.severity]
        since = f" since step {step_text(incident.first_step)}"
        where = f" in {shown(incident.layer)}" if incident.layer else ""
        console.print(
            Text(f"open: {incident.severity}: {title_of(incident.kind)}{where}{since}", style=style)
        )
    if not view.open:
        console.print(Text("nothing is open", style="green"))
    console.print(_model_table(view))
    if view.layers:
        console.print(_layer_table(view.layers))


def _model_table(view: RunView) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, title="what is normal for it", title_justify="left")
    for name in ("whole model", "normal", "give or take", "readings learned"):
        table.add_column(name, justify="left" if name == "whole model" else "right")
    for level in view.levels:
        table.add_row(
            Text(shown(level.signal)),
            number_text(level.expected),
            number_text(level.scale),
            f"{level.learned:,}",
        )
    return table


def _layer_table(layers: LayerLevels) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for signal in layers.signals:
        table.add_column(Text(shown(signal, 40)), justify="right")
    for name, levels in list(layers.rows.items())[:LAYERS_SHOWN]:
        cells: list[Any] = ["-" if one is None else f"{one.expected:.3g} ± {one.scale:.1g}" for one in levels]
        table.add_row(Text(shown(name)), *cells)
    hidden = len(layers.rows) - LAYERS_SHOWN
    if hidden > 0:
        table.caption = f"and {hidden:,} more layers; --json has them all"
    return table
