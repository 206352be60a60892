"""``anomaly calibrate``: learn from a team's own healthy runs how far their charts go, and write a profile."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anomaly import __version__
from anomaly.calibration.learning import Rehearsal, Seen, learned
from anomaly.calibration.marks import Marks
from anomaly.calibration.scores import REFERENCE
from anomaly.calibration.sources import files_of, of_topic
from anomaly.commands.incident_reading import read_actions
from anomaly.errors import AnomalyError, PreflightError, SettingsError
from anomaly.escapes import shown
from anomaly.monitor.limits import Limits, limits_of
from anomaly.pace import budget_text, count_text
from anomaly.profile import name_of, profile_text
from anomaly.reading import TopicReader
from anomaly.replay.run import messages
from anomaly.screen import screen
from anomaly.settings import CONNECTION, Settings
from anomaly.settings_sources import add_flags, load
from detectors.levels import Levels
from detectors.tail_fits import LEAST_CLUSTERS, rate_interval
from detectors.tails import Tails

NAMED_AT_MOST = 200
TELL_EVERY = 500


class NothingToLearnError(AnomalyError):
    """There is no healthy run among those given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="Parquet or CSV files as replay takes them, or folders of them; with "
        "--from-topic names of runs, in which * and ? stand for any text (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--from-topic", action="store_true", help="learn from what the telemetry topic still holds"
    )
    parser.add_argument("--output", type=Path, default=Path("profile.json"), help="default: profile.json")
    parser.add_argument(
        "--until-step", type=float, metavar="STEP", help="learn from steps up to this one only"
    )
    parser.add_argument(
        "--all-healthy",
        action="store_true",
        help="learn also from runs in which something looks like an incident",
    )
    add_flags(parser, ("false_warnings_per_million_steps", "max_series_per_run", *CONNECTION, "topic_prefix"))


def run(options: argparse.Namespace) -> int:
    """Learn, write the profile, and say what it is worth."""
    settings = load(vars(options), os.environ).settings
    if not options.runs and not options.from_topic:
        raise SettingsError(
            ["calibrate: got no runs; give files or folders of healthy runs, or --from-topic"]
        )
    limits = replace(limits_of(settings), watches=())
    console, notes = screen(), screen(stderr=True)
    marks = asyncio.run(_marks(settings, notes)) if options.from_topic else Marks()
    seen = _judged(options, settings, limits, REFERENCE)
    for each in seen:
        each.marks = marks
        for mark in marks.of(each.run):
            told = f"{mark.kind} at step {mark.first_step:,}, marked a false alarm by {mark.who}: {mark.why}"
            notes.print(Text(f"taken for healthy {shown(each.run)}: {shown(told, 400)}"), soft_wrap=True)
    doubts = {} if options.all_healthy else {each.run: doubt for each in seen if (doubt := each.doubt)}
    healthy = [each for each in seen if each.run not in doubts and each.book.steps]
    for name, why in doubts.items():
        notes.print(Text(f"left out {shown(name)}: {shown(why)}"), soft_wrap=True)
    if not healthy:
        raise NothingToLearnError(
            f"no healthy run among the {len(seen)} given; give runs that went well, or say --all-healthy if these did"
        )
    tails = learned(healthy)
    kept = {each.run for each in healthy}
    after = [each for each in _judged(options, settings, limits, limits.levels, tails) if each.run in kept]
    asked = settings.false_warnings_per_million_steps
    _write(options.output, tails, _about(healthy, doubts, after, asked))
    _show(console, healthy, tails, asked)
    _say(notes, healthy, doubts, after, asked)
    notes.print(
        Text(f"wrote {options.output} ({name_of(tails)}); use it: anomaly worker --profile {options.output}"),
        soft_wrap=True,
    )
    return 0


def _judged(
    options: argparse.Namespace,
    settings: Settings,
    limits: Limits,
    levels: Levels,
    tails: Tails | None = None,
) -> list[Seen]:
    """Every run given, judged by these levels (with these tails)."""
    if tails is not None:
        levels = replace(levels, tails=tails)
    rehearsal = Rehearsal(limits, options.until_step, levels)
    notes = screen(stderr=True)
    with notes.status("") if notes.is_terminal else nullcontext() as status:

        def take(message: Any) -> None:
            rehearsal.take(message)
            if status is not None and rehearsal.records % TELL_EVERY == 0:
                what = "judging" if tails is None else "checking"
                status.update(Text(f"{what} {shown(message.run)}: {rehearsal.records:,} records so far"))

        if options.from_topic:
            asyncio.run(_from_topic(settings, options.runs, take, notes))
        else:
            for message in messages(files_of(Path(each) for each in options.runs)):
                take(message)
    for problem in rehearsal.replay.refused if tails is None else ():
        notes.print(Text(f"refused: {shown(problem)}"), soft_wrap=True)
    return list(rehearsal.seen.values())


async def _from_topic(settings: Settings, patterns: Sequence[str], take: Any, notes: Console) -> None:
    skipped: list[str] = []
    async for message in of_topic(settings, patterns, skipped.append):
        take(message)
    if skipped:
        notes.print(
            Text(f"passed over {len(skipped):,} messages, the first: {shown(skipped[0])}"), soft_wrap=True
        )


async def _marks(settings: Settings, notes: Console) -> Marks:
    """The false alarms that people marked; none, and a word about it, where this user may not read them."""
    try:
        async with TopicReader(settings.connection) as reader:
            return Marks((await read_actions(reader, settings)).false_alarms())
    except PreflightError as error:
        notes.print(
            Text(f"marks of false alarms are not taken into account: {shown(str(error), 400)}"),
            soft_wrap=True,
        )
        return Marks()


def _about(
    healthy: Sequence[Seen], doubts: dict[str, str], after: Sequence[Seen], asked: float
) -> dict[str, Any]:
    """What the profile says of itself."""
    return {
        "made_by": f"anomaly {__version__}",
        "made_unix_seconds": round(time.time()),
        "learned_from": {
            "runs": [each.run for each in healthy[:NAMED_AT_MOST]],
            "run_count": len(healthy),
            "steps": sum(each.book.steps for each in healthy),
            "left_out": [{"run": name, "why": why} for name, why in list(doubts.items())[:NAMED_AT_MOST]],
        },
        "measured": {
            "asked_per_million_steps": asked,
            "false_warnings": sum(len(each.warnings) for each in after),
            "steps": sum(each.book.steps for each in after),
        },
    }


def _write(path: Path, tails: Tails, about: dict[str, Any]) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(profile_text(tails, about), "utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise SettingsError(
            [f"output: {path}: cannot be written ({error.strerror}); give another place"]
        ) from None


def _show(console: Console, healthy: Sequence[Seen], tails: Tails, asked: float) -> None:
    """Each chart's level, as shipped and as learned, for the largest run."""
    slots = max(each.book.slots for each in healthy)
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("chart of")
    for name in ("clusters", "level shipped", "level learned", "change"):
        table.add_column(name, justify="right")
    shipped, own = Levels(asked), Levels(asked, tails)
    for (chart, kind), tail in sorted(tails.by_chart.items()):
        size = (
            (1, 1) if chart == "climb" else (slots, max(each.book.of_kind.get(kind, 1) for each in healthy))
        )
        before, now = (levels.level(chart, kind, *size, asked) for levels in (shipped, own))
        table.add_row(
            f"{chart} {kind}",
            f"{tail.clusters:,}",
            f"{before:.1f}",
            f"{now:.1f}",
            f"{(now / before - 1) * 100:+.0f} %",
        )
    if tails.by_chart:
        console.print(table)
    else:
        console.print(
            f"these runs are too quiet, or too short, to say anything: no chart had {LEAST_CLUSTERS} excursions; "
            "the levels stay as shipped"
        )


def _say(
    notes: Console, healthy: Sequence[Seen], doubts: dict[str, str], after: Sequence[Seen], asked: float
) -> None:
    steps = sum(each.book.steps for each in after)
    count = sum(len(each.warnings) for each in after)
    low, high = (rate * 1e6 for rate in rate_interval(count, steps))
    left = f"; left out {len(doubts):,} that do not look healthy (--all-healthy keeps them)" if doubts else ""
    measured = f"{count_text(count / steps * 1e6)} per million steps"
    between = f"95 %: {count_text(low)} to {count_text(high)}"
    lines = [
        f"learned from {len(healthy):,} runs, {steps:,} steps{left}",
        f"asked: {budget_text(asked, _pace(healthy))}",
        f"with this profile these runs give {count:,} false warnings: {measured} ({between}), asked {asked:g}",
    ]
    if len(doubts) > len(healthy):
        lines.append("more runs were left out than learned from: are these the healthy ones?")
    for line in lines:
        notes.print(Text(line), soft_wrap=True)


def _pace(runs: Sequence[Seen]) -> float | None:
    """Seconds a step, over all runs that have times."""
    timed = [(each.seconds, each.book.steps) for each in runs if each.seconds]
    return sum(seconds for seconds, _ in timed) / sum(steps for _, steps in timed) if timed else None
