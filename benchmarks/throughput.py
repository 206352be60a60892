"""Values per CPU-second: a real worker, and the reference programs, each reading the same filled topic alone.

A worker's CPU time and its count of judged values are looked at a few times a second, and the figure is the slope
between the first look after a fifth of the topic and the last before its end: start, compiling and waiting stay
outside, saving states and sending stay in. A reference program takes its own CPU time in the same way. Programs take
turns, round after round, and a ratio is taken within its round; the figure is the median of the rounds.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from anomaly.topics import Topics
from benchmarks.load import LAYER_SIGNALS, MODEL_SIGNALS, Load
from benchmarks.processes import Broker, Program, Worker
from benchmarks.reference.meter import WARM_UP
from benchmarks.rows import Row, row, shown
from benchmarks.topics import fill, make_topic

UNIT = "values per CPU-second"
LOOK_SECONDS = 0.2
LONGEST_SECONDS = 120.0
LAYERS_1K = (1024 - len(MODEL_SIGNALS)) // len(LAYER_SIGNALS)
LAYERS_8K = (8192 - len(MODEL_SIGNALS)) // len(LAYER_SIGNALS)


@dataclass(frozen=True)
class Scale:
    """How much is measured. The stock agent and the JSON design read less, because they take longer."""

    rounds: int
    narrow: Load
    wide: Load
    json: Load
    stock_share: float


FULL = Scale(
    rounds=3,
    narrow=Load(LAYERS_1K, runs=100, steps=800),
    wide=Load(LAYERS_8K, runs=16, steps=750),
    json=Load(LAYERS_1K, runs=8, steps=150),
    stock_share=0.4,
)
QUICK = Scale(
    rounds=1,
    narrow=Load(LAYERS_1K, runs=50, steps=120),
    wide=Load(LAYERS_8K, runs=8, steps=100),
    json=Load(LAYERS_1K, runs=4, steps=20),
    stock_share=0.5,
)


class Throughput:
    """The measurements on one broker."""

    def __init__(self, broker: Broker, folder: Path, scale: Scale) -> None:
        self._broker = broker
        self._folder = folder
        self._scale = scale
        self._groups = (f"bench-group-{number}" for number in itertools.count())
        self.remarks: list[str] = []

    def rows(self) -> list[Row]:
        """Fill the topics, let the programs take turns, compare."""
        scale = self._scale
        narrow, wide, by_layer = Topics("bench-1k"), Topics("bench-8k"), Topics("bench-json")
        for topics, messages in (
            (narrow, scale.narrow.compact()),
            (wide, scale.wide.compact()),
            (by_layer, scale.json.json()),
        ):
            make_topic(self._broker.bootstrap_servers, topics)
            fill(self._broker.bootstrap_servers, topics.telemetry, messages)
        rates: dict[str, list[float]] = {}
        stock_values = int(scale.narrow.values * scale.stock_share)
        for _ in range(scale.rounds):
            for name, rate in (
                ("worker", self._worker(narrow.prefix, scale.narrow)),
                ("plain", self._reference("plain_aiokafka", narrow, scale.narrow.values)),
                ("stock", self._reference("stock_agent", narrow, stock_values)),
                ("json", self._reference("json_river", by_layer, scale.json.values)),
                ("wide", self._worker(wide.prefix, scale.wide)),
            ):
                rates.setdefault(name, []).append(rate)
        return _rows(rates)

    def _worker(self, prefix: str, load: Load) -> float:
        """Values per CPU-second of a worker that starts without any state."""
        with Worker(self._folder, self._broker, prefix, next(self._groups)) as worker:
            looks = _looks(worker, load.values)
            incidents = worker.metric("anomaly_incidents_total")
            refused = worker.metric("anomaly_dead_letters_total") + worker.metric("anomaly_forwarded_total")
        if incidents or refused:
            self.remarks.append(
                f"{prefix}: {incidents:g} incidents, {refused:g} messages refused or forwarded"
            )
        steady = [look for look in looks if WARM_UP * load.values <= look[0] < load.values]
        (first, began), *_, (last, ended) = steady if len(steady) > 1 else looks
        return (last - first) / (ended - began)

    def _reference(self, name: str, topics: Topics, values: int) -> float:
        flags = ["--bootstrap-servers", self._broker.bootstrap_servers, "--topic", topics.telemetry]
        flags += ["--group", next(self._groups), "--values", str(values)]
        with Program(self._folder, f"benchmarks.reference.{name}", *flags) as program:
            output = program.output(LONGEST_SECONDS)
        measured = json.loads(output.splitlines()[-1])
        rate: float = measured["values"] / measured["cpu_seconds"]
        return rate


def _looks(worker: Worker, total: int) -> list[tuple[float, float]]:
    """(values judged, CPU-seconds) again and again, until all `total` values are judged."""
    deadline = time.monotonic() + LONGEST_SECONDS
    looks = [(0.0, 0.0)]  # a topic judged before the first look is measured from the process's start
    while looks[-1][0] < total:
        if worker.process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"the worker judged {looks[-1][0]:,.0f} of {total:,} values: {worker.last_words}"
            )
        looks.append((worker.metric("anomaly_values_total"), worker.cpu_seconds()))
        time.sleep(LOOK_SECONDS)
    return looks


def _rows(rates: dict[str, list[float]]) -> list[Row]:
    def rate(name: str, of: str, at_least: float | None = None) -> Row:
        return row(name, median(rates[of]), UNIT, at_least=at_least, note=_spread(rates[of]))

    def ratio(name: str, to: str, at_least: float) -> Row:
        ratios = [mine / other for mine, other in zip(rates["worker"], rates[to], strict=True)]
        return row(name, median(ratios), "ratio", at_least=at_least, note=_spread(ratios))

    return [
        rate("throughput_1k", "worker", 20e6),
        rate("throughput_8k", "wide", 40e6),
        rate("throughput_plain_aiokafka", "plain"),
        rate("throughput_stock_agent", "stock"),
        rate("throughput_json_river", "json"),
        ratio("vs_plain_aiokafka", "plain", 0.5),
        ratio("vs_stock_agent", "stock", 2.5),
        ratio("vs_json_river", "json", 100),
    ]


def _spread(figures: list[float]) -> str:
    return f"median of {len(figures)}, {shown(min(figures))} to {shown(max(figures))}"
