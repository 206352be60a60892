"""The ranks of one step against each other: replicas that no longer agree, a rank that stands out, a straggler.

Only ranks in equal places are compared: a shard differs from other shards for ever. Of one rank's findings the one
nearest to a cause is told: its batch, else what a layer makes of it, else its gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly.incidents.alarm import Alarm, alarm_of
from anomaly.incidents.transition import MAX_EVIDENCE, Evidence
from anomaly.monitor.context import caution
from anomaly.monitor.owners import note_stages
from anomaly.monitor.peer_columns import Columns, Compared, Floats, columns_of
from anomaly.monitor.replicas import replica_alarms
from anomaly.monitor.standing_out import far_behind, far_larger, in_a_row
from anomaly.monitor.state import PendingStep, RunState
from anomaly.records import step_number
from detectors.levels import BUDGET
from detectors.peers import PeerChart, PeerVerdict, peer_levels

MAX_PAIRS = 1 << 15
"""Of ranks and columns in a chart; beyond, only whole-model columns are compared."""
PEER_BUDGET = 0.1 * BUDGET
"""False warnings per million steps that comparing ranks is designed for, where the budget is the default one."""
MUCH_LESS = 1.0 / 3.0
"""A rank that is out by less than this share of another is out because the other is."""
FAR = 2.0
"""Times the bar that a first layer must be out by where the loss says nothing, …"""
FAR_EFFECT = 0.5
"""… and log2 units: by 40 %."""
ALONG = 0.4
"""Of the bar of a single reading: what a rank's loss must pass where what a layer makes of its batch passes its own."""
LOSSES_IN_A_ROW = 4
LASTING_LOSS = 1.0 / 3.0
"""Of the bar of a single reading: what each of so many must pass, where the chart of them all alarms."""
STRAGGLER_EFFECT = 0.15
"""log2: a rank is 11 % slower than it usually is among its peers before it is a straggler."""
LEAST_WAIT = 0.1
"""Of the ranks' step time: a rank that waits for its data by less than that longer holds nobody up."""
DOUBLED = 1.0
"""log2: gradients of a rank that differ by less from where they usually stand are nobody's concern."""
SMALLER_CAUTION, SHARDS_CAUTION = 2.5, 2.5
"""A rank whose samples are all learned has next to no gradient; norms of shards, each of other weights, drift apart."""
SHARDS_APART = 1e-3
"""Of a weights' norm: replicas have the same."""
PAIR_CAUTION, PAIR_EFFECT = 1.8, 0.15
"""Of two ranks nobody knows how wild they are just now; and how far apart, log2, they must be at the least."""
YOUNG, YOUNG_FROM = 20.0, 8.0
"""Readings, as in the slab's evidence."""
WILDER = 1.2
"""Times what calm ranks have shown in a column, before a single reading of it counts."""
_KINDS = {Compared.GAIN: "residual_gain_outlier", Compared.GRADIENT: "rank_gradient_outlier"}


def compare(state: RunState, pending: PendingStep) -> list[Alarm]:
    """What the records that the ranks sent of one step say of each other."""
    numbers = sorted(pending.values)
    if len(numbers) < 2:
        return []
    stacked = np.stack([state.waiting_values(pending, pending.values[number]) for number in numbers])
    _note_world(state, numbers)
    note_stages(state, numbers, stacked)
    judged = _judged(state, numbers, stacked, pending.step)
    alarms = replica_alarms(state, numbers, stacked, pending.step)
    told: set[int] = set()
    gross = far_larger(state, numbers, judged.groups, judged.columns, judged.y, pending.step)
    gradients = _outliers(judged, Compared.GRADIENT) or gross
    for alarm in (_bad_batch(judged), _outliers(judged, Compared.GAIN), gradients):
        if alarm is not None and not told.intersection(alarm.ranks):
            alarms.append(alarm)
            told.update(alarm.ranks)
    return alarms + _stragglers(judged)


@dataclass(frozen=True, slots=True)
class _Judged:
    """The ranks of one step and the chart's verdict: arrays have one row a rank, in the order of `numbers`."""

    state: RunState
    numbers: list[int]
    stacked: NDArray[np.float32]
    step: int
    groups: list[NDArray[np.intp]]
    """Rows of the ranks in equal places."""
    columns: Columns
    y: Floats
    """The columns' values, log2, float64 [ranks, columns]."""
    verdict: PeerVerdict
    clip: float
    """Deviations that one reading must be out by to say anything."""


def _note_world(state: RunState, numbers: list[int]) -> None:
    """Ranks of another world hold other parts of the model and of the data."""
    places = (state.ranks[number].place for number in numbers)
    world = max((place.world_size or 0 for place in places if place), default=0) or len(state.ranks)
    if state.peer_runs.get("world") != [world]:
        state.peer_runs = {"world": [world]}
        if state.peer_chart is not None:
            state.peer_chart.restart()


def _groups(state: RunState, numbers: list[int]) -> list[NDArray[np.intp]]:
    """Rows of the ranks in equal places."""
    groups: dict[tuple[int | None, int | None], list[int]] = {}
    for at, number in enumerate(numbers):
        place, stage = state.ranks[number].place, state.ranks[number].stage
        groups.setdefault((place.tensor, place.pipeline) if place else (None, stage), []).append(at)
    return [np.array(rows, np.intp) for rows in groups.values()]


def _judged(state: RunState, numbers: list[int], stacked: NDArray[np.float32], step: int) -> _Judged:
    """Give the values to the chart, which is made where there is none that fits."""
    columns = columns_of(state.table, len(state.ranks), MAX_PAIRS)
    chart = state.peer_chart
    known = 0 if chart is None else len(chart.names)
    if chart is None or not np.array_equal(chart.names, columns.names[:known]):
        chart = state.peer_chart = PeerChart(columns.names, columns.floors)
    elif known < len(columns.names):
        chart.widen(columns.names[known:], columns.floors[known:])
    groups = _groups(state, numbers)
    pairs = len(numbers) * len(columns.names)
    evidence = caution(state) / state.slab.levels.gain("peers", slots=pairs)
    y = columns.logs(stacked)
    verdict = chart.judge(numbers, y, groups, step, PEER_BUDGET, evidence)
    clip = peer_levels(pairs, PEER_BUDGET)[1] * evidence
    return _Judged(state, numbers, stacked, step, groups, columns, y, verdict, clip)


def _outliers(judged: _Judged, compared: Compared) -> Alarm | None:
    """Ranks whose gradients (F45) or whose layers' gains (F19) leave their peers'.

    As in every chart, more is asked for while the run is young: how wild a few samples a rank are shows in time.
    """
    ratio, effect = judged.verdict.ratio, judged.verdict.effect
    needed, apart = np.full_like(ratio, _least(judged)), 0.0
    if len(judged.numbers) == 2:
        needed, apart = needed * PAIR_CAUTION, PAIR_EFFECT
    if compared is Compared.GRADIENT:
        apart = DOUBLED
        needed[ratio < 0] *= SMALLER_CAUTION
    of_these = (judged.columns.compared == compared) & (np.abs(effect) >= apart)
    out = of_these & (np.abs(ratio) >= needed)
    if compared is Compared.GRADIENT and _are_shards(judged, out):
        out &= np.abs(ratio) >= SHARDS_CAUTION * needed
    return _alarm(judged, _KINDS[compared], out)


def _are_shards(judged: _Judged, out: NDArray[np.bool_]) -> bool:
    """Whether ranks hold other weights, or gradients of other weights, each; asked where some pair is `out`.

    The first norms of weights that ranks in equal places reported tell, or one loss of all: what differs then is no
    rank's own gradient. Where no norm was reported, where their gradients stand does.
    """
    known = judged.state.peer_runs.get("shards") or _weights_apart(judged)
    if not out.any():
        return False
    if (known is not None and known[0]) or _share_a_loss(judged):
        return True
    chart = judged.state.peer_chart
    if known is not None or chart is None:
        return False
    of_layers = [at for at in judged.columns.of(Compared.GRADIENT) if judged.columns.layers[at] is not None]
    return chart.are_shards(np.array(of_layers, np.intp))


def _share_a_loss(judged: _Judged) -> bool:
    """Whether all ranks report the same loss, bit for bit."""
    slot = judged.state.table.model_slots.get("loss")
    if slot is None:
        return False
    losses = judged.stacked[:, slot]
    return bool(np.isfinite(losses[0]) and (losses == losses[0]).all())


def _weights_apart(judged: _Judged) -> list[int] | None:
    """[1] where the norms of weights that came now differ between ranks in equal places; remembered. None: none."""
    slots = judged.state.table.weight_slots
    if not len(slots):
        return None
    weights = judged.stacked[:, slots]
    with np.errstate(all="ignore"):
        apart = [np.ptp(weights[group], axis=0) / weights[group].max(axis=0) for group in judged.groups]
    measured = np.concatenate([each[np.isfinite(each)] for each in apart])
    if not len(measured):
        return None
    known = judged.state.peer_runs["shards"] = [int(np.median(measured) > SHARDS_APART)]
    return known


def _least(judged: _Judged) -> float:
    """The least ratio of a chart that counts."""
    return 1.0 + YOUNG / (judged.state.age + YOUNG_FROM)


def _bad_batch(judged: _Judged) -> Alarm | None:
    """F40: what the first layers make of a rank's batch is out in the very step in which the loss is.

    The loss is the rank's own, or the one of all ranks where they report that. Where it says nothing, being the loss
    of few samples, a first layer must be out by far; or the loss, for a while: layers may report too rarely.
    """
    columns, verdict = judged.columns, judged.verdict
    size = np.abs(verdict.z)
    bar = np.maximum(judged.clip, WILDER * verdict.wildest)
    of_batch = columns.compared == Compared.BATCH
    loss = columns.named("loss")
    if loss is not None:
        of_batch[loss] = False
    by_far = (size >= FAR * bar) & of_batch & (np.abs(verdict.effect) >= FAR_EFFECT)
    rows = by_far.any(axis=1)
    if loss is not None:
        spiked = (verdict.z[:, loss] >= ALONG * bar[loss]) | (verdict.swing[loss] >= judged.clip)
        rows |= spiked & ((size >= bar) & of_batch).any(axis=1)
        of_batch[loss] = True
    out = (size >= bar) & of_batch & rows[:, None]
    if loss is not None:
        high = np.flatnonzero(verdict.z[:, loss] >= LASTING_LOSS * bar[loss]).tolist()
        names = [judged.numbers[row] for row in high]
        lasting = in_a_row(judged.state, "loss", judged.numbers, names, LOSSES_IN_A_ROW)
        out[:, loss] |= np.isin(judged.numbers, lasting) & (verdict.ratio[:, loss] >= _least(judged))
    return _alarm(judged, "bad_batch", out)


def _stragglers(judged: _Judged) -> list[Alarm]:
    """Ranks whose own step, or wait for data, has become slower than its peers' (F47), or always was by much."""
    verdict, columns = judged.verdict, judged.columns
    slow = (verdict.ratio >= 1.0) & (verdict.effect >= STRAGGLER_EFFECT)
    steps, waits = columns.named("step_seconds"), columns.named("data_seconds")
    if steps is not None and waits is not None:
        slow[:, waits] &= _held_up(judged, steps, waits)
    alarm = _alarm(judged, "straggler", slow & (columns.compared == Compared.SECONDS))
    if alarm is not None or steps is None:
        return [] if alarm is None else [alarm]
    seconds = judged.stacked[:, columns.slots[steps]]
    return far_behind(judged.state, judged.numbers, judged.groups, seconds, judged.step)


def _held_up(judged: _Judged, steps: int, waits: int) -> NDArray[np.bool_]:
    """Ranks whose longer wait for data is a part of a step that counts, bool [ranks]."""
    waited = judged.stacked[:, judged.columns.slots[waits]]
    more = waited * (1.0 - 2.0 ** -judged.verdict.effect[:, waits])
    step = np.nanmedian(judged.stacked[:, judged.columns.slots[steps]])
    held_up: NDArray[np.bool_] = more >= LEAST_WAIT * step
    return held_up


def _alarm(judged: _Judged, kind: str, out: NDArray[np.bool_]) -> Alarm | None:
    """The alarm on the ranks that are `out`, bool [ranks, columns]; none where as many are as are not."""
    if not out.any():
        return None
    verdict, columns = judged.verdict, judged.columns
    worst = np.where(out, np.abs(verdict.z), 0.0).max(axis=1)
    rows = np.flatnonzero(out.any(axis=1) & (worst >= MUCH_LESS * worst.max()))
    if 2 * len(rows) > len(judged.numbers) or 2 * len(rows) == len(judged.numbers) > 2:
        return None
    lead = int(rows[np.argmax(worst[rows])])
    order = np.argsort(-np.abs(verdict.z[lead]) * out[lead], kind="stable")
    order = order[out[lead, order]]
    evidence = tuple(_evidence(judged, lead, int(column)) for column in order[:MAX_EVIDENCE])
    layers = tuple(dict.fromkeys(name for at in order if (name := columns.layers[at]) is not None))
    charted = order[np.abs(verdict.ratio[lead, order]) >= 1.0]
    first = int(verdict.onset[lead, charted].min()) if len(charted) else judged.step
    return rank_alarm(kind, [judged.numbers[row] for row in rows], first, evidence, layers)


def _evidence(judged: _Judged, row: int, column: int) -> Evidence:
    verdict, columns = judged.verdict, judged.columns
    value = float(judged.stacked[row, columns.slots[column]])
    if columns.over[column] >= 0:
        value /= float(judged.stacked[row, columns.over[column]])
    ratio, z = abs(float(verdict.ratio[row, column])), abs(float(verdict.z[row, column]))
    charted = ratio >= 1.0
    return Evidence(
        columns.statistics[column],
        value,
        value / 2.0 ** float(verdict.effect[row, column]),
        ratio if charted else z / judged.clip,
        "peers",
        columns.layers[column],
        step_number(int(verdict.onset[row, column]) if charted else judged.step),
    )


def rank_alarm(
    kind: str, ranks: list[int], step: int, evidence: tuple[Evidence, ...], layers: tuple[str, ...] = ()
) -> Alarm:
    """An alarm about ranks."""
    return alarm_of(kind, step, evidence, layers, tuple(ranks))
