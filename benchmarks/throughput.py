"""Values per CPU-second: a real worker, and the reference programs, each reading the same filled topic alone.

A worker's CPU time and its count of judged values are looked at a few times a second, and the figure is the slope
between the first look after a fifth of the topic and the last before its end: start, compiling and waiting stay
outside, saving states and sending stay in. A reference program takes its own CPU time in the same way. Programs take
turns, round after round, and a ratio is taken within its round; the figure is the median of the rounds.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from anomaly.topics import Topics
from benchmarks.load import LAYER_SIGNALS, MODEL_SIGNALS, Load
from benchmarks.looks import cost
from benchmarks.processes import Program, Worker
from benchmarks.rows import Row, row, shown
from benchmarks.sections import Bench
from benchmarks.topics import fill, make_topic

UNIT = "values per CPU-second"
LONGEST_SECONDS = 120.0
LAYERS_1K = (1024 - len(MODEL_SIGNALS)) // len(LAYER_SIGNALS)
LAYERS_8K = (8192 - len(MODEL_SIGNALS)) // len(LAYER_SIGNALS)
RATES = {
    "throughput_1k": "worker",
    "throughput_8k": "wide",
    "throughput_1k_8_steps": "steps",
    "throughput_plain_aiokafka": "plain",
    "throughput_stock_agent": "stock",
    "throughput_json_river": "json",
}
"""The program that each row is the rate of."""
RATIOS = {
    "vs_plain_aiokafka": ("worker", "plain", "1,024-value records"),
    "vs_stock_agent": ("worker", "stock", "1,024-value records"),
    "vs_json_river": ("wide", "json", "8,192-value steps"),
    "vs_json_river_1k": ("worker", "json", "1,024-value records against 8,192-value steps as JSON"),
}
"""The programs that each row compares, and on what."""
NAMES = (*RATES, *RATIOS)


@dataclass(frozen=True)
class Scale:
    """How much is measured. The stock agent and the JSON design read less, because they take longer."""

    rounds: int
    narrow: Load
    wide: Load
    steps: Load
    json: Load
    stock_share: float


FULL = Scale(
    rounds=3,
    narrow=Load(LAYERS_1K, runs=100, steps=800),
    wide=Load(LAYERS_8K, runs=16, steps=750),
    steps=Load(LAYERS_1K, runs=100, steps=800, steps_a_message=8),
    json=Load(LAYERS_8K, runs=2, steps=75),
    stock_share=0.4,
)
QUICK = Scale(
    rounds=1,
    narrow=Load(LAYERS_1K, runs=50, steps=120),
    wide=Load(LAYERS_8K, runs=8, steps=100),
    steps=Load(LAYERS_1K, runs=50, steps=120, steps_a_message=8),
    json=Load(LAYERS_8K, runs=1, steps=10),
    stock_share=0.5,
)


def measure(bench: Bench) -> list[Row]:
    """See `Throughput`."""
    return Throughput(bench, QUICK if bench.quick else FULL).rows()


class Throughput:
    """The measurements on one broker."""

    def __init__(self, bench: Bench, scale: Scale) -> None:
        self._bench = bench
        self._scale = scale
        self._groups = (f"bench-group-{number}" for number in itertools.count())
        self._filled: set[str] = set()
        self._programs: dict[str, Callable[[], float]] = {
            "worker": lambda: self._worker("bench-1k", scale.narrow),
            "plain": lambda: self._reference("plain_aiokafka", "bench-1k", scale.narrow),
            "stock": lambda: self._reference("stock_agent", "bench-1k", scale.narrow, scale.stock_share),
            "steps": lambda: self._worker("bench-steps", scale.steps),
            "json": lambda: self._reference("json_river", "bench-json", scale.json),
            "wide": lambda: self._worker("bench-8k", scale.wide),
        }

    def rows(self) -> list[Row]:
        """Let the programs that the wanted rows need take turns, then compare."""
        names = [name for name in NAMES if name in self._bench.wanted]
        needed = {RATES[name] for name in names if name in RATES}
        needed |= {program for name in names if name in RATIOS for program in RATIOS[name][:2]}
        rates: dict[str, list[float]] = {program: [] for program in needed}
        for _ in range(self._scale.rounds):
            for program, rate in self._programs.items():
                if program in needed:
                    rates[program].append(rate())
        return [_row(name, rates) for name in names]

    def _worker(self, prefix: str, load: Load) -> float:
        """Values per CPU-second of a worker that starts without any state."""
        self._fill(prefix, load)
        with Worker(self._bench.folder, self._bench.broker, prefix, next(self._groups)) as worker:
            values, seconds = cost([worker], load.values, LONGEST_SECONDS)
            incidents = worker.metric("anomaly_incidents_total")
            refused = worker.metric("anomaly_dead_letters_total") + worker.metric("anomaly_forwarded_total")
        if incidents or refused:
            self._bench.remarks.append(
                f"{prefix}: {incidents:g} incidents, {refused:g} messages refused or forwarded"
            )
        return values / seconds

    def _reference(self, name: str, prefix: str, load: Load, share: float = 1.0) -> float:
        topic = self._fill(prefix, load)
        flags = ["--bootstrap-servers", self._bench.broker.bootstrap_servers, "--topic", topic]
        flags += ["--group", next(self._groups), "--values", str(int(load.values * share))]
        with Program(self._bench.folder, f"benchmarks.reference.{name}", *flags) as program:
            output = program.output(LONGEST_SECONDS)
        measured = json.loads(output.splitlines()[-1])
        rate: float = measured["values"] / measured["cpu_seconds"]
        return rate

    def _fill(self, prefix: str, load: Load) -> str:
        """The telemetry topic of `prefix`, filled once."""
        topics = Topics(prefix)
        if prefix not in self._filled:
            self._filled.add(prefix)
            make_topic(self._bench.broker.bootstrap_servers, topics)
            messages = load.json() if load is self._scale.json else load.compact()
            fill(self._bench.broker.bootstrap_servers, topics.telemetry, messages)
        return topics.telemetry


def _row(name: str, rates: dict[str, list[float]]) -> Row:
    if name in RATES:
        return row(name, median(rates[RATES[name]]), UNIT, spread(rates[RATES[name]]))
    one, other, what = RATIOS[name]
    ratios = [mine / theirs for mine, theirs in zip(rates[one], rates[other], strict=True)]
    return row(name, median(ratios), "ratio", f"{what}; {spread(ratios)}")


def spread(figures: list[float]) -> str:
    """How far the rounds lie apart, for a note."""
    return f"median of {len(figures)}, {shown(min(figures))} to {shown(max(figures))}"
