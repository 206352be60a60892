"""Which transitions a partition's incidents already hold, so that a replay does not send them a second time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from anomaly.connection import Connection
from anomaly.credentials import kafka_options
from anomaly.errors import KafkaUnreachableError
from anomaly.incidents.transition import Transition, decode_transition
from anomaly.monitor.timers import TIMER_DETECTOR
from anomaly.topics import is_preflight

READ_SECONDS = 60.0
"""Reading a replay's worth of incidents takes milliseconds; this is for a broker that went away."""

log = logging.getLogger("anomaly.worker")


class _Identity(msgspec.Struct):
    incident: str
    transition: int
    detector: str = ""


@dataclass(frozen=True, slots=True)
class SentBefore:
    """One partition's incidents: where they end, and what stands in them since the remembered offset."""

    end: int
    transitions: set[tuple[str, int]]
    of_timers: list[Transition] = field(default_factory=list)
    """Those that no replay brings again, in order, whole."""


async def sent_before(
    connection: Connection, topic: str, starts: Mapping[int, int | None]
) -> dict[int, SentBefore]:
    """Read each partition of `starts` from its remembered offset (None: from the beginning) to its end.

    Raises `KafkaUnreachableError` when that takes too long.
    """
    if not starts:
        return {}
    consumer = AIOKafkaConsumer(
        **kafka_options(connection), enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await _read(consumer, topic, starts)
    except TimeoutError:
        raise KafkaUnreachableError(
            f"topic {topic} could not be read to its end in {READ_SECONDS:g} s"
        ) from None
    finally:
        await consumer.stop()


async def _read(
    consumer: AIOKafkaConsumer, topic: str, starts: Mapping[int, int | None]
) -> dict[int, SentBefore]:
    tps = {TopicPartition(topic, partition): start for partition, start in starts.items()}
    ends = await consumer.end_offsets(list(tps))
    beginnings = await consumer.beginning_offsets(list(tps))
    found = {tp: SentBefore(ends[tp], set()) for tp in tps}
    consumer.assign(list(tps))
    unread = set()
    for tp, start in tps.items():
        start = max(beginnings[tp], start or 0)
        consumer.seek(tp, start)
        if start < ends[tp]:
            unread.add(tp)
        else:
            consumer.pause(tp)
    while unread:
        for tp, records in (await consumer.getmany(*unread, timeout_ms=200)).items():
            for record in records:
                if not is_preflight(record.key, record.value):
                    note_sent(record.value, found[tp])
        unread = {tp for tp in unread if await consumer.position(tp) < ends[tp]}
    return {tp.partition: before for tp, before in found.items()}


def note_sent(value: bytes | None, found: SentBefore) -> None:
    """Take in one record of the incidents topic."""
    try:
        identity = msgspec.json.decode(value or b"", type=_Identity)
        if identity.detector == TIMER_DETECTOR:
            found.of_timers.append(decode_transition(value or b""))
    except msgspec.MsgspecError as error:
        log.warning("the incidents topic has a record that is no transition: %s", error)
        return
    found.transitions.add((identity.incident, identity.transition))
