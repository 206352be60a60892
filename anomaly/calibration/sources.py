"""Where past runs come from: Parquet and CSV files, folders of them, or a topic's telemetry; as a replay takes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from anomaly import codec
from anomaly.errors import RecordError, ReplayFileError
from anomaly.monitor.log import seconds_of
from anomaly.reading import TopicReader
from anomaly.records import LayoutMessage, StepMessage
from anomaly.settings import Settings

ENDINGS = (".parquet", ".csv")


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files, and those in the folders by name, folders within them included. Raises `ReplayFileError`."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix in ENDINGS)
        if not inside:
            wanted = " or ".join(ENDINGS)
            raise ReplayFileError(
                f"{path}: this folder holds no file that ends in {wanted}; give one that does"
            )
        found += inside
    return found


async def of_topic(
    settings: Settings, patterns: Sequence[str], skipped: Callable[[str], None]
) -> AsyncIterator[StepMessage | LayoutMessage]:
    """What the telemetry topic holds now of the runs that match a pattern, each record by itself.

    `skipped` hears of every message that cannot be used. Raises as `TopicReader` does.
    """
    layouts: set[tuple[str, bytes]] = set()
    async with TopicReader(settings.connection) as reader:
        async for record in reader.to_end(settings.topics.telemetry):
            try:
                message = codec.decode(record.value or b"", seconds_of(record.timestamp))
            except (RecordError, ValueError) as error:
                skipped(str(error))
                continue
            if patterns and not any(fnmatchcase(message.run, pattern) for pattern in patterns):
                continue
            if isinstance(message, LayoutMessage):
                layouts.add((message.run, message.layout.hash))
                yield message
            elif message.layout is None and (message.run, message.layout_hash) not in layouts:
                skipped(f"run {message.run}: its layout is no longer in the topic")
            else:
                for single in one_by_one(message):
                    yield single


def one_by_one(message: StepMessage) -> Iterator[StepMessage]:
    """The records of a message, each as a message of its own."""
    if len(message.steps) == 1:
        yield message
        return
    for at in range(len(message.steps)):
        yield StepMessage(
            run=message.run,
            rank=message.rank,
            steps=message.steps[at : at + 1],
            times=message.times[at : at + 1],
            values=message.values[at : at + 1],
            layout_hash=message.layout_hash,
            layout=message.layout,
            session=message.session,
            sequence=None if message.sequence is None else message.sequence + at,
            events=None if message.events is None else message.events[at : at + 1],
            tags=message.tags,
            fork=message.fork,
            place=message.place,
        )
