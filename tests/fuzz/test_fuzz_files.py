"""Damaged files to replay: a clear error that names the file, or transitions. Nothing else."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anomaly.errors import ReplayFileError
from anomaly.monitor.limits import Limits
from anomaly.replay.run import Replay
from tests.fuzz.messages import INTEGERS, NUMBERS, STEPS, WRONG
from tests.fuzz.names import name

HEADER = [
    "run",
    "step",
    "rank",
    "time",
    "session",
    "sequence",
    "layer",
    "events",
    "tags",
    "place",
    "fork",
    "loss",
    "x",
]


def rows(rng: random.Random) -> list[list[Any]]:
    """A file in long form, with a cell here and there of no sense."""
    found: list[list[Any]] = []
    for step in range(rng.randrange(1, 60)):
        layers = ("", "a", name(rng))[: rng.randrange(1, 4)]
        found += [
            ["r", step, 0, 1e9 + step, 7, step, layer, "[]", "{}", None, None, 2.0, 1.0] for layer in layers
        ]
    for _ in range(rng.randrange(3)):
        row, column = rng.randrange(len(found)), rng.randrange(len(HEADER))
        found[row][column] = rng.choice(
            (name(rng), *rng.choice((NUMBERS, STEPS, INTEGERS, WRONG)), '[{"kind":"finished"}]')
        )
    return found


def csv_of(table: list[list[Any]], rng: random.Random) -> bytes:
    out = io.StringIO()
    header = [name(rng) if rng.random() < 0.02 else each for each in HEADER]
    csv.writer(out).writerows([header, *table])
    return out.getvalue().encode(errors="surrogatepass")


def parquet_of(table: list[list[Any]], rng: random.Random) -> bytes:
    columns: dict[str, pa.Array] = {}
    for at, column in enumerate(HEADER):
        cells = [row[at] for row in table]
        try:
            columns[column] = pa.array(cells)
        except (pa.ArrowException, OverflowError, UnicodeEncodeError):
            columns[column] = pa.array([repr(cell) for cell in cells])
        if pa.types.is_struct(columns[column].type):  # Parquet has none without fields
            del columns[column]
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, compression=rng.choice(("none", "snappy", "zstd")))
    return out.getvalue()


def damaged(payload: bytes, rng: random.Random) -> bytes:
    """As it is, cut, or with bytes changed."""
    how = rng.randrange(3)
    if how == 1:
        return payload[: rng.randrange(len(payload))]
    changed = bytearray(payload)
    for _ in range(rng.randrange(1, 4) if how == 2 else 0):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.filterwarnings("error")
def test_a_damaged_file_gives_transitions_or_a_clear_error(form: str, tmp_path: Path) -> None:
    rng, told = random.Random(form), 0
    for number in range(400):
        path = tmp_path / f"{number}.{form}"
        path.write_bytes(damaged((csv_of if form == "csv" else parquet_of)(rows(rng), rng), rng))
        try:
            for transition in Replay(Limits(series_per_run=1000)).transitions([path]):
                transition.encode()
        except ReplayFileError as error:
            told += 1
            problem = str(error)
            if not problem.startswith(str(path)) or len(problem) > 2000:
                raise
        path.unlink()
    assert 50 < told < 390
