"""Damaged snapshots: refused as such, or restored into a state that goes on and can be saved. Nothing else."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from anomaly.errors import SnapshotError
from anomaly.monitor import PartitionMonitor, snapshot
from tests.fuzz.messages import INTEGERS, NUMBERS, WRONG
from tests.fuzz.noise import Noise
from tests.monitor.logs import Record, healthy


def good() -> list[bytes]:
    """Snapshots of runs with ranks, incidents, waiting records, a fork's marks and hostile names."""
    monitor, noise = PartitionMonitor(0, 1), Noise(3, largest=300)
    for at in range(800):
        sent = noise.draw()
        monitor.process([Record(at, sent.value)])
    for step in range(40):
        for rank in (0, 1):
            record = {
                **healthy(step),
                "run": "ranks",
                "rank": rank,
                "loss": float("nan") if step == 30 else 2.0,
            }
            monitor.process([Record(1000 + 2 * step + rank, json.dumps(record).encode())])
    return [snapshot.dump(state) for state in monitor.runs.values() if state.readings]


GOOD = good()


def damaged(payload: bytes, rng: random.Random) -> bytes:
    """Bits flipped, cut, spliced, or a field at any depth gone, of another type or of another value."""
    how = rng.randrange(6)
    if how == 0:
        return payload[: rng.randrange(len(payload))]
    if how == 1:
        other = rng.choice(GOOD)
        return payload[: rng.randrange(len(payload))] + other[rng.randrange(len(other)) :]
    if how == 2:
        bits = bytearray(payload)
        for _ in range(rng.randrange(1, 6)):
            bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
        return bytes(bits)
    fields = msgspec.msgpack.decode(payload, strict=False)
    for _ in range(rng.randrange(1, 3)):
        _change(fields, rng)
    return msgspec.msgpack.encode(fields)


def _change(fields: Any, rng: random.Random) -> None:
    keys = list(fields) if isinstance(fields, dict) else list(range(len(fields)))
    if not keys:
        return
    key = rng.choice(keys)
    inner = fields[key]
    if isinstance(inner, dict | list) and inner and rng.random() < 0.7:
        _change(inner, rng)
    elif isinstance(inner, bytes) and rng.random() < 0.7:
        fields[key] = inner[: rng.randrange(len(inner) + 1)] + rng.randbytes(rng.choice((0, 4, 8, 64)))
    elif rng.random() < 0.3:
        del fields[key]
    else:
        value = rng.choice(rng.choice((NUMBERS, INTEGERS, WRONG)))
        fields[key] = 7 if isinstance(value, int) and not -(2**63) <= value < 2**64 else value


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_snapshot_is_refused_or_goes_on(seed: int) -> None:
    rng, refused = random.Random(seed), 0
    for _ in range(1500):
        payload = damaged(rng.choice(GOOD), rng)
        try:
            state = snapshot.load(payload)
        except SnapshotError:
            refused += 1
            continue
        monitor = PartitionMonitor(0, 1, runs={state.run: state})
        for step in range(3):
            record = {**healthy(step), "run": state.run, "step": (state.newest_step or 0) // 10**6 + step + 1}
            monitor.process([Record(2**40 + step, json.dumps(record).encode())])
        for restored in monitor.runs.values():
            snapshot.dump(restored)
    assert 300 < refused < 1450
