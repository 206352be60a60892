"""A plain aiokafka consumer with the worker's decoding and kernels: the least that reading and judging can cost.

It is a fair floor: one consumer in a group, ``getmany`` with large bites, offsets committed by the client every five
seconds, each message decoded and judged on its run's slab. It is not a monitor: it keeps no state over a restart, may
judge a record twice or never, knows no ranks, rules or incidents, and sends nothing.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer

from benchmarks.reference.kernels import Runs
from benchmarks.reference.meter import Meter, Options, options


async def consume(told: Options) -> None:
    """Judge the topic from its start until `told.values` values are done."""
    consumer = AIOKafkaConsumer(
        told.topic,
        bootstrap_servers=told.bootstrap_servers,
        group_id=told.group,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=100,
    )
    runs, meter = Runs(), Meter(told.values)
    await consumer.start()
    try:
        while True:
            for records in (await consumer.getmany(timeout_ms=1000, max_records=1000)).values():
                for record in records:
                    if meter.count(runs.judge(record.value)):
                        meter.report(runs.alarms)
                        return
    finally:
        await consumer.stop()


if __name__ == "__main__":
    asyncio.run(consume(options(__doc__)))
