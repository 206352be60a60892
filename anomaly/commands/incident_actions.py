"""Doing something with incidents: whether it can be done, and sending it to the topic of the actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError

from anomaly.commands.incident_reading import Incident, find, read_actions
from anomaly.commands.sending import producer
from anomaly.errors import ActionError, PreflightError
from anomaly.incidents import Action, ActionBook, IncidentAction, Match, Transition, encode_action
from anomaly.reading import SMALL_FETCH, TopicReader
from anomaly.settings import Settings
from anomaly.topics import home_partition

Doing = tuple[IncidentAction, Incident | None]
"""An action, and the incident that it is on; None: it is by match."""
_CLOSED = (Action.RESOLVE, Action.FALSE_ALARM)


@dataclass(frozen=True, slots=True)
class Order:
    """What a person wants done, with which incidents (by the start of their IDs) or with all that match."""

    action: Action
    who: str
    why: str
    unix_seconds: float
    until: float | None
    incidents: tuple[str, ...]
    match: Match | None


async def do(settings: Settings, order: Order) -> list[Doing]:
    """Do it, all of it or nothing. Raises `ActionError` where something cannot be done, and as `TopicReader` does."""
    names = settings.topics
    async with TopicReader(settings.connection, SMALL_FETCH) as reader:
        partitions = await there(reader, names.incident_actions)
        book = await read_actions(reader, settings)
        if order.match is None:
            await there(reader, names.incidents)
            found = list((await find(reader, names.incidents, order.incidents)).values())
            incidents = list({each.latest.incident: each for each in found}.values())
            _check(order.action, incidents, book, order.unix_seconds)
            doing: list[Doing] = [(_on(order, each.latest), each) for each in incidents]
        else:
            doing = [(_made(order, match=order.match), None)]
            muted = any(each.match == order.match for each in book.mutes(order.unix_seconds))
            if order.action is Action.WITHDRAW and not muted:
                raise ActionError("no such mute holds; `anomaly incidents mutes` shows those that do")
    for action, _ in doing:
        action.check()
    await _send(settings, len(partitions), doing)
    return doing


async def there(reader: TopicReader, topic: str) -> list[TopicPartition]:
    """A topic's partitions. Raises `PreflightError` where it does not exist."""
    if partitions := await reader.partitions(topic):
        return partitions
    raise PreflightError(
        f"topic {topic} does not exist, or is hidden from this user; a worker makes it when it starts, under its own "
        "topic_prefix"
    )


def _on(order: Order, one: Transition) -> IncidentAction:
    return _made(
        order, incident=one.incident, run=one.run, kind=one.kind, first_step=one.first_step, step=one.step
    )


def _made(order: Order, **of: Any) -> IncidentAction:
    return IncidentAction(
        action=order.action,
        who=order.who,
        why=order.why,
        unix_seconds=order.unix_seconds,
        until=order.until,
        **of,
    )


def _refusal(action: Action, incident: Incident, book: ActionBook, now: float) -> str | None:
    """Why this cannot be done with an incident; None: it can."""
    one = incident.latest
    if action is Action.WITHDRAW:
        if not [each for each in book.holding(one, now) if each.incident is not None]:
            return f"incident {one.incident}: nothing was done with it that could be withdrawn"
        return None
    if action is Action.FALSE_ALARM:
        return None  # most are known for what they were when they are over
    if incident.is_over:
        return f"incident {one.incident} is resolved since step {one.step:,}; there is nothing to {action} any more"
    closed = [each for each in book.holding(one, now) if each.action in _CLOSED]
    if closed:
        return (
            f"incident {one.incident} was closed by {closed[0].who} already ({closed[0].action}: {closed[0].why}); "
            f"`anomaly incidents withdraw {one.incident[:8]}` takes that back"
        )
    return None


def _check(action: Action, incidents: Sequence[Incident], book: ActionBook, now: float) -> None:
    """Raise `ActionError` with a line for each incident with which this cannot be done."""
    found = [problem for each in incidents if (problem := _refusal(action, each, book, now)) is not None]
    if found:
        raise ActionError("\n".join(found) + ("" if len(found) == 1 else "\nnothing was done with any"))


async def _send(settings: Settings, partitions: int, actions: Sequence[Doing]) -> None:
    """Send actions, those on an incident to its own partition, under its run's key."""
    topic = settings.topics.incident_actions
    async with producer(settings) as sender:
        try:
            for action, incident in actions:
                key, partition = _place(action.match, incident, partitions)
                await sender.send_and_wait(topic, encode_action(action), key, partition)
        except TopicAuthorizationFailedError:
            raise PreflightError(f"topic {topic} may not be written; allow this user WRITE on it") from None
        except KafkaError as error:
            raise PreflightError(f"topic {topic}: {type(error).__name__}; not all of it was done") from error


def _place(match: Match | None, incident: Incident | None, partitions: int) -> tuple[bytes, int]:
    """The key and the partition: all actions on an incident, or with a match, lie in one, in order."""
    if incident is None:
        assert match is not None
        key = "\x00".join(text or "" for text in (match.run, match.team, match.kind)).encode()
        return key, home_partition(key, partitions)
    key = incident.key if incident.key is not None else incident.latest.run.encode()
    return key, incident.partition if incident.partition < partitions else home_partition(key, partitions)
