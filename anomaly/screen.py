"""What people see of incidents: every name from outside escaped (`anomaly.escapes`), and one card per incident.

Text is given to Rich as `rich.text.Text`, which never reads markup.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from anomaly.escapes import shown
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.text import number_text
from anomaly.incidents.transition import Evidence, Severity, Status, Transition

STYLES = {Severity.INFO: "cyan", Severity.WARNING: "yellow", Severity.CRITICAL: "bold red"}
WIDTH_OF_A_FILE = 120


def screen(stderr: bool = False) -> Console:
    """A console: colours on a terminal only; no highlighting, no markup, no emoji in what comes from outside."""
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH_OF_A_FILE
    return console


def title_of(kind: str) -> str:
    """A kind in words; a kind of a later version by its name."""
    known = KINDS.get(kind)
    return known.title if known is not None else shown(kind).replace("_", " ")


def card(transition: Transition, more: Iterable[tuple[str, str]] = ()) -> RenderableType:
    """One incident for someone who has just been woken. `more` are further rows: a name and what it says."""
    style = STYLES[transition.severity]
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, text in (*_rows(transition), *more):
        rows.add_row(Text(name), Text(text))
    head = Text.assemble(
        (f" {transition.severity.upper()} ", f"reverse {style}"), "  ", (title_of(transition.kind), "bold"), "  ",
        Text(f"run {shown(transition.run)}", style="dim"),
    )  # fmt: skip
    foot = Text(f"{transition.status} · incident {shown(transition.incident)}", style="dim")
    body = Group(rows)
    return Panel(
        body,
        title=head,
        subtitle=foot,
        title_align="left",
        subtitle_align="right",
        box=box.ROUNDED,
        border_style=style,
    )


def line(transition: Transition) -> Text:
    """One transition on one line: an incident that is over in few words, any other with its numbers."""
    over = transition.status is Status.RESOLVED
    return Text.assemble(
        (f"{transition.severity:<8} ", "dim" if over else STYLES[transition.severity]),
        (f"{transition.status:<8} ", "green" if over else "dim"),
        f"{shown(transition.run)}: {title_of(transition.kind) if over else shown(transition.summary, 400)}",
    )


def where(transition: Transition) -> str:
    """The layer, or the ranks, or the whole model."""
    place = "the whole model" if transition.layer is None else shown(transition.layer)
    if not transition.ranks:
        return place
    ranks = ", ".join(map(str, transition.ranks[:8])) + ("…" if len(transition.ranks) > 8 else "")
    return f"{place}, rank {ranks}" if len(transition.ranks) == 1 else f"{place}, ranks {ranks}"


def against(value: float, expected: float | None) -> str:
    """A value against its expectation."""
    return (
        number_text(value)
        if expected is None
        else f"{number_text(value)}, expected about {number_text(expected)}"
    )


def step_text(step: float | None) -> str:
    """A step as people write it.

    >>> step_text(12000), step_text(0.5), step_text(None)
    ('12,000', '0.5', 'unknown')
    """
    if step is None or not math.isfinite(step):
        return "unknown"
    return f"{int(step):,}" if step == int(step) else f"{step:,.6f}".rstrip("0")


def age_text(seconds: float | None) -> str:
    """A length of time as people say it.

    >>> age_text(3.2), age_text(150), age_text(7300), age_text(400_000), age_text(None)
    ('3 s', '2 min', '2.0 h', '4.6 d', 'unknown')
    """
    if seconds is None:
        return "unknown"
    for limit, unit, text in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{int(seconds / unit)} {text}"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def transitions_table(transitions: Iterable[Transition]) -> Table:
    """Incidents one a line, each in its last state."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("severity", "run", "what", "since step", "where", "value, expected", "status"):
        table.add_column(name, justify="right" if name == "since step" else "left", overflow="fold")
    for one in transitions:
        table.add_row(
            Text(one.severity, style=STYLES[one.severity]),
            Text(shown(one.run)),
            Text(title_of(one.kind)),
            Text(step_text(one.first_step)),
            Text(where(one)),
            Text(f"{shown(one.statistic)} {against(one.value, one.expected)}"),
            Text(one.status),
        )
    return table


def _rows(transition: Transition) -> Iterable[tuple[str, str]]:
    yield "where", where(transition)
    others = [shown(layer) for layer in transition.layers if layer != transition.layer]
    if others:
        yield "also seen in", ", ".join(others)
    seen = "" if transition.step == transition.first_step else f", seen at step {step_text(transition.step)}"
    yield "since", f"step {step_text(transition.first_step)}{seen}"
    yield shown(transition.statistic), against(transition.value, transition.expected)
    strongest = f"{shown(transition.statistic)} {against(transition.value, transition.expected)}"
    for evidence in transition.evidence:
        if (text := _evidence(evidence, transition.layer)) != strongest:
            yield "", text
    for one in transition.considered:
        yield shown(one.explanation) + "?", shown(one.verdict)
    good, checkpoint = transition.last_good_step, transition.last_checkpoint_step
    yield "go back to", f"last good step {step_text(good)}, last checkpoint {step_text(checkpoint)}"
    if transition.status is not Status.RESOLVED:
        yield "do", shown(transition.advice, 1000)
        yield "more", shown(transition.runbook)


def _evidence(evidence: Evidence, layer: str | None) -> str:
    of = f" of {shown(evidence.layer)}" if evidence.layer is not None and evidence.layer != layer else ""
    return f"{shown(evidence.statistic)}{of} {against(evidence.value, evidence.expected)}"
