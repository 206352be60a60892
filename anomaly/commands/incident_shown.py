"""Incidents for people and for programs. All of it comes from outside: nothing here reaches a terminal unescaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from anomaly.commands.incident_reading import Found, Incident, clock_text
from anomaly.escapes import shown
from anomaly.incidents import Action, ActionBook, IncidentAction, Severity, Status, Transition
from anomaly.incidents.text import number_text
from anomaly.screen import STYLES, against, age_text, card, step_text, title_of, where

SHORT = 8
"""Digits of an ID that are shown in a list: any that begin only one are enough."""
DONE = {
    Action.ACKNOWLEDGE: "acknowledged",
    Action.MUTE: "muted",
    Action.RESOLVE: "resolved",
    Action.FALSE_ALARM: "marked a false alarm",
    Action.WITHDRAW: "all withdrawn",
}


def incidents_table(incidents: Iterable[Incident], book: ActionBook, now: float) -> Table:
    """Incidents with who looks after each, the newest last; made for 80 columns."""
    table = Table(box=box.SIMPLE, pad_edge=False, show_lines=False)
    table.add_column("incident", no_wrap=True)
    table.add_column("changed", justify="right", no_wrap=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=1)
    for incident in incidents:
        one = incident.latest
        over = one.status is Status.RESOLVED
        holding = book.holding(one, now)
        quiet = over or bool(holding)
        table.add_row(
            Text(shown(one.incident)[:SHORT]),
            age_text(max(0.0, now - incident.unix_seconds)),
            Text(one.severity, style="dim" if quiet else STYLES[one.severity]),
            Text("\n").join(_told(one, holding[:1], now)),
        )
    return table


def counts_line(found: Found, topic: str, resolved: bool) -> str:
    """How many there are of each severity."""
    what = "incident" if resolved else "open incident"
    read = "" if found.read_back_to is None else f"; read back to {clock_text(found.read_back_to)} only"
    if found.unreadable:
        read += f"; passed over {found.unreadable:,} records that are no transitions"
    if not found.counts.total():
        return f"{topic} holds no such {what}{read}"
    each = ", ".join(
        f"{found.counts[severity]:,} {severity}" for severity in reversed(Severity) if found.counts[severity]
    )
    listed = len(found.incidents)
    more = "" if listed == found.counts.total() else f"; the newest {listed:,} are listed"
    return f"{each}{more}{read}"


def mutes_table(mutes: Iterable[IncidentAction], now: float) -> Table:
    """What is muted by match."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("muted", "for", "by", "why"):
        table.add_column(name, overflow="fold")
    for each in mutes:
        table.add_row(match_text(each), _left(each, now), Text(shown(each.who)), Text(shown(each.why)))
    return table


def match_text(action: IncidentAction) -> str:
    """What an action was done with: an incident, or what matches."""
    match = action.match
    if match is None:
        return shown(action.incident or "")
    parts = (("run", match.run), ("kind", match.kind), ("team", match.team))
    return ", ".join(f"{name} {shown(text)}" for name, text in parts if text is not None)


def details(incident: Incident, book: ActionBook, now: float) -> Iterator[RenderableType]:
    """All that is known of one incident."""
    one = incident.latest
    holding = book.holding(one, now)
    rows = [("held by" if at == 0 else "", action_text(each, now)) for at, each in enumerate(holding)]
    yield card(one, rows)
    yield _evidence_table(one)
    yield _history_table(sorted(incident.transitions.values(), key=lambda each: each.transition), now)
    if done := book.done_with(one.incident):
        yield _actions_table(done, now)


def action_text(action: IncidentAction, now: float) -> str:
    """One action on one line: what, by whom, when, for how long, why."""
    of = "" if action.match is None else f" ({match_text(action)})"
    ago = age_text(max(0.0, now - action.unix_seconds))
    return (
        f"{DONE[action.action]}{of} by {shown(action.who)} {ago} ago{_ends(action, now)}: {shown(action.why)}"
    )


def done_text(action: IncidentAction, of: Transition | None) -> str:
    """What has just been done, on one line."""
    what = "" if of is None else f" {title_of(of.kind)} of {shown(of.run)},"
    return f"{match_text(action)}:{what} {DONE[action.action]}{_ends(action, action.unix_seconds)}"


def incident_json(incident: Incident, book: ActionBook, now: float, whole: bool = False) -> str:
    """One incident as JSON: its last transition, what holds for it now, what was done with it; `whole`: its history."""
    one = incident.latest
    fields: dict[str, Any] = json.loads(one.encode())
    fields["holding"] = [msgspec.to_builtins(each) for each in book.holding(one, now)]
    fields["actions"] = [msgspec.to_builtins(each) for each in book.done_with(one.incident)]
    if whole:
        history = sorted(incident.transitions.items())
        fields["transitions"] = [json.loads(each.encode()) for _, each in history]
    return json.dumps(fields, ensure_ascii=False)


def _told(one: Transition, holding: Sequence[IncidentAction], now: float) -> Iterator[Text]:
    over = one.status is Status.RESOLVED
    yield Text(shown(one.run), style="bold")
    since = f"since step {step_text(one.first_step)}"
    place = "" if one.layer is None and not one.ranks else f" in {where(one)}"
    if one.layer is None and one.ranks:
        place = f" on {where(one).partition(', ')[2]}"
    yield Text(f"{title_of(one.kind)}{place} {since}" + (", resolved" if over else ""))
    if not over:
        yield Text(f"{shown(one.statistic)} {against(one.value, one.expected)}", style="dim")
    for each in holding:
        yield Text(action_text(each, now), style="green")


def _ends(action: IncidentAction, now: float) -> str:
    return "" if action.until is None else f", for {_left(action, now)}"


def _left(action: IncidentAction, now: float) -> str:
    if action.until is None:
        return "good"
    return f"{age_text(action.until - now)} more" if action.until > now else "a time that is over"


def _evidence_table(one: Transition) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, title="evidence", title_justify="left")
    for name in ("statistic", "layer", "value", "expected", "score", "detector", "since step"):
        number = name in ("value", "expected", "score", "since step")
        table.add_column(name, justify="right" if number else "left", overflow="fold")
    for each in one.evidence:
        table.add_row(
            Text(shown(each.statistic)),
            Text("-" if each.layer is None else shown(each.layer)),
            number_text(each.value),
            "-" if each.expected is None else number_text(each.expected),
            number_text(each.score),
            Text(shown(each.detector)),
            "-" if each.since_step is None else step_text(each.since_step),
        )
    return table


def _history_table(history: Sequence[Transition], now: float) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, title="history", title_justify="left")
    for name in ("#", "status", "severity", "step", "ago", "what"):
        table.add_column(name, justify="right" if name in ("#", "step", "ago") else "left", overflow="fold")
    for each in history:
        at = each.updated_unix_seconds
        table.add_row(
            str(each.transition),
            Text(each.status),
            Text(each.severity, style=STYLES[each.severity]),
            step_text(each.step),
            "-" if at is None else age_text(max(0.0, now - at)),
            Text(f"{title_of(each.kind)}, {where(each)}"),
        )
    return table


def _actions_table(actions: Iterable[IncidentAction], now: float) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, title="actions", title_justify="left")
    for name in ("ago", "by", "what", "why"):
        table.add_column(name, justify="right" if name == "ago" else "left", overflow="fold")
    for each in actions:
        until = "" if each.until is None else f" until {clock_text(each.until)}"
        ago = age_text(max(0.0, now - each.unix_seconds))
        table.add_row(ago, Text(shown(each.who)), DONE[each.action] + until, Text(shown(each.why)))
    return table
