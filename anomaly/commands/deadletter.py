"""``anomaly deadletter list|show|requeue``: what the workers refused, why, and back with it once that is put right."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time

from anomaly.commands.arguments import add_limit, add_run_filter, add_since, age
from anomaly.commands.letter_shown import as_json, details, letters_table, reasons_line
from anomaly.commands.letters import Found, Letter, Place, Wanted, find, place_of
from anomaly.commands.requeue import Requeue, plan, send
from anomaly.errors import Reason
from anomaly.escapes import json_line, shown
from anomaly.reading import TopicReader
from anomaly.screen import screen
from anomaly.settings import CONNECTION, Settings
from anomaly.settings_sources import add_flags, load

NOT_FOUND = 1
LISTED = 50
_HOW = """\
What happens to a record that is sent again: it goes back to telemetry with its own bytes, key and timestamp, to the
partition it came from, marked with the header 'requeued'. The worker reads it as any other, after all that has come
meanwhile. A layout is learned. A step record is judged only if its run has not gone on: with a session, one whose
sequence is at or below the last is counted as a duplicate; without, one at or below the rank's last step counts as
late, and three in rising order with none of the present line between them are taken for a restart. So requeue at once
what was refused for lack of a limit, a layout or a newer worker; leave what is older than the run's newest step.
Without --yes nothing is sent. A letter is sent again once, unless --force is given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    actions = parser.add_subparsers(dest="action", metavar="list|show|requeue", required=True)
    listing = actions.add_parser(
        "list", help="the newest dead letters, and how many of each reason there are"
    )
    showing = actions.add_parser("show", help="one: why, where from, what can be read of it, its bytes")
    again = actions.add_parser(
        "requeue",
        help="send some back to telemetry",
        epilog=_HOW,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    showing.add_argument("letter", type=_place, metavar="PARTITION:OFFSET", help="as `list` shows it")
    again.add_argument(
        "letters",
        type=_place,
        nargs="*",
        metavar="PARTITION:OFFSET",
        help="none: all that the filters choose",
    )
    for action in (listing, again):
        action.add_argument(
            "--reason", choices=list(Reason), type=Reason, metavar="REASON", help="only of this reason"
        )
        add_run_filter(action, "only of these runs")
        add_since(action, "refused")
        action.add_argument(
            "--until", type=age, metavar="AGE", default=0.0, help="refused at least so long ago"
        )
    add_limit(listing, LISTED)
    add_limit(again, 1000, "at most so many, the oldest first")
    again.add_argument("--yes", action="store_true", help="send them; without it they are only listed")
    again.add_argument("--force", action="store_true", help="also those that were sent again before")
    for action in (listing, showing, again):
        action.add_argument("--json", action="store_true", help="JSON, one letter a line, to stdout alone")
        of_sending = ("development_broker", "max_message_bytes") if action is again else ()
        add_flags(action, (*CONNECTION, "topic_prefix", *of_sending))


def run(options: argparse.Namespace) -> int:
    """List, show or send again; 1 if a letter that was asked for is not there."""
    settings = load(vars(options), os.environ).settings
    action = {"list": _list, "show": _show, "requeue": _requeue}[options.action]
    return action(settings, options)


def _list(settings: Settings, options: argparse.Namespace) -> int:
    found = asyncio.run(_found(settings, _wanted(options), options.limit))
    if options.json:
        _print_json(found.letters, found)
    elif found.letters:
        screen().print(letters_table(found.letters, found.again, time.time()))
    screen(stderr=True).print(
        reasons_line(found.reasons, len(found.letters), settings.topics.deadletter), soft_wrap=True
    )
    return 0


def _show(settings: Settings, options: argparse.Namespace) -> int:
    found = asyncio.run(_found(settings, Wanted(frozenset((options.letter,))), 1))
    if not found.letters:
        return _missing([options.letter], settings)
    if options.json:
        _print_json(found.letters, found, whole=True)
    else:
        console = screen()
        for part in details(found.letters[0], found.again):
            console.print(part, soft_wrap=True)
    return 0


def _requeue(settings: Settings, options: argparse.Namespace) -> int:
    notes, wanted = screen(stderr=True), _wanted(options)
    found = asyncio.run(_found(settings, wanted, sys.maxsize if wanted.places else 1_000_000))
    missing = wanted.places - {letter.place for letter in found.letters}
    if missing:
        return _missing(sorted(missing), settings)
    chosen = plan(found, settings.topics.telemetry, options.force)
    sending = [each for each in chosen if each.refusal is None][: options.limit]
    if options.yes and sending:
        asyncio.run(send(settings, sending))
    for each in chosen:
        if each.refusal is not None:
            notes.print(f"left: {_name(each)}: {each.refusal}", soft_wrap=True)
    if options.json:
        _print_json([each.letter for each in sending], found)
    else:
        verb = "sent again" if options.yes else "would be sent again"
        for each in sending:
            screen().print(f"{verb}: {_name(each)} -> {each.where}", soft_wrap=True)
    hidden = sum(each.refusal is None for each in chosen) - len(sending)
    more = f", {hidden:,} more are beyond --limit" if hidden else ""
    done = (
        f"sent {len(sending):,} of" if options.yes else f"nothing was sent; --yes sends {len(sending):,} of"
    )
    notes.print(f"{done} {len(chosen):,} dead letters{more}", soft_wrap=True)
    return 0


async def _found(settings: Settings, wanted: Wanted, limit: int) -> Found:
    async with TopicReader(settings.connection) as reader:
        return await find(reader.to_end(settings.topics.deadletter), wanted, limit)


def _wanted(options: argparse.Namespace) -> Wanted:
    now = time.time()
    places = frozenset(getattr(options, "letters", ()))
    return Wanted(places, options.reason, options.run, now - options.since, now - options.until + 1)


def _missing(places: list[Place], settings: Settings) -> int:
    names = ", ".join(f"{partition}:{offset}" for partition, offset in places)
    screen(stderr=True).print(
        f"{settings.topics.deadletter} holds no letter {names} (any more); `anomaly deadletter list` shows all",
        soft_wrap=True,
    )
    return NOT_FOUND


def _print_json(letters: list[Letter], found: Found, whole: bool = False) -> None:
    for letter in letters:
        text = json.dumps(as_json(letter, letter.place in found.again, whole), ensure_ascii=False)
        sys.stdout.write(json_line(text) + "\n")


def _name(each: Requeue) -> str:
    letter = each.letter
    return f"{letter.partition}:{letter.offset} {shown(letter.reason)} of run {shown(letter.run, 60)}"


def _place(text: str) -> Place:
    place = place_of(text)
    if place is None:
        raise argparse.ArgumentTypeError(f"got {text!r}; PARTITION:OFFSET is needed, as in 3:41")
    return place
