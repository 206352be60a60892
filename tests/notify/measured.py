"""Telemetry of a run on a real broker, and incidents in it, for tests of what is read back."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer

from anomaly import codec
from anomaly.connection import Connection
from anomaly.incidents import Transition
from anomaly.incidents.transition import Evidence, Source
from anomaly.notify.evidence import FOR_A_PERSON, Budget, read_evidence
from anomaly.notify.window import Window
from anomaly.reading import TopicReader
from anomaly.records import MILLIONTHS, Fork, Layout, StepMessage
from anomaly.topics import Topics
from tests.commands import topics
from tests.commands.transitions import transition
from tests.conftest import Kafka

NOW_MS = 1_790_000_000_000
LAYERS = tuple(f"h.{number}.attn" for number in range(6))
LAYOUT = Layout(LAYERS, ("act_rms", "grad_norm"), ("loss", "lr"))
Timed = tuple[bytes, int]
"""A record's value and its time in milliseconds."""


def compact(
    step: int,
    *,
    run: str = "gpt",
    rank: int = 0,
    layout: Layout = LAYOUT,
    fork: Fork | None = None,
    sequence: int | None = None,
    **cells: float,
) -> bytes:
    """One record in which everything is 1 plus a thousandth of the step; `cells` are by ``layer_signal`` or signal."""
    values = np.full((1, layout.width), 1.0 + step / 1000, np.float32)
    for name, value in cells.items():
        if name in layout.model_signals:
            at = layout.model_signals.index(name)
        else:
            layer, _, signal = name.partition("__")
            at = len(layout.model_signals) + layout.layers.index(layer.replace("_", ".")) * len(
                layout.signals
            )
            at += layout.signals.index(signal)
        values[0, at] = value
    return codec.encode_steps(
        StepMessage(
            run,
            rank,
            [step * MILLIONTHS],
            [None],
            values,
            layout.hash,
            fork=fork,
            session=None if sequence is None else 7,
            sequence=sequence,
        )
    )


def incident(step: int, source: int, **fields: Any) -> Transition:
    """A NaN gradient in the third layer."""
    evidence = (Evidence("grad_norm", math.nan, 1.0, 1.0, "nonfinite", LAYERS[2], step),)
    given = {
        "kind": "nonfinite_gradient",
        "layer": LAYERS[2],
        "layers": (LAYERS[2],),
        "statistic": "grad_norm",
        "evidence": evidence,
        "ranks": (),
    }
    return transition(
        run="gpt",
        step=step,
        first_step=step,
        source=Source(0, source),
        **{**given, **fields},
    )


class Log:
    """One partition of telemetry, written and read."""

    def __init__(self, kafka: Kafka) -> None:
        self.kafka, self.topic = kafka, Topics(kafka.prefix).telemetry
        self.records: list[Timed] = []
        topics.make(kafka.bootstrap_servers, self.topic, 1)

    def add(self, value: bytes, milliseconds: int = NOW_MS) -> int:
        """The offset at which it will lie."""
        self.records.append((value, milliseconds))
        return len(self.records) - 1

    def write(self) -> None:
        asyncio.run(self._write())

    async def _write(self) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka.bootstrap_servers, max_batch_size=1, max_request_size=4 << 20
        )
        await producer.start()
        try:
            sent = [await producer.send(self.topic, value, b"gpt", 0, at) for value, at in self.records]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    def read(
        self, of: Transition, budget: Budget = FOR_A_PERSON, layouts: dict[bytes, Layout] | None = None
    ) -> Window:
        async def found() -> Window:
            async with TopicReader(Connection(self.kafka.bootstrap_servers)) as reader:
                return await read_evidence(reader, self.topic, of, budget, layouts)

        return asyncio.run(found())
