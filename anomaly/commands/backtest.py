"""``anomaly backtest``: what past runs would have raised, as a table and a picture of each, before anyone is paged."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from anomaly.calibration.curves import Curves
from anomaly.calibration.learning import Rehearsal, Seen
from anomaly.calibration.sources import files_of
from anomaly.errors import SettingsError
from anomaly.escapes import json_line, shown
from anomaly.incidents.transition import Severity, Transition
from anomaly.monitor.limits import Limits
from anomaly.monitor.state import RunState
from anomaly.pace import budget_text, count_text, per_run_month
from anomaly.profile import judging_limits, name_of
from anomaly.replay.run import messages
from anomaly.screen import STYLES, against, age_text, screen, step_text, title_of, where
from anomaly.settings_sources import add_flags, load

TELL_EVERY = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="Parquet or CSV as replay takes them, or folders of them"
    )  # fmt: skip
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="write a picture of each run here (PNG)")
    parser.add_argument("--json", action="store_true", help="one JSON object a run, to stdout alone")
    parser.add_argument("--all", action="store_true", help="also what is only worth the log (severity info)")
    parser.add_argument(
        "--budget", dest="false_warnings_per_million_steps", metavar="VALUE", default=None,
        help="short for --false-warnings-per-million-steps",
    )  # fmt: skip
    add_flags(parser, ("false_warnings_per_million_steps", "profile", "max_series_per_run"))


def run(options: argparse.Namespace) -> int:
    """Judge the runs; what they would have raised goes to stdout, the totals to stderr."""
    settings = load(vars(options), os.environ).settings
    limits = judging_limits(settings)
    curves = _Drawn(options.plots)
    rehearsal = _judged(files_of(options.runs), limits, curves)
    runs = list(rehearsal.seen.values())
    pictures = curves.pictures(runs)
    notes = screen(stderr=True)
    if options.json:
        for each in runs:
            print_json(each, pictures.get(each.run))
    else:
        _show(screen(), runs, options.all)
    for problem in rehearsal.replay.refused:
        notes.print(Text(f"refused: {shown(problem)}"), soft_wrap=True)
    _totals(notes, runs, limits)
    if options.plots is not None:
        notes.print(Text(f"{len(pictures):,} pictures in {options.plots}"), soft_wrap=True)
    return 0


class _Drawn:
    """The curves of each run, where pictures are wanted."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._curves: dict[str, Curves] = {}
        if folder is not None:
            import anomaly.calibration.drawing  # noqa: F401  # a missing matplotlib is told before the work

            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unwritable(folder, error) from None

    def look(self, state: RunState) -> None:
        """Take a run's last record."""
        if self._folder is not None:
            curves = self._curves.get(state.run)
            if curves is None:
                curves = self._curves[state.run] = Curves()
            curves.note(state)

    def pictures(self, runs: Sequence[Seen]) -> dict[str, str]:
        """Draw each run; where its picture is."""
        found: dict[str, str] = {}
        if self._folder is None:
            return found
        from anomaly.calibration.drawing import draw

        for each in runs:
            path = _free(self._folder, each.run, set(found.values()))
            try:
                draw(path, each.run, self._curves[each.run], list(each.last.values()))
            except OSError as error:
                raise _unwritable(path, error) from None
            found[each.run] = str(path)
        return found


def _unwritable(path: Path, error: OSError) -> SettingsError:
    return SettingsError([f"plots: {path}: cannot be written ({error.strerror}); give another folder"])


def _free(folder: Path, run: str, taken: set[str]) -> Path:
    """A name in the folder that no other run of these has, from a run id that may hold anything."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", run).strip("._")[:80] or "run"
    path, number = folder / f"{stem}.png", 1
    while str(path) in taken:
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path


def _judged(files: Sequence[Path], limits: Limits, curves: _Drawn) -> Rehearsal:
    rehearsal = Rehearsal(limits, looks_on=curves.look)
    notes = screen(stderr=True)
    with notes.status("") if notes.is_terminal else nullcontext() as status:
        for message in messages(files):
            rehearsal.take(message)
            if status is not None and rehearsal.records % TELL_EVERY == 0:
                status.update(Text(f"judging {shown(message.run)}: {rehearsal.records:,} records so far"))
    return rehearsal


def print_json(run: Seen, picture: str | None) -> None:
    """One run as one line on stdout."""
    found: dict[str, Any] = {
        "run": run.run,
        "steps": run.book.steps,
        "seconds": run.seconds,
        "picture": picture,
        "incidents": [json.loads(each.encode()) for each in run.last.values()],
    }
    screen().file.write(json_line(json.dumps(found)) + "\n")


def _show(console: Console, runs: Sequence[Seen], everything: bool) -> None:
    for run in runs:
        told = list(run.last.values()) if everything else run.warnings
        head = Text.assemble((shown(run.run), "bold"), f"  {run.book.steps:,} steps  ")
        if not told:
            console.print(head + Text("nothing", style="green"))
            continue
        console.print(head)
        console.print(_table(told))


def _table(told: Sequence[Transition]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("step", "severity", "what", "where", "value, expected", "score"):
        table.add_column(name, justify="right" if name in ("step", "score") else "left", overflow="fold")
    for each in told:
        table.add_row(
            Text(step_text(each.first_step)),
            Text(each.severity, style=STYLES[each.severity]),
            Text(title_of(each.kind)),
            Text(where(each)),
            Text(f"{shown(each.statistic)} {against(each.value, each.expected)}"),
            Text(f"{each.score:.1f}"),
        )
    return table


def _totals(notes: Console, runs: Sequence[Seen], limits: Limits) -> None:
    steps = sum(each.book.steps for each in runs)
    found = Counter(one.severity for each in runs for one in each.last.values())
    heard = found[Severity.CRITICAL] + found[Severity.WARNING]
    with_any = sum(bool(each.warnings) for each in runs)
    timed = [each for each in runs if each.seconds and each.book.steps]
    seconds = sum(each.seconds or 0.0 for each in timed)
    pace = seconds / sum(each.book.steps for each in timed) if timed else None
    incidents = ", ".join(f"{found[severity]:,} {severity}" for severity in reversed(Severity))
    lines = [
        f"{len(runs):,} runs, {steps:,} steps: {incidents}; {with_any:,} runs with a warning or critical"
    ]
    if steps:
        month = per_run_month(heard / steps * 1e6, pace or 1.0)
        at = f"at their pace ({pace:.2g} s a step)" if pace else "at one step a second"
        lines.append(
            f"that is {count_text(heard / steps * 1e6)} per million steps, {count_text(month)} per run-month {at}"
        )
    if pace:
        lines[0] += f"; {age_text(seconds)} of training"
    budget = budget_text(limits.false_warnings_per_million_steps, pace)
    lines.append(f"judged {name_of(limits.tails)}; the budget for false ones: {budget}")
    for line in lines:
        notes.print(Text(line), soft_wrap=True)
