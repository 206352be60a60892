"""The design most people write first: one JSON message per layer and step, river objects for each series.

Fair in its parts: aiokafka in large bites, a JSON parser that fills typed objects (msgspec), and for the two questions
that the worker asks of every series the cheapest object that river has for each: `StandardAbsoluteDeviation` for a
value far away, `PageHinkley` in both directions for a level that moved; both on logarithms, judged first and learned
after. Not a monitor: no saved state, no restarts, ranks or incidents, and JSON cannot even carry a NaN.
"""

from __future__ import annotations

import asyncio
import math

import msgspec
from aiokafka import AIOKafkaConsumer
from river.anomaly import StandardAbsoluteDeviation
from river.drift import PageHinkley

from benchmarks.reference.meter import Meter, Options, options

FAR = 15.0
"""Deviations; the worker's own level for a run of a thousand series."""


class LayerMessage(msgspec.Struct):
    """What one layer of one run reports of one step."""

    run: str
    step: int
    layer: str
    signals: dict[str, float]


class Series:
    """One series' two detectors."""

    __slots__ = ("deviation", "shift")

    def __init__(self) -> None:
        self.deviation = StandardAbsoluteDeviation()
        self.shift = PageHinkley()

    def judge(self, value: float) -> bool:
        """Judge a reading, then learn it; whether it is an alarm."""
        y = math.log2(value) if value > 0.0 else 0.0
        far = self.deviation.score_one(None, y) > FAR
        self.deviation.learn_one(None, y)
        self.shift.update(y)
        return far or self.shift.drift_detected


async def consume(told: Options) -> None:
    """Judge the topic from its start until `told.values` values are done."""
    consumer = AIOKafkaConsumer(
        told.topic,
        bootstrap_servers=told.bootstrap_servers,
        group_id=told.group,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    decode = msgspec.json.Decoder(LayerMessage).decode
    series: dict[tuple[str, str, str], Series] = {}
    meter, alarms = Meter(told.values), 0
    await consumer.start()
    try:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=1000)).values():
                for record in records:
                    message = decode(record.value)
                    for signal, value in message.signals.items():
                        key = (message.run, message.layer, signal)
                        one = series.get(key)
                        if one is None:
                            one = series[key] = Series()
                        alarms += one.judge(value)
                    if meter.count(len(message.signals)):
                        meter.report(alarms)
                        return
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(consume(options(__doc__)))
