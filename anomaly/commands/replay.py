"""``anomaly replay``: files through the worker's monitor; JSON for machines, cards or a table for people."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from anomaly.escapes import json_line, shown
from anomaly.incidents.transition import Severity, Transition
from anomaly.profile import judging_limits
from anomaly.replay.run import Replay
from anomaly.screen import card, screen, transitions_table
from anomaly.settings_sources import add_flags, load

CARDS_AT_MOST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="Parquet or CSV, read in the order given"
    )
    parser.add_argument("--json", action="store_true", help="transitions only, one JSON object a line")
    add_flags(parser, ("false_warnings_per_million_steps", "profile", "max_series_per_run"))


def run(options: argparse.Namespace) -> int:
    """Judge the files; what was found goes to stdout, the summary to stderr."""
    settings = load(vars(options), os.environ).settings
    replay = Replay(judging_limits(settings))
    started = time.perf_counter()
    transitions = replay.transitions(options.files)
    latest = _print_json(transitions) if options.json else _last_states(transitions)
    seconds = time.perf_counter() - started
    if not options.json:
        _print_incidents(latest)
    _print_summary(replay, latest, seconds)
    return 0


def _print_json(transitions: Iterable[Transition]) -> list[Transition]:
    return _last_states(_printed(transitions))


def _printed(transitions: Iterable[Transition]) -> Iterable[Transition]:
    for transition in transitions:
        sys.stdout.write(json_line(transition.encode().decode()) + "\n")
        yield transition


def _last_states(transitions: Iterable[Transition]) -> list[Transition]:
    """Each incident in its last state, in order of opening."""
    latest: dict[str, Transition] = {}
    for transition in transitions:
        latest[transition.incident] = transition
    return list(latest.values())


def _print_incidents(latest: list[Transition]) -> None:
    console = screen()
    if len(latest) > CARDS_AT_MOST:
        console.print(transitions_table(latest))
        return
    for transition in latest:
        console.print(card(transition))


def _print_summary(replay: Replay, latest: list[Transition], seconds: float) -> None:
    found = Counter(transition.severity for transition in latest)
    incidents = ", ".join(f"{found[severity]} {severity}" for severity in reversed(Severity))
    records, values = replay.counts["records"], replay.counts["values"]
    notes = screen(stderr=True)
    notes.print(
        f"{replay.runs:,} runs, {records:,} records, {values:,} values in {seconds:.1f} s "
        f"({records / max(seconds, 1e-9):,.0f} records/s); incidents: {incidents}",
        soft_wrap=True,
    )
    refused = [(reason, count) for reason, count in replay.refused_counts.items() if count]
    if refused:
        notes.print(
            "refused: " + ", ".join(f"{count:,} {reason}" for reason, count in refused), soft_wrap=True
        )
        for problem in replay.refused:
            notes.print(f"  {shown(problem)}", soft_wrap=True)
