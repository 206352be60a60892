"""``anomaly incidents …``: what is open, what is known of one, and what people do with it."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import getpass
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.text import Text

from anomaly.commands.arguments import add_limit, add_run_filter, add_severity, add_since, age
from anomaly.commands.incident_actions import Order, do, there
from anomaly.commands.incident_reading import Chosen, choose, find, read_actions
from anomaly.commands.incident_shown import (
    counts_line,
    details,
    done_text,
    incident_json,
    incidents_table,
    mutes_table,
)
from anomaly.errors import ActionError, SettingsError
from anomaly.escapes import json_line
from anomaly.incidents import Action, Match, Transition
from anomaly.incidents.actions import ENDING
from anomaly.reading import SMALL_FETCH, TopicReader
from anomaly.screen import screen
from anomaly.settings import CONNECTION, Settings
from anomaly.settings_sources import add_flags, load

LISTED = 50
_VERBS = {
    "ack": (Action.ACKNOWLEDGE, "somebody looks after it: it pages no more, unless it gets critical"),
    "mute": (Action.MUTE, "it is known: no pages of it, or of all that match, unless it gets critical"),
    "resolve": (Action.RESOLVE, "it is over: tell the receivers so, and be quiet about it"),
    "false-alarm": (Action.FALSE_ALARM, "it was none: as resolve, and `anomaly calibrate` learns from it"),
    "withdraw": (Action.WITHDRAW, "take back all that was done with it, or the mute of all that match"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    actions = parser.add_subparsers(
        dest="action", metavar="list|show|ack|mute|resolve|false-alarm|withdraw|mutes", required=True
    )
    listing = actions.add_parser("list", help="the incidents that are open, and who looks after them")
    _filters(listing)
    showing = actions.add_parser("show", help="one: evidence, history, what was done, a picture")
    showing.add_argument("incident", metavar="ID", help="its ID, or the first digits of it that are enough")
    showing.add_argument(
        "--plot", type=Path, metavar="FILE", help="write a picture of the evidence there, as PNG"
    )
    mutes = actions.add_parser("mutes", help="what is muted by match, and until when")
    for action in (listing, showing, mutes):
        action.add_argument("--json", action="store_true", help="JSON, one a line, to stdout alone")
        add_flags(action, (*CONNECTION, "topic_prefix"))
    for verb, (meant, text) in _VERBS.items():
        doing = actions.add_parser(verb, help=text, description=f"{text[0].upper()}{text[1:]}.")
        by_match = meant in (Action.MUTE, Action.WITHDRAW)
        doing.add_argument(
            "incidents", nargs="*" if by_match else "+", metavar="ID", help="as `list` shows it"
        )
        _doing(doing, meant, by_match)


def _filters(listing: argparse.ArgumentParser) -> None:
    listing.add_argument("--all", action="store_true", help="also those that are resolved")
    add_run_filter(listing, "only these runs")
    listing.add_argument("--kind", metavar="PATTERN", default="*", help="only these kinds")
    add_severity(listing)
    add_since(listing, "changed")
    add_limit(listing, LISTED)


def _doing(doing: argparse.ArgumentParser, action: Action, by_match: bool) -> None:
    if by_match:
        group = doing.add_argument_group("instead of IDs", "all that match; * and ? stand for any text")
        for name in ("run", "kind", "team"):
            group.add_argument(f"--{name}", metavar="PATTERN")
    if action in ENDING:
        doing.add_argument(
            "--until", type=_until, metavar="WHEN", help="for so long: 90m, 2h, 1d; or until 2026-12-24T08:00"
        )
    doing.add_argument("--why", required=True, metavar="TEXT", help="kept with it, and shown to everyone")
    doing.add_argument("--who", metavar="NAME", help="who does it (default: the login name)")
    add_flags(doing, (*CONNECTION, "topic_prefix", "development_broker"))


def run(options: argparse.Namespace) -> int:
    """List, show or do."""
    settings = load(vars(options), os.environ).settings
    if options.action in _VERBS:
        asyncio.run(_do(settings, options))
    elif options.action == "show":
        one = asyncio.run(_show(settings, options))
        if options.plot is not None:
            _plot(settings, one, options.plot)
    else:
        asyncio.run((_list if options.action == "list" else _mutes)(settings, options))
    return 0


async def _list(settings: Settings, options: argparse.Namespace) -> None:
    now, topic = time.time(), settings.topics.incidents
    chosen = Chosen(options.run, options.kind, options.severity, now - options.since, options.all)
    async with TopicReader(settings.connection, SMALL_FETCH) as reader:
        await there(reader, topic)
        found = await choose(reader, topic, chosen, options.limit)
        book = await read_actions(reader, settings)
    if options.json:
        for incident in found.incidents:
            _print(incident_json(incident, book, now))
    else:
        if found.incidents:
            screen().print(incidents_table(found.incidents, book, now))
        if mutes := book.mutes(now):
            screen().print(mutes_table(mutes, now))
    screen(stderr=True).print(counts_line(found, topic, options.all), soft_wrap=True)


async def _show(settings: Settings, options: argparse.Namespace) -> Transition:
    topic = settings.topics.incidents
    async with TopicReader(settings.connection, SMALL_FETCH) as reader:
        await there(reader, topic)
        (incident,) = (await find(reader, topic, [options.incident])).values()
        book = await read_actions(reader, settings)
    if options.json:
        _print(incident_json(incident, book, time.time(), whole=True))
    else:
        console = screen()
        for part in details(incident, book, time.time()):
            console.print(part)
    return incident.latest


def _plot(settings: Settings, one: Transition, path: Path) -> None:
    from anomaly.notify.evidence import FOR_A_PERSON  # with matplotlib, which nothing else here needs
    from anomaly.notify.pictures import picture_of

    png = asyncio.run(picture_of(settings.connection, settings.topics.telemetry, one, FOR_A_PERSON))
    try:
        path.write_bytes(png)
    except OSError as error:
        raise SettingsError(
            [f"plot: {path}: cannot be written ({error.strerror}); give another place"]
        ) from None
    screen(stderr=True).print(Text(f"wrote {path}"), soft_wrap=True)


async def _mutes(settings: Settings, options: argparse.Namespace) -> None:
    async with TopicReader(settings.connection, SMALL_FETCH) as reader:
        await there(reader, settings.topics.incident_actions)
        mutes = (await read_actions(reader, settings)).mutes(time.time())
    if options.json:
        for each in mutes:
            _print(msgspec.json.encode(each).decode())
    elif mutes:
        screen().print(mutes_table(mutes, time.time()))
    else:
        screen(stderr=True).print("nothing is muted by match")


async def _do(settings: Settings, options: argparse.Namespace) -> None:
    now = time.time()
    patterns = {name: getattr(options, name, None) for name in ("run", "kind", "team")}
    match = Match(**patterns) if any(pattern is not None for pattern in patterns.values()) else None
    if (match is None) == (not options.incidents):
        raise ActionError(f"{options.action}: give IDs, or one or more of --run, --kind and --team; not both")
    order = Order(
        action=_VERBS[options.action][0],
        who=_login() if options.who is None else options.who,
        why=options.why,
        unix_seconds=now,
        until=options.until(now) if getattr(options, "until", None) is not None else None,
        incidents=tuple(options.incidents),
        match=match,
    )
    notes = screen(stderr=True)
    for action, incident in await do(settings, order):
        of = None if incident is None else incident.latest
        notes.print(Text(done_text(action, of)), soft_wrap=True)


def _until(text: str) -> Callable[[float], float]:
    """When, as unix seconds, given the time now."""
    try:
        at = datetime.datetime.fromisoformat(text).astimezone().timestamp()
    except ValueError:
        seconds = age(text)
        return lambda now: now + seconds
    return lambda _: at


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        raise ActionError("who: this machine does not know your name; give --who NAME") from None


def _print(text: str) -> None:
    sys.stdout.write(json_line(text) + "\n")
