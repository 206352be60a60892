"""Writing small files for replay, and reading them back as messages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anomaly.records import NOT_MEASURED_BITS, StepMessage
from anomaly.replay.pieces import FileReader
from anomaly.replay.records import RecordReader


def parquet(path: Path, row_group_rows: int = 1 << 20, **columns: Any) -> Path:
    """Write `columns` (lists or Arrow arrays) as Parquet."""
    pq.write_table(pa.table(columns), path, row_group_size=row_group_rows)
    return path


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def messages(*paths: Path, rows_a_piece: int = 16_384) -> list[StepMessage]:
    files = FileReader(rows_a_piece)
    records = RecordReader(files)
    found: list[StepMessage] = []
    for path in paths:
        for piece in files.pieces(path):
            found += records.feed(piece)
    return found + list(records.close())


def value(message: StepMessage, signal: str, layer: str | None = None) -> float | None:
    """One value of a record; None where it was not measured."""
    layout = message.layout
    assert layout is not None
    if layer is None:
        if signal not in layout.model_signals:
            return None
        at = layout.model_signals.index(signal)
    else:
        if signal not in layout.signals or layer not in layout.layers:
            return None
        at = (
            len(layout.model_signals)
            + layout.layers.index(layer) * len(layout.signals)
            + layout.signals.index(signal)
        )
    if message.values.view(np.uint32)[0, at] == NOT_MEASURED_BITS:
        return None
    return float(message.values[0, at])


def series(found: Sequence[StepMessage], signal: str, layer: str | None = None) -> list[float | None]:
    return [value(message, signal, layer) for message in found]


def steps(found: Sequence[StepMessage]) -> list[int]:
    return [message.steps[0] for message in found]
