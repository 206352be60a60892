"""``anomaly tail``: the incidents of a topic as they come, a card each, or JSON for machines."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from fnmatch import fnmatchcase

from anomaly.commands.arguments import add_run_filter, add_severity
from anomaly.escapes import json_line, shown
from anomaly.incidents.transition import Severity, Status, Transition, decode_transition
from anomaly.reading import TopicReader
from anomaly.screen import card, line, screen
from anomaly.settings import CONNECTION, Settings
from anomaly.settings_sources import add_flags, load

_REMEMBERED = 100_000


class Seen:
    """Which transitions were shown: a worker that was killed may send the same one again."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._keys: OrderedDict[tuple[str, int], None] = OrderedDict()

    def is_new(self, transition: Transition) -> bool:
        """True the first time, and for what is long forgotten."""
        key = (transition.incident, transition.transition)
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._remembered:
            self._keys.popitem(last=False)
        return True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of this command."""
    parser.add_argument("--from-beginning", action="store_true", help="first all that the topic still holds")
    add_run_filter(parser, "only these runs")
    add_severity(parser)
    parser.add_argument("--json", action="store_true", help="one JSON transition a line")
    add_flags(parser, (*CONNECTION, "topic_prefix"))


def run(options: argparse.Namespace) -> int:
    """Follow until interrupted."""
    settings = load(vars(options), os.environ).settings
    wanted = _wanted(options.run, options.severity)
    asyncio.run(_follow(settings, options.from_beginning, wanted, _show_json if options.json else _cards()))
    return 0


async def _follow(
    settings: Settings,
    from_beginning: bool,
    wanted: Callable[[Transition], bool],
    show: Callable[[Transition], None],
) -> None:
    topic, seen, notes = settings.topics.incidents, Seen(), screen(stderr=True)

    def waiting() -> None:
        notes.print(f"topic {topic} does not exist yet; waiting for a worker to create it (Ctrl-C ends)")

    async with TopicReader(settings.connection) as reader:
        async for record in reader.follow(topic, from_beginning, waiting):
            try:
                transition = decode_transition(record.value)
            except Exception as error:  # whatever else was written to this topic must not end the tail
                notes.print(
                    f"partition {record.partition}, offset {record.offset} is no transition: {shown(repr(error))}"
                )
                continue
            if wanted(transition) and seen.is_new(transition):
                show(transition)


def _wanted(pattern: str, severity: Severity) -> Callable[[Transition], bool]:
    return lambda one: one.severity.rank >= severity.rank and fnmatchcase(one.run, pattern)


def _show_json(transition: Transition) -> None:
    sys.stdout.write(json_line(transition.encode().decode()) + "\n")
    sys.stdout.flush()


def _cards() -> Callable[[Transition], None]:
    console = screen()

    def show(transition: Transition) -> None:
        console.print(card(transition) if transition.status is not Status.RESOLVED else line(transition))

    return show
