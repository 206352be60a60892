"""One admitted step record of one rank: judged on every path, then learned; what comes of it goes into the book.

Hard rules see every rank. Charts take each series from the lowest live rank that reports it (`owners`). Everybody's
values wait for the comparison of the ranks of that step.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import isfinite

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.open_incident import Moment
from anomaly.incidents.transition import Severity, Transition
from anomaly.monitor import context as explained
from anomaly.monitor.charts import chart_alarms
from anomaly.monitor.comparisons import compare
from anomaly.monitor.explanation import considered
from anomaly.monitor.leaps import note_leaps
from anomaly.monitor.limits import Watch
from anomaly.monitor.losses import loss_alarms
from anomaly.monitor.noise import gradient_alarms
from anomaly.monitor.nonfinite import nonfinite_alarm, nonfinite_slots
from anomaly.monitor.odd_losses import out_of_range_alarms
from anomaly.monitor.owners import are_several, owned, whole_reading
from anomaly.monitor.peers import due_steps, missing_ranks, wait_for_peers
from anomaly.monitor.recent import LEAST_PACKED
from anomaly.monitor.rounded import stands_by_rounding, sure_zeros
from anomaly.monitor.rules import last_good_step, lr_alarms, zero_alarms
from anomaly.monitor.state import PendingStep, RankState, RunState, SlotRecord
from anomaly.monitor.stillness import is_due, stillness_alarms
from anomaly.monitor.survey import note_reading, survey
from anomaly.monitor.symptoms import symptoms
from anomaly.monitor.watches import watch_alarms
from detectors.rows import Flag

_NONFINITE, _ALARM = (
    int(Flag.NONFINITE),
    int(Flag.ALARM | Flag.SUSPECT),
)  # plain integers: an enum's & costs a microsecond
_ZERO, _NEGATIVE = int(Flag.ZERO), int(Flag.NEGATIVE)


def judge(
    state: RunState,
    number: int,
    rank: RankState,
    record: SlotRecord,
    values: NDArray[np.float32],
    watches: tuple[Watch, ...] = (),
    charted_flags: int | None = None,
) -> list[Transition]:
    """Judge one record (`values` float32 [slots]) of rank `number`, which is in `rank.attempt` by now.

    `charted_flags` are those of the slab, where it has judged the record already.
    """
    current = rank.attempt == state.attempt
    newest = current and (state.newest_step is None or record.step > state.newest_step)
    if newest:
        state.newest_step = record.step
        state.readings += 1
    explained.note_events(state, record.events, record.step)
    moment = state.moment(record)
    alarms: list[Alarm] = []
    charted = values if state.owners is None else owned(state, number, rank, values, current, record.step)
    flags = _NONFINITE
    steps = rank.stands_for(record.step)
    whole = charted is not None and not are_several(state)
    if charted is not None:
        flags = _chart(state, charted, whole, moment, steps, alarms, charted_flags)
        if watches:
            alarms += watch_alarms(state, watches, charted, moment)
    looked_at_all = charted is values and not len(state.table.count_slots)
    if (flags & _NONFINITE or not looked_at_all) and len(bad := nonfinite_slots(values, state.table)):
        alarms.insert(0, nonfinite_alarm(state, values, bad, moment, number))
    elif newest:
        state.context.nonfinite_step = None
    if current and state.multiple_ranks:
        waiting = wait_for_peers(state, number, record.step, values)
        if whole:
            waiting.read = number
        alarms += _of_steps(state, due_steps(state, number), moment, steps)
    further: list[Alarm] = []
    if charted is not None and (alarms or state.book.open):
        further = symptoms(state, alarms, moment)  # of this record: the slab's verdicts are
    if alarms and state.table.contested:
        alarms = [_remark(alarm) for alarm in alarms]
    transitions = _booked(state, alarms + further, moment)
    if newest:
        state.recent.append(max(record.step * 2 + (not alarms), LEAST_PACKED))
    if flags & _NEGATIVE and charted is not None:
        _chart_signed(state, charted)  # last: from here on the run has another table
    if state.context.outcome is not None:
        transitions += state.book.resolve_all(state.run, moment)
    return transitions


def _chart(
    state: RunState,
    values: NDArray[np.float32],
    whole: bool,
    moment: Moment,
    steps: float,
    alarms: list[Alarm],
    flags: int | None,
) -> int:
    """Add what the history of the series says of these values, which stand for so many steps; learn them.

    whole: they are all of their reading.  Returns the slab's flags.
    """
    model = model_values(state, values)
    alarms += lr_alarms(state, model, moment)
    offset = explained.lr_offset(state, model.get("lr"))
    explained.note_values(state, model)
    if flags is None:
        flags = state.slab.judge(values, explained.caution(state), offset, state.age, steps)
    of_one: list[Alarm] = []
    if whole:
        of_one = gradient_alarms(state, values, moment, steps)
        note_leaps(state, state.readings, steps)
    if flags & _ZERO:
        alarms += zero_alarms(state, sure_zeros(state, values), state.context.lr, moment)
    if flags & _ALARM:
        alarms += chart_alarms(state, moment, steps)
    alarms += of_one
    if whole:
        alarms += _of_reading(state, values, model, moment, steps)
    if flags & _NEGATIVE and model.get("loss", 0.0) < 0:
        alarms += out_of_range_alarms(state, model["loss"], moment)
    return flags


def _of_reading(
    state: RunState, values: NDArray[np.float32], model: dict[str, float], moment: Moment, steps: float
) -> list[Alarm]:
    """What a whole reading says beside others in a row; `model` are its whole-model values."""
    alarms = loss_alarms(state, model, moment, steps)
    if is_due(state, values):
        found = stillness_alarms(state, values, moment)
        alarms += [alarm for alarm in found if not stands_by_rounding(state, values, alarm)]
    note_reading(state, model, moment.step)
    return alarms + survey(state, moment, steps)


def _of_steps(state: RunState, due: list[PendingStep], moment: Moment, steps: float) -> list[Alarm]:
    """What the ranks of the steps that are due say of each other, and together where each has a part of the series."""
    alarms: list[Alarm] = []
    for pending in due:
        alarms += compare(state, pending)
        values = whole_reading(state, pending) if are_several(state) else None
        if values is not None:
            model, then = model_values(state, values), msgspec.structs.replace(moment, step=pending.step)
            alarms += gradient_alarms(state, values, then, steps)
            note_leaps(state, state.history.seen, steps)
            alarms += _of_reading(state, values, model, then, steps)
    return alarms + missing_ranks(state, moment) if due else alarms


def model_values(state: RunState, values: NDArray[np.float32]) -> dict[str, float]:
    """The measured, finite whole-model values that are looked at one by one, by signal."""
    item = values.item
    measured = {}
    for name, slot in state.table.explaining_slots:
        value = item(slot)
        if isfinite(value):
            measured[name] = value
    return measured


def _remark(alarm: Alarm) -> Alarm:
    """The alarm, no more than a remark if it is of a loss, or of what may be one's part."""
    of_loss = KINDS[alarm.kind].family == "loss" or alarm.kind == "series_shift"
    return replace(alarm, severity=Severity.INFO) if of_loss else alarm


def _booked(state: RunState, alarms: list[Alarm], moment: Moment) -> list[Transition]:
    if not alarms and not state.book.open:
        return []
    alarms.sort(key=lambda alarm: -alarm.severity.rank)  # stable: within a severity the cause stays first
    because = considered(state, moment) if alarms else ()
    return state.book.take(state.run, alarms, moment, partial(last_good_step, state), because)


def _chart_signed(state: RunState, values: NDArray[np.float32]) -> None:
    """A loss that is negative is not a magnitude: chart it anew, on a linear scale."""
    for name in ("loss", "eval_loss"):
        slot = state.table.model_slots.get(name)
        if slot is not None and values[slot] < 0:
            grown = state.table.charted_as(slot, "signed_loss")
            state.slab.grow(grown.profiles[state.table.slots :])
            if state.owners is not None:
                state.owners = np.append(state.owners, state.owners[slot])
            state.table = grown
