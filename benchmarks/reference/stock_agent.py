"""A stock Faust agent with the worker's decoding and kernels: what Faust costs as its documentation shows it.

Nothing of Faust is replaced; its settings are the ones that help it: no web server, no leader topic, no waiting for
empty streams at a rebalance, large polls, raw bytes as values. Like the plain consumer it is not a monitor: no saved
state, no incidents, and its offsets are committed by Faust.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import faust

from benchmarks.reference.kernels import Runs
from benchmarks.reference.meter import Meter, Options, options


def build_app(told: Options, folder: str) -> faust.App:
    """The app with its one agent, which ends the process once `told.values` values are judged."""
    app = faust.App(
        told.group,
        broker=f"kafka://{told.bootstrap_servers}",
        datadir=folder,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        broker_max_poll_records=1000,
    )
    topic = app.topic(told.topic, value_type=bytes, value_serializer="raw")
    runs, meter = Runs(), Meter(told.values)

    @app.agent(topic)
    async def judge(messages: Any) -> None:
        async for message in messages:
            if meter.count(runs.judge(message)):
                meter.report(runs.alarms)
                os._exit(0)  # Faust's own way out takes seconds, and nothing is left to be saved

    return app


def main() -> None:
    """Run the worker of Faust's own command line."""
    told = options(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        app = build_app(told, folder)
        faust.Worker(app, quiet=True, loglevel="WARNING", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
