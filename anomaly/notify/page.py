"""What someone reads who has just been woken: a line that says it all, the numbers, what to go back to, what to do.

`page_of` makes the page of one incident, `storm_page` that of many at once, `test_page` one that nobody needs to act
on. Names come from training jobs: a page holds none of their control characters, direction marks or line breaks, and
is bounded. What a receiver's own format could obey (markup, mentions) that receiver escapes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from anomaly.escapes import shown
from anomaly.incidents.kinds import KINDS
from anomaly.incidents.transition import Number, Severity, Transition
from anomaly.notify.delivery import Event, Page
from anomaly.notify.links import Links
from anomaly.notify.quantities import at, lasted, quantity
from anomaly.screen import step_text, title_of

RUN_LENGTH = 64
LAYER_LENGTH = 80
LINE_LENGTH = 300
ADVICE_LENGTH = 600
RUNS_LISTED = 20
RANKS_LISTED = 8
LAYERS_LISTED = 4
EXPLANATIONS_LISTED = 6

_PLACED = {
    "layer_gradient_spike": "Lone gradient spike",
    "bad_batch": "Bad batch",
    "straggler": "Slow steps",
    "partial_telemetry": "No more telemetry",
    "rank_gradient_outlier": "Odd gradient",
    "residual_gain_outlier": "Odd residual gain",
}
"""Kinds whose titles say "one layer" or "one rank", in front of which one it is."""


def page_of(
    transition: Transition,
    links: Links,
    event: Event = Event.PAGE,
    before: Severity | None = None,
    by: str | None = None,
) -> Page:
    """The page of one incident. `before` is the severity it was paged with, `by` who resolved it by hand."""
    resolved = event is Event.RESOLVE
    mark = "resolved" if resolved else str(transition.severity)
    facts = _resolved(transition, by) if resolved else _open(transition, before)
    return Page(
        title=f"[{mark}] {_run(transition)}: {what(transition)}",
        facts=tuple((name, shown(text, LINE_LENGTH)) for name, text in facts if text),
        advice="" if resolved else shown(transition.advice, ADVICE_LENGTH),
        links=links.of(transition),
    )


def storm_page(
    transitions: Sequence[Transition], links: Links, event: Event = Event.PAGE, ended: Iterable[str] = ()
) -> Page:
    """One page for many incidents, at least one: the runs, the worst first. `ended` are the incidents now over."""
    over = set(ended)
    if event is Event.RESOLVE:
        over |= {one.incident for one in transitions}
    worst = max((one.severity for one in transitions), key=lambda severity: severity.rank)
    mark = "resolved" if event is Event.RESOLVE else str(worst)
    runs = len({one.run for one in transitions})
    many = f"{len(transitions)} incidents in {runs} run{'' if runs == 1 else 's'}"
    opened = [one.opened_unix_seconds for one in transitions if one.opened_unix_seconds is not None]
    kinds = _most_frequent(transitions)
    first = sorted(transitions, key=lambda one: (one.incident in over, -one.severity.rank))
    advice = (
        "So many at once have one cause more often than not: look at what the runs share (storage, network, power, "
        "a scheduler) before you look at one of them."
    )
    facts = (
        ("first", at(min(opened)) if opened else ""),
        ("most are", ", ".join(f"{title_of(kind)} ({count:,})" for kind, count in kinds)),
        ("over", f"{len(over):,} of {len(transitions):,}" if over and event is not Event.RESOLVE else ""),
    )
    fleet = links.fleet()
    return Page(
        title=f"[{mark}] {many}: {title_of(kinds[0][0])}" + (" and others" if len(kinds) > 1 else ""),
        facts=tuple((name, text) for name, text in facts if text),
        advice="" if event is Event.RESOLVE else advice,
        links=(("Grafana", fleet),) if fleet else (),
        runs=(*(_one_line(one, over) for one in first[:RUNS_LISTED]), *_more(len(first) - RUNS_LISTED)),
    )


def test_page(receiver: str, links: Links) -> Page:
    """A page that says it is none."""
    fleet = links.fleet()
    return Page(
        title="[test] training-anomaly: this is a test, nobody needs to act",
        facts=(("receiver", shown(receiver)), ("means", "pages of training runs arrive here")),
        advice="",
        links=(("Grafana", fleet),) if fleet else (),
    )


test_page.__test__ = False  # type: ignore[attr-defined]  # pytest takes any `test_…` that a test imports for one


def text_of(page: Page) -> str:
    """A page as plain text, for whatever shows no more than that: the facts one a line, empty lines between parts."""
    links = "\n".join(f"{name}: {url}" for name, url in page.links)
    return "\n\n".join(part for part in (page.title, body_of(page), links) if part) + "\n"


def body_of(page: Page) -> str:
    """The same without title and links."""
    parts = (
        "\n".join(fact_line(name, text) for name, text in page.facts),
        f"Do: {page.advice}" if page.advice else "",
        "\n".join(page.runs),
    )
    return "\n\n".join(part for part in parts if part)


def web_links(page: Page) -> list[tuple[str, str]]:
    """The links that are web addresses: a runbook without a base is a path, which a receiver could not open."""
    return [(name, url) for name, url in page.links if url.startswith(("http://", "https://"))]


def fact_line(name: str, text: str) -> str:
    """A fact on a line of its own; what is a question gets its answer.

    >>> fact_line("ranks", "3"), fact_line("restart?", "no: none lately")
    ('ranks: 3', 'restart? no: none lately')
    """
    return f"{name} {text}" if name.endswith("?") else f"{name}: {text}"


def what(transition: Transition) -> str:
    """What went wrong, where, since when.

    A number that is NaN is called that: it is what people search their logs for.
    """
    title = _named(transition)
    where = f" in {shown(transition.layer, LAYER_LENGTH)}" if transition.layer is not None else ""
    ranks = transition.ranks
    of = "" if not ranks else f" on rank {ranks[0]}" if len(ranks) == 1 else f" on {len(ranks)} ranks"
    return f"{shown(title, LAYER_LENGTH)}{where}{of} since step {step_text(transition.first_step)}"


def _named(transition: Transition) -> str:
    placed = transition.layer is not None or bool(transition.ranks)
    if placed and transition.kind in _PLACED:
        return _PLACED[transition.kind]
    title, value = title_of(transition.kind), transition.value
    if not title.startswith("Non-finite") or math.isfinite(value):
        return title
    return ("NaN" if math.isnan(value) else "Infinite") + title.removeprefix("Non-finite")


def _run(transition: Transition) -> str:
    return shown(transition.run, RUN_LENGTH)


def _open(transition: Transition, before: Severity | None) -> Iterable[tuple[str, str]]:
    one = transition
    yield "value", quantity(one.statistic, one.value, one.expected, one.detector)
    if before is not None and before is not one.severity:
        yield "was", f"{before}, now {one.severity}"
    if _is_about_numbers(one):
        seen = "" if one.step == one.first_step else f" (seen at {step_text(one.step)})"
        yield "first bad step", f"{step_text(one.first_step)}{seen}"
        yield "last good step", step_text(_good_step(one))
        yield "go back to", checkpoint_advice(one)
    else:
        yield "last step", step_text(one.step)
    yield "ranks", _listed([str(rank) for rank in one.ranks], RANKS_LISTED)
    if len(one.layers) > 1:
        yield "layers", _listed([shown(layer, LAYER_LENGTH) for layer in one.layers], LAYERS_LISTED)
    for considered in one.considered[:EXPLANATIONS_LISTED]:
        yield f"{shown(considered.explanation, 40)}?", considered.verdict
    yield from _about(one)


def _resolved(transition: Transition, by: str | None) -> Iterable[tuple[str, str]]:
    one = transition
    yield "now", f"resolved by {shown(by, 80)}" if by else "no sign of it any more"
    opened, updated = one.opened_unix_seconds, one.updated_unix_seconds
    if opened is not None and updated is not None and updated > opened:
        yield "lasted", lasted(updated - opened)
    yield "steps", f"{step_text(one.first_step)} to {step_text(one.step)}"
    yield "was", quantity(one.statistic, one.value, one.expected, one.detector)
    if by is None and _is_about_numbers(one):
        yield "if the loss is not back", checkpoint_advice(one)
    yield from _about(one)


def _is_about_numbers(transition: Transition) -> bool:
    """Whether what the model learned may be spoilt; a run that is silent or slow has nothing to go back from."""
    kind = KINDS.get(transition.kind)
    return kind is None or (kind.family not in ("telemetry", "identity") and kind.name != "straggler")


def checkpoint_advice(transition: Transition) -> str:
    """Which checkpoint is safe to go back to, as far as it is known."""
    first, checkpoint, good = transition.first_step, transition.last_checkpoint_step, _good_step(transition)
    if checkpoint is not None and checkpoint < first:
        return f"checkpoint {step_text(checkpoint)}, the newest before it began"
    if good is not None:
        return f"the newest checkpoint at or before step {step_text(good)} (the run reports none)"
    if first <= 0:
        return "nothing: it was so from the start"
    return f"a checkpoint from before step {step_text(first)}; no step is known to be good"


def _good_step(transition: Transition) -> Number | None:
    """The last good step; none where it is later than the onset, which is then the safer of the two."""
    good = transition.last_good_step
    return good if good is not None and good < transition.first_step else None


def _about(transition: Transition) -> Iterable[tuple[str, str]]:
    opened, tags = transition.opened_unix_seconds, transition.tags or {}
    if opened is not None:
        yield "opened", at(opened)
    yield "whose", ", ".join(shown(tags[name], 60) for name in ("owner", "team", "project") if tags.get(name))
    if len(transition.run) > RUN_LENGTH:
        yield "run", transition.run
    yield "incident", transition.incident


def _one_line(transition: Transition, over: set[str]) -> str:
    mark = "resolved" if transition.incident in over else str(transition.severity)
    where = f" in {shown(transition.layer, RUN_LENGTH)}" if transition.layer is not None else ""
    return f"{mark}: {_run(transition)}: {shown(_named(transition), RUN_LENGTH)}{where}"


def _more(count: int) -> tuple[str, ...]:
    return (f"and {count:,} more",) if count > 0 else ()


def _listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many there are beyond them."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _most_frequent(transitions: Iterable[Transition], most: int = 3) -> list[tuple[str, int]]:
    counts: dict[str, int] = {}
    for one in transitions:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    return sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:most]
