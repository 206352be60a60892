"""``python -m tests.notify [--seeds N] [--first-seed N]``: drawn fault scenarios of the notifier on Apache Kafka."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.kafka_servers import ApacheKafka
from tests.notify.campaign import Verdict, latencies, scene
from tests.notify.stage import Stage


def main() -> int:
    """Play the seeds; 1 where one of them lost or doubled something."""
    parser = argparse.ArgumentParser(prog="python -m tests.notify", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--incidents", type=int, default=40)
    parser.add_argument("--kills", type=int, default=4)
    parser.add_argument(
        "--latency", type=int, default=0, metavar="PAGES", help="measure that and play no seed"
    )
    options = parser.parse_args()
    bad = 0
    with ApacheKafka() as broker:
        if options.latency:
            return _latency(broker, options.latency)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                stage = Stage(broker.bootstrap_servers, f"seed-{seed}", Path(folder))
                found = asyncio.run(_play(stage, seed, options, broker))
            for name, verdict in found.items():
                print(f"seed {seed}, {name}: {verdict}", flush=True)
                bad += bool(verdict.lost or verdict.doubled or verdict.disordered)
    return 1 if bad else 0


def _latency(broker: ApacheKafka, pages: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(_measured(Stage(broker.bootstrap_servers, "latency", Path(folder)), pages))
    middle, high = found[len(found) // 2], found[int(len(found) * 0.95)]
    print(
        f"{pages} pages, record to receiver: median {middle:.3f} s, 95 % {high:.3f} s, longest {found[-1]:.3f} s"
    )
    return 0


async def _measured(stage: Stage, pages: int) -> list[float]:
    try:
        return await latencies(stage, pages)
    finally:
        await stage.close()


async def _play(
    stage: Stage, seed: int, options: argparse.Namespace, broker: ApacheKafka
) -> dict[str, Verdict]:
    try:
        return await scene(stage, seed, options.incidents, options.kills, broker if seed % 2 else None)
    finally:
        await stage.close()


if __name__ == "__main__":
    sys.exit(main())
