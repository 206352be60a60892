"""What the demo shows: a live line of training at the bottom of a terminal, plain lines anywhere else."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from anomaly.demo.faults import Scenario, Verdict
from anomaly.demo.training import StepReport
from anomaly.incidents.transition import Status, Transition
from anomaly.screen import card, line, step_text, title_of, where

PLAIN_EVERY = 50
_BARS = "▁▂▃▄▅▆▇█"
_BAR_WIDTH = 24
_HISTORY = 32


class DemoScreen:
    """Everything the demo says, from any thread."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._losses: deque[float] = deque(maxlen=_HISTORY)
        self._step = 0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._still()
        if self._live is not None:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """One line."""
        self._print(Text(text, style=style))

    def begin(self, number: int, of: int, scenario: Scenario) -> None:
        """A run starts."""
        self._losses.clear()
        self._step = 0
        story = scenario.story.format(step=scenario.fault_step, layer=scenario.layer)
        self._print(Text())
        self._print(Text.assemble((f"run {number} of {of}  ", "bold"), (scenario.run, "bold cyan")))
        self._print(Text(f"  {story}  (printed here, never sent)", style="dim"))

    def step(self, scenario: Scenario, report: StepReport) -> None:
        """One step of training."""
        self._losses.append(report.loss)
        if report.step == scenario.fault_step:
            self.say(f"  step {report.step}: now the fault begins", "magenta")
        if report.step == scenario.larger_batch_at:
            self.say(f"  step {report.step}: the batch doubles", "magenta")
        if report.step <= self._step:
            self.say(
                f"  step {self._step}: stopped, and restarted from the checkpoint of step {report.step - 1}",
                "magenta",
            )
        self._step = report.step
        if self._live is None:
            if report.step % PLAIN_EVERY == 0:
                self.say(f"  step {report.step:>4}  loss {report.loss:.3f}  lr {report.lr:.2g}")
            return
        with self._lock:
            self._live.update(self._progress(scenario, report), refresh=report.step % 4 == 0)

    def incident(self, transition: Transition, more: Sequence[tuple[str, str]]) -> None:
        """A transition came."""
        if transition.status is Status.OPENED or (transition.status is Status.UPDATED and more):
            self._print(card(transition, more))
        else:
            self._print(Text.assemble("  ", line(transition)))

    def verdicts(self, verdicts: Sequence[Verdict], latencies: dict[str, str]) -> None:
        """The table at the end."""
        self._still()
        table = Table(box=box.SIMPLE, pad_edge=False)
        for name in ("", "what was done", "what was found", "told after"):
            table.add_column(name, overflow="fold")
        for verdict in verdicts:
            mark = Text("✓", style="green") if verdict.passed else Text("✗", style="bold red")
            told = latencies.get(verdict.paged[0].incident, "") if verdict.paged else ""
            table.add_row(mark, Text(verdict.scenario.title), Text(_found(verdict)), told)
        self._print(table)
        for verdict in verdicts:
            for problem in verdict.problems:
                self.say(f"{verdict.scenario.run}: {problem}", "bold red")

    def _still(self) -> None:
        """Nothing moves any more."""
        if self._live is not None:
            with self._lock:
                self._live.update(Text(), refresh=True)

    def _print(self, what: RenderableType) -> None:
        with self._lock:
            self._console.print(what)

    def _progress(self, scenario: Scenario, report: StepReport) -> Text:
        done = round(_BAR_WIDTH * report.step / scenario.steps)
        return Text.assemble(
            "  ", ("━" * done, "cyan"), ("━" * (_BAR_WIDTH - done), "dim"),
            f" step {report.step}/{scenario.steps}  loss {report.loss:.3f} ",
            (sparkline(self._losses), "cyan"),
            (f"  lr {report.lr:.2g}  {report.seconds * 1000:.0f} ms/step", "dim"),
        )  # fmt: skip


def sparkline(values: Sequence[float] | deque[float]) -> str:
    """One character a value, from the lowest to the highest; a space where it is not finite.

    >>> sparkline([0.0, 3.5, 7.0, float("nan")])
    '▁▄█ '
    """
    finite = [value for value in values if abs(value) < float("inf")]
    if not finite:
        return " " * len(values)
    low, span = min(finite), (max(finite) - min(finite)) or 1.0
    top = len(_BARS) - 1
    return "".join(
        _BARS[int((value - low) / span * top)] if abs(value) < float("inf") else " " for value in values
    )


def _found(verdict: Verdict) -> str:
    if not verdict.paged:
        return "nothing" if verdict.scenario.fault_step is not None else "nothing, as it should be"
    page = verdict.paged[0]
    return f"{page.severity}: {title_of(page.kind)}, {where(page)}, since step {step_text(page.first_step)}"
