"""What a seed draws. The draw is exact; when the operating system lets which process run is not, which is the point."""

from __future__ import annotations

import random

import msgspec

from tests.chaos.faults import FAULTS

LAYERS_OF_KIB = {12: 32, 77: 256, 300: 1024, 600: 2048, 2100: 6900}
"""Layers of four signals that make a run's state about this large."""
PRODUCTION_SECONDS = 7.0
STATE_KIB = 6000
"""All runs of a scenario together, about."""


class RunPlan(msgspec.Struct, frozen=True):
    """One run: quiet save for `fault` from the step `at` on."""

    name: str
    layers: int
    json: bool = False
    fault: str = ""
    at: int = 0
    parent: str = ""
    """The run that this one forked from at its beginning; empty for most."""


class ProducerPlan(msgspec.Struct, frozen=True):
    """One producing process."""

    library: str
    """``aiokafka`` or ``confluent``: whose default partitioner decides."""
    runs: tuple[RunPlan, ...]
    rank: int = 0
    seed: int = 0
    steps: int = 100
    pace_seconds: float = 0.07
    steps_per_message: int = 1
    checkpoint_every: int = 15
    resume_event: bool = True
    duplicates: bool = False
    """Every seventh message is sent twice."""
    seconds_late: float = 0.0
    """How far its clock is behind, in records and in Kafka's timestamps."""
    delay_seconds: float = 0.0


class PlannedFault(msgspec.Struct, frozen=True):
    """`name` of `faults.FAULTS`, this many seconds after production began."""

    at: float
    name: str


class Scenario(msgspec.Struct, frozen=True):
    """Everything that a seed decides."""

    seed: int
    brokers: int
    partitions: int
    state_kib: int
    producers: tuple[ProducerPlan, ...]
    workers: int
    snapshot_seconds: float
    faults: tuple[PlannedFault, ...]
    unreachable_at_start: bool = False
    traits: tuple[str, ...] = ()
    """What is odd about the input, for the table."""

    @property
    def clocks_jump(self) -> bool:
        """Whether the workers' clock can be moved."""
        return any(fault.name == "clock_jump" for fault in self.faults)


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    chance = random.Random(seed)
    brokers = 3 if chance.random() < 0.4 else 1
    state_kib = chance.choice((12, 77, 77, 300, 300, 600, 2100))
    traits = tuple(name for name in TRAITS if chance.random() < TRAITS[name])
    runs = _runs(chance, state_kib, "fork" in traits)
    producers = _producers(chance, seed, runs, traits)
    return Scenario(
        seed=seed,
        brokers=brokers,
        partitions=chance.choice((3, 4, 8)),
        state_kib=state_kib,
        producers=producers,
        workers=chance.choice((1, 2, 2)),
        snapshot_seconds=chance.choice((0.3, 0.5, 1.0)),
        faults=_faults(chance),
        unreachable_at_start=chance.random() < 0.1,
        traits=traits,
    )


TRAITS = {
    "duplicates": 0.2,
    "an hour late": 0.15,
    "clocks apart": 0.15,
    "two jobs": 0.15,
    "fork": 0.25,
}
"""How often each happens."""


def _runs(chance: random.Random, state_kib: int, fork: bool) -> tuple[RunPlan, ...]:
    count = max(3, min(24, STATE_KIB // state_kib))
    runs = []
    for number in range(count):
        fault = ("nan", "jump", "")[number % 3]
        runs.append(
            RunPlan(f"run-{number}", LAYERS_OF_KIB[state_kib], fault=fault, at=chance.randint(25, 75))
        )
    runs += [
        RunPlan(f"json-{number}", 6, json=True, fault="nan", at=chance.randint(10, 75)) for number in range(3)
    ]
    if fork:
        runs.append(RunPlan("fork-0", LAYERS_OF_KIB[state_kib], fault="jump", at=60, parent="run-0"))
    return tuple(runs)


def _producers(
    chance: random.Random, seed: int, runs: tuple[RunPlan, ...], traits: tuple[str, ...]
) -> tuple[ProducerPlan, ...]:
    first = ProducerPlan(
        library=chance.choice(("aiokafka", "confluent")),
        runs=runs,
        seed=seed,
        pace_seconds=PRODUCTION_SECONDS / 100,
        steps_per_message=chance.choice((1, 1, 4)),
        resume_event=chance.random() < 0.5,
        duplicates="duplicates" in traits,
        seconds_late=3600.0 if "an hour late" in traits else 0.0,
    )
    producers = [first]
    if "clocks apart" in traits:
        producers.append(msgspec.structs.replace(first, rank=1, seconds_late=-300.0))
    if "two jobs" in traits:
        other = "aiokafka" if first.library == "confluent" else "confluent"
        producers.append(
            msgspec.structs.replace(
                first, library=other, runs=runs[:2] + runs[-1:], seed=seed + 1, steps=40, delay_seconds=2.0
            )
        )
    return tuple(producers)


def _faults(chance: random.Random) -> tuple[PlannedFault, ...]:
    names = chance.sample(list(FAULTS), k=chance.choice((1, 1, 2, 2, 3)))
    return tuple(PlannedFault(round(chance.uniform(0.5, PRODUCTION_SECONDS), 2), name) for name in names)
