"""A run's records as the long form that replay reads: a row for the whole model, then one for each layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from anomaly.records import NOT_MEASURED_BITS, Layout
from benchmarks.detection.plan import Plan
from benchmarks.detection.trace import START, Reported, Sent

Records = list[tuple[Reported, Sent]]


def table_of(plan: Plan, records: Records) -> pa.Table:
    """Every logged record's rows. Layers without any value, and columns without any, are left out."""
    values = _Values(plan, records)
    kept, events = _logged(plan, records)
    measured = values.bits[kept] != NOT_MEASURED_BITS
    rows = measured.any(2)
    rows[:, 0] = True
    record, layer = np.nonzero(rows)
    logged = [records[at] for at in kept]
    run = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(len(record), dtype=np.int32)), pa.array([plan.run])
    )
    columns: dict[str, pa.Array] = {
        "run": run,
        "step": pa.array(np.array([sent.step for _, sent in logged], dtype=np.int64)[record]),
        "rank": pa.array(np.array([one.session.rank for one, _ in logged], dtype=np.int32)[record]),
        **_once(plan, logged, events, record, layer == 0),
        "layer": pa.DictionaryArray.from_arrays(
            pa.array(layer.astype(np.int32)), pa.array(["", *values.layers])
        ),
        "trainable": _trainable(values.layers, logged, record, layer),
        "dtype": _dtypes(values.layers, logged, record, layer),
    }
    floats = values.bits[kept].view(np.float32)
    for at, name in enumerate(values.signals):
        if measured[:, :, at].any():
            columns[name] = pa.array(floats[:, :, at][rows], mask=~measured[:, :, at][rows])
    return pa.table(columns)


def write(table: pa.Table, path: Path) -> None:
    """Write it whole or not at all."""
    part = path.with_suffix(".part")
    pq.write_table(table, part, compression="zstd", compression_level=9)
    part.replace(path)


class _Values:
    """All values: ``bits`` are float32 as uint32, of shape (records, 1 + layers, signals), the whole model first."""

    def __init__(self, plan: Plan, records: Records) -> None:
        self.layers, self.signals = _layer_order(records), _signal_order(records)
        self._column = {name: at for at, name in enumerate(self.signals)}
        self._places: dict[bytes, Any] = {}
        shape = (len(records), 1 + len(self.layers), len(self.signals))
        self.bits = np.full(shape, NOT_MEASURED_BITS, dtype=np.uint32)
        for at, (reported, sent) in enumerate(records):
            self._fill(self.bits[at].view(np.float32), reported, sent)
        rng = np.random.default_rng(plan.seed + 17)
        if plan.sharded:
            self._shard(np.array([one.session.rank for one, _ in records]), plan.ranks, rng)
        self._forget(plan, np.array([sent.step for _, sent in records]), rng)

    def _fill(self, out: NDArray[np.float32], reported: Reported, sent: Sent) -> None:
        layout, column = sent.layout, self._column
        model = [column[name] for name in layout.model_signals]
        out[0, model] = sent.row[: len(model)]
        if layout.layers:
            if layout.hash not in self._places:
                place = [1 + self.layers.index(name) for name in layout.layers]
                self._places[layout.hash] = np.ix_(place, [column[name] for name in layout.signals])
            out[self._places[layout.hash]] = sent.row[len(model) :].reshape(len(layout.layers), -1)
        for layer, signals in reported.layers.items():
            for name, value in signals.items():
                out[1 + self.layers.index(layer), column[name]] = value
        if reported.clip_coefficient is not None:
            out[0, column["clip_coef"]] = reported.clip_coefficient

    def _shard(self, ranks: NDArray[np.int64], world: int, rng: np.random.Generator) -> None:
        """Norms of the parts that each rank holds."""
        share = np.sqrt(rng.uniform(0.5, 1.5, (world, len(self.layers))) / world)
        for name in ("grad_norm", "weight_norm"):
            whole = self.bits[:, 1:, self._column[name]]
            part = (whole.view(np.float32) * share[ranks]).astype(np.float32).view(np.uint32)
            self.bits[:, 1:, self._column[name]] = np.where(whole == NOT_MEASURED_BITS, whole, part)

    def _forget(self, plan: Plan, steps: NDArray[np.int64], rng: np.random.Generator) -> None:
        """What the plan says is never, or not always, reported."""
        for name in plan.missing:
            if name in self._column:
                self.bits[:, :, self._column[name]] = NOT_MEASURED_BITS
        if plan.weights_every > 1:
            self.bits[steps % plan.weights_every != 0, 1:, self._column["weight_norm"]] = NOT_MEASURED_BITS
        if "layers" in plan.missing:
            self.bits[:, 1:] = NOT_MEASURED_BITS
        if plan.missing_share:
            lost = rng.random(self.bits.shape) < plan.missing_share
            lost[:, 0, self._column["loss"]] = False
            self.bits[lost] = NOT_MEASURED_BITS


def _logged(plan: Plan, records: Records) -> tuple[list[int], list[list[Any]]]:
    """Which records are logged, and their events: those of a record left out go with the next one of its rank."""
    kept: list[int] = []
    events: list[list[Any]] = []
    waiting: dict[int, list[Any]] = {}
    for at, (reported, sent) in enumerate(records):
        every = [every for start, every in plan.logging if sent.step >= start][-1]
        waiting.setdefault(reported.session.rank, []).extend(sent.events)
        if sent.step % every == 0:
            kept.append(at)
            events.append(waiting.pop(reported.session.rank))
    return kept, events


def _once(
    plan: Plan, logged: Records, events: list[list[Any]], record: NDArray[Any], head: NDArray[Any]
) -> dict[str, pa.Array]:
    """Columns that stand in a record's first row only."""

    def spread(values: list[Any], kind: pa.DataType) -> pa.Array:
        padded = np.array([*values, None], dtype=object)
        return pa.array(padded[np.where(head, record, len(values))], kind)

    tags, places = _context(plan, logged)
    columns = {
        "events": spread([json.dumps(said) if said else None for said in events], pa.string()),
        "tags": spread(tags, pa.string()),
        "place": spread(places, pa.string()),
    }
    if plan.sessions:
        columns["session"] = spread([one.session.number + 1 for one, _ in logged], pa.int64())
        columns["sequence"] = spread([sent.sequence for _, sent in logged], pa.int64())
    if plan.timed:
        columns["time"] = spread(_times(logged), pa.float64())
    return columns


def _context(plan: Plan, logged: Records) -> tuple[list[str | None], list[str | None]]:
    """Tags and place, in the first record of each session."""
    tags: list[str | None] = []
    places: list[str | None] = []
    seen: set[int] = set()
    for reported, _ in logged:
        session = reported.session
        new = session.number not in seen
        seen.add(session.number)
        tags.append(json.dumps({"model": plan.model, "precision": plan.precision}) if new else None)
        place = {"world_size": session.world_size, "data": session.rank}
        places.append(json.dumps(place) if new and plan.ranks > 1 else None)
    return tags, places


def _times(logged: Records) -> list[float]:
    """Each rank's clock: the sum of what its steps took."""
    now: dict[int, float] = {}
    times = []
    for reported, sent in logged:
        rank = reported.session.rank
        seconds = float(sent.row[sent.layout.model_signals.index("step_seconds")])
        now[rank] = now.get(rank, START) + seconds
        times.append(now[rank])
    return times


def _trainable(layers: list[str], logged: Records, record: NDArray[Any], layer: NDArray[Any]) -> pa.Array:
    """The layout's mask; null where a row is no layer of the hook's."""
    flat = _of_layouts(layers, logged, [sent.layout.trainable or () for _, sent in logged])[record, layer]
    return pa.array(flat == 1, mask=flat < 0)


def _dtypes(layers: list[str], logged: Records, record: NDArray[Any], layer: NDArray[Any]) -> pa.Array:
    """The dtypes of the layout's weights; null where a row is no layer of the hook's."""
    names = sorted({name for _, sent in logged for name in sent.layout.dtype or ()})
    said = [tuple(map(names.index, sent.layout.dtype or ())) for _, sent in logged]
    flat = _of_layouts(layers, logged, said)[record, layer]
    return pa.DictionaryArray.from_arrays(
        pa.array(flat.astype(np.int32), mask=flat < 0), pa.array(names, pa.string())
    )


def _of_layouts(layers: list[str], logged: Records, said: list[tuple[int, ...]]) -> NDArray[np.int8]:
    """What each record's layout says of its layers: int8 [records, 1 + layers], -1 where it says nothing."""
    rows: dict[bytes, NDArray[np.int8]] = {}
    known = []
    for (_, sent), values in zip(logged, said, strict=True):
        if sent.layout.hash not in rows:
            row = np.full(1 + len(layers), -1, dtype=np.int8)
            if values:
                row[[1 + layers.index(name) for name in sent.layout.layers]] = values
            rows[sent.layout.hash] = row
        known.append(rows[sent.layout.hash])
    return np.stack(known)


def _layer_order(records: Records) -> list[str]:
    """The hook's layers in forward order; a block's own row comes before its first layer."""
    order = list(dict.fromkeys(name for layout in _layouts(records) for name in layout.layers))
    known = set(order)
    for reported, _ in records:
        for name in reported.layers:
            if name not in known:
                known.add(name)
                inside = [at for at, other in enumerate(order) if other.startswith(f"{name}.")]
                order.insert(inside[0] if inside else len(order), name)
    return order


def _signal_order(records: Records) -> list[str]:
    layouts = _layouts(records)
    names = dict.fromkeys(name for layout in layouts for name in layout.model_signals)
    if any(reported.clip_coefficient is not None for reported, _ in records):
        names["clip_coef"] = None
    names |= dict.fromkeys(name for layout in layouts for name in layout.signals)
    for reported, _ in records:
        for signals in reported.layers.values():
            names |= dict.fromkeys(signals)
    return list(names)


def _layouts(records: Records) -> list[Layout]:
    return list({sent.layout.hash: sent.layout for _, sent in records}.values())
