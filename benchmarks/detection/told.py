"""Scores as text for a terminal: the figures, the false alarms, the misses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.detection import intervals
from benchmarks.detection.scoring import FalseAlarm, FaultScore, Found, RunScore
from benchmarks.detection.tally import PER_STEPS, Tally, by_fault, by_model, later, part, tally, visible

_TITLES = (
    "",
    "found",
    "recall",
    "delay p50/p90",
    "localised",
    "at once",
    "rank",
    "kind",
    "family",
    "incidents",
)


def summary(runs: Sequence[RunScore]) -> str:
    """The figures of all runs, with their intervals."""
    whole, hidden, second = tally(runs), tally(runs, lambda score: not visible(score)), tally(later(runs))
    low, high = intervals.share(whole.found, whole.faults)
    least, most = (PER_STEPS * end for end in intervals.rate(whole.false_alarms, whole.quiet_steps))
    critical = PER_STEPS * intervals.rate(whole.critical_false_alarms, whole.quiet_steps)[1]
    alarmed = len({alarm.run for run in runs for alarm in run.false_alarms})
    found = f"{shown(whole.recall)} ({whole.found} of {whole.faults} visible, {low:.3f}–{high:.3f})"
    alarms = f"{whole.false_alarms} in {whole.quiet_steps:,}, {least:.2f}–{most:.2f}"
    rows = (
        ("recall", f"{found}; of {hidden.faults} invisible {hidden.found} found"),
        ("  after another", f"{_of((second.found, second.faults))} of those that came after another fault"),
        ("false alarms", f"{shown(whole.false_alarm_rate)} per {PER_STEPS:,} quiet steps ({alarms})"),
        ("  runs with any", f"{alarmed} of {len(runs)}"),
        ("  critical", f"{whole.critical_false_alarms} (< {critical:.2f} per {PER_STEPS:,})"),
        ("delay", f"median {shown(whole.delay_median)}, p90 {shown(whole.delay_p90)} steps"),
        (
            "  at once",
            f"median {shown(whole.at_once_median)}, p90 {shown(whole.at_once_p90)} readings, of what shows at once",
        ),
        ("localised", f"{_of(whole.localised)}, at once {_of(whole.localised_at_once)}"),
        ("rank", _of(whole.ranks_named)),
        ("kind", f"{_of(whole.kinds)}, or its family {_of(whole.families)}"),
        ("incidents", f"{shown(whole.incidents_per_fault)} per found fault"),
    )
    return aligned(rows)


def tables(runs: Sequence[RunScore]) -> str:
    """A line per fault and per model."""
    rows: list[tuple[str, ...]] = [_TITLES]
    rows += [_cells(name, each) for name, each in by_fault(runs).items()]
    models: list[tuple[str, ...]] = [("", *_TITLES[1:], "false alarms")]
    models += [(*_cells(name, each), f"{each.false_alarms} in {each.quiet_steps:,}") for name, each in
               by_model(runs).items()]  # fmt: skip
    return f"{aligned(rows)}\n\n{aligned(models)}"


def false_alarms(runs: Iterable[RunScore]) -> str:
    """Each false alarm on a line, those of one run together."""
    rows: list[tuple[str, ...]] = [
        ("run", "step", "kind", "", "layer", "statistic", "score", "benign event before it")
    ]
    rows += [_alarm(alarm) for run in runs for alarm in run.false_alarms]
    return aligned(rows) if len(rows) > 1 else "none"


def misses(runs: Iterable[RunScore]) -> str:
    """Each fault that was not found on a line, the visible ones first."""
    missed = [score for run in runs for score in run.faults if score.found is None]
    missed.sort(key=lambda score: (not visible(score), score.fault.code, score.run))
    rows: list[tuple[str, ...]] = [("run", "fault", "onset", "strength", "p", "layer", "raised instead")]
    rows += [_miss(score) for score in missed]
    return aligned(rows) if len(rows) > 1 else "none"


def misnamed(runs: Iterable[RunScore]) -> str:
    """Each found fault whose layer, rank or family is wrong, or that took several incidents."""
    rows: list[tuple[str, ...]] = [
        ("run", "fault", "layer", "rank", "named", "layers", "ranks", "delay", "incidents")
    ]
    rows += [_misnamed(score, score.found) for run in runs for score in run.faults if score.found]
    rows = [row for row in rows if row]
    return aligned(rows) if len(rows) > 1 else "none"


def _misnamed(score: FaultScore, found: Found) -> tuple[str, ...]:
    right = found.localised is not False and found.rank_named is not False and found.right_family
    if right and found.incidents == 1:
        return ()
    fault = score.fault
    return (
        score.run,
        f"{fault.code} {fault.kind}",
        fault.layer or fault.block or "",
        _rank(fault.rank),
        found.kind,
        " ".join(found.layers[:3]),
        " ".join(map(str, found.ranks[:4])),
        f"{found.delay:g}",
        str(found.incidents),
    )


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as what is in them."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def shown(value: float | None) -> str:
    """A figure, or a dash where there was nothing to count."""
    return "–" if value is None else f"{value:.3g}"


def _cells(name: str, each: Tally) -> tuple[str, ...]:
    return (
        name,
        f"{each.found}/{each.faults}",
        shown(each.recall),
        f"{shown(each.delay_median)}/{shown(each.delay_p90)}",
        *(f"{yes}/{asked}" if asked else "–" for yes, asked in
          (each.localised, each.localised_at_once, each.ranks_named, each.kinds, each.families)),
        shown(each.incidents_per_fault),
    )  # fmt: skip


def _alarm(alarm: FalseAlarm) -> tuple[str, ...]:
    page = alarm.page
    severity = "critical" if alarm.critical else str(page.severity)
    layer = page.layers[0] if page.layers else " ".join(f"rank {rank}" for rank in page.ranks[:3])
    return (
        alarm.run,
        f"{page.step:g}",
        page.kind,
        severity,
        layer,
        page.statistic,
        f"{page.score:.2f}",
        alarm.near,
    )


def _miss(score: FaultScore) -> tuple[str, ...]:
    fault = score.fault
    p = "?" if score.visible is None else f"{score.visible:.0e}"
    layer = fault.layer or fault.block or _rank(fault.rank)
    return (score.run, f"{fault.code} {fault.kind}", str(fault.onset_step), f"{fault.strength:.3g}", p, layer,
            score.instead)  # fmt: skip


def _rank(rank: int | None) -> str:
    return "" if rank is None else f"rank {rank}"


def _of(counts: tuple[int, int]) -> str:
    return f"{shown(part(counts))} ({counts[0]}/{counts[1]})"
