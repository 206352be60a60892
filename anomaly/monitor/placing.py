"""The values of a record in the order of its run's slots; a layout with new series makes room for them first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anomaly.monitor.context import note_trained
from anomaly.monitor.limits import Limits
from anomaly.monitor.series import Placement, SeriesTable
from anomaly.monitor.state import RunState
from anomaly.records import Layout

MOST_NOTED = 32
"""Growths; a run that changes what it trains more often, as two players in turns do, has it for a habit."""


def placed(state: RunState, layout: Layout, limits: Limits) -> Placement:
    """The layout's way into the run's slots; new series get theirs."""
    may_grow = state.growths < limits.layouts_per_run
    series, layers = limits.series_per_run if may_grow else 0, limits.layers_per_run
    placement = state.table.place(layout, series, layers)
    if placement is None:
        state.growths += 1
        table = state.table.larger(layout, series, layers)
        new = table.profiles[state.table.slots :]
        state.slab.grow(new)
        if state.owners is not None:
            state.owners = np.append(state.owners, np.full(len(new), -1, np.int32))
        was, state.table = state.table.trainable, table
        others = np.flatnonzero((was >= 0) & (table.trainable[: len(was)] != was))
        if len(others) and state.growths <= MOST_NOTED:
            note_trained(state, others)
        placement = table.place(layout, series, layers)
        assert (
            placement is not None
        )  # a table that has just made room for the layout has all that it may have
    return placement


def in_slots(table: SeriesTable, placement: Placement, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """One record's values (float32 [layout.width]) in slot order, NOT_MEASURED where it has none."""
    if placement.direct:
        return values
    record = table.blank.copy()
    if placement.refused:
        kept = placement.index >= 0
        record[placement.index[kept]] = values[kept]
    else:
        record[placement.index] = values
    return record
