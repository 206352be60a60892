"""Sending dead letters back to telemetry: which can go, and where to."""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from anomaly.commands.letters import Found, Letter
from anomaly.commands.sending import producer
from anomaly.errors import PreflightError
from anomaly.settings import Settings
from anomaly.topics import DEAD_LETTER_ROOM, REQUEUED, home_partition


@dataclass(frozen=True, slots=True)
class Requeue:
    """One letter, and why it cannot be sent again; None: it can."""

    letter: Letter
    refusal: str | None

    @property
    def where(self) -> str:
        """Where it goes, for people."""
        origin = self.letter.origin
        return "its home" if origin is None else f"partition {origin[0]}"


def plan(found: Found, telemetry: str, force: bool) -> list[Requeue]:
    """What becomes of each letter, oldest first."""
    return [Requeue(letter, _refusal(letter, found, telemetry, force)) for letter in found.letters]


def _refusal(letter: Letter, found: Found, telemetry: str, force: bool) -> str | None:
    if letter.topic != telemetry:
        return f"it came from {letter.topic or 'nowhere that it says'}, not from {telemetry}"
    if letter.omitted:
        return f"its {letter.omitted:,} bytes were left where it lay: no topic takes them"
    if not force and letter.place in found.again:
        return "it was sent again before; --force sends it once more"
    return None


async def send(settings: Settings, sending: list[Requeue]) -> None:
    """Send the letters back, in order; note each in the dead letters once telemetry has it.

    Raises `KafkaUnreachableError` or `PreflightError`.
    """
    topics, largest = settings.topics, settings.max_message_bytes + DEAD_LETTER_ROOM
    async with producer(settings, max_request_size=largest) as sender:
        try:
            partitions = len(await sender.partitions_for(topics.telemetry))
            for each in sending:
                await _send_one(sender, settings, each.letter, partitions)
        except KafkaError as error:
            raise PreflightError(
                f"{topics.telemetry} or {topics.deadletter}: {type(error).__name__}; what was said to be "
                "sent is, the rest is not; both topics need WRITE"
            ) from error


async def _send_one(sender: AIOKafkaProducer, settings: Settings, letter: Letter, partitions: int) -> None:
    mark = (REQUEUED, b"%d:%d" % letter.place)
    timestamp = letter.timestamp_ms if letter.timestamp_ms is not None and letter.timestamp_ms >= 0 else None
    await sender.send_and_wait(
        settings.topics.telemetry,
        letter.value,
        letter.key,
        _partition(letter, partitions),
        timestamp,
        headers=[*letter.headers, mark],
    )
    reason = ("reason", REQUEUED.encode())
    await sender.send_and_wait(
        settings.topics.deadletter, b"", letter.key, letter.partition, headers=[reason, mark]
    )


def _partition(letter: Letter, partitions: int) -> int:
    """Where it lay; its home where that is not said, or where there are fewer partitions now."""
    if letter.origin is not None and letter.origin[0] < partitions:
        return letter.origin[0]
    return home_partition(letter.run.encode(), partitions)
