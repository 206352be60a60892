"""The demo: broker, worker, four trainings, and whether their incidents are what was done to them."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from anomaly.broker import DevelopmentBroker
from anomaly.demo.faults import Scenario, Verdict, first_pages, judge, scenarios
from anomaly.demo.incidents import Arrival, IncidentReader
from anomaly.demo.model import source_text
from anomaly.demo.screen import DemoScreen
from anomaly.demo.servers import SupervisedWorker
from anomaly.demo.training import LAYOUT, Trainer
from anomaly.errors import AnomalyError
from anomaly.incidents.transition import Severity, Transition
from anomaly.jax import Watch, watch
from anomaly.topics import Topics

READY_SECONDS = 90.0
JUDGED_SECONDS = 60.0
SETTLE_SECONDS = 1.0
LOOK_SECONDS = 0.05
FAILED = 1
TOPICS = Topics()

NEXT = """Next (first `. .venv/bin/activate` where make did the installing):
  anomaly broker & anomaly worker --development-broker     keep both running
  anomaly tail                                             follow the incidents
  anomaly runs list                                        which runs are watched
  anomaly replay FILE.parquet                              judge a log you already have
and in your training loop: `from anomaly import Telemetry`, then `telemetry.step(step, loss=…, layers=…)`."""


class Demo:
    """One demonstration; `run` does it."""

    def __init__(self, screen: DemoScreen, what: Sequence[Scenario]) -> None:
        self._screen = screen
        self._scenarios = what
        self._published: dict[tuple[str, int], float] = {}
        self._transitions: dict[str, list[Transition]] = {}
        self._latencies: dict[str, str] = {}
        self._reader: IncidentReader | None = None

    def run(self) -> list[Verdict]:
        """Train and watch; a verdict a run. Leaves no process behind, however it ends."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="anomaly-demo-")))
            broker = stack.enter_context(DevelopmentBroker())
            self._screen.say(f"broker on {broker.bootstrap_servers} (pid {broker.pid})", "dim")
            worker = stack.enter_context(SupervisedWorker(broker, folder, self._screen.say))

            def watch_run(run: str) -> Watch:
                return watch(
                    LAYOUT, run, bootstrap_servers=broker.bootstrap_servers, topic_prefix=TOPICS.prefix
                )

            trainer = self._prepared(worker, watch_run)
            reader = IncidentReader(broker.bootstrap_servers, TOPICS.incidents)
            self._reader = stack.enter_context(reader)
            for number, scenario in enumerate(self._scenarios, start=1):
                self._screen.begin(number, len(self._scenarios), scenario)
                self._train(trainer, scenario)
                self._wait_until_judged(worker, scenario)
            return [judge(one, self._transitions.get(one.run, [])) for one in self._scenarios]

    def report(self, verdicts: Sequence[Verdict]) -> int:
        """Print the outcome; the exit code."""
        self._screen.verdicts(verdicts, self._latencies)
        passed = all(verdict.passed for verdict in verdicts)
        if passed:
            self._screen.say("all faults found, the healthy run stayed quiet", "bold green")
        self._screen.say(NEXT)
        return 0 if passed else FAILED

    def _prepared(self, worker: SupervisedWorker, watch_run: Callable[[str], Watch]) -> Trainer:
        """A trainer whose steps are compiled, while the worker starts."""
        self._screen.say(
            "starting a worker and compiling a small transformer (4 blocks, bytes of Python's own sources)"
        )
        trainer = Trainer(source_text(), watch_run)
        trainer.compile({scenario.batch_size(scenario.steps) for scenario in self._scenarios})
        self._wait(
            worker.is_ready, READY_SECONDS, lambda: f"the worker did not get ready: {worker.last_words()}"
        )
        self._screen.say(f"worker is ready (pid {worker.pid}; kill -9 it whenever you like)", "dim")
        return trainer

    def _train(self, trainer: Trainer, scenario: Scenario) -> None:
        for report in trainer.train(scenario):
            self._published[scenario.run, report.step] = report.published
            self._screen.step(scenario, report)
            self._show_arrivals()

    def _wait_until_judged(self, worker: SupervisedWorker, scenario: Scenario) -> None:
        """All of the run's records are judged, and what came of it is here."""
        self._wait(
            lambda: worker.step_of(scenario.run) == scenario.steps,
            JUDGED_SECONDS,
            lambda: f"the worker did not judge {scenario.run} to its end: {worker.last_words()}",
        )
        settled = time.monotonic() + SETTLE_SECONDS
        self._wait(lambda: time.monotonic() > settled, 2 * SETTLE_SECONDS, str)

    def _wait(self, until: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                raise AnomalyError(f"{otherwise()} (waited {seconds:g} s)")
            self._show_arrivals()
            threading.Event().wait(LOOK_SECONDS)
        self._show_arrivals()

    def _show_arrivals(self) -> None:
        if self._reader is None:
            return
        if self._reader.error is not None:
            raise AnomalyError(f"the incidents topic cannot be read: {self._reader.error}")
        for arrival in self._reader.take():
            transition = arrival.transition
            known = self._transitions.setdefault(transition.run, [])
            told = {page.incident for page in first_pages(known)}
            known.append(transition)
            is_page = transition.severity is not Severity.INFO and transition.incident not in told
            self._screen.incident(transition, self._told_after(arrival) if is_page else ())

    def _told_after(self, arrival: Arrival) -> list[tuple[str, str]]:
        """How long after its record was published the news came, and how many steps after the fault."""
        transition = arrival.transition
        scenario = next((one for one in self._scenarios if one.run == transition.run), None)
        published = self._published.get((transition.run, int(transition.step)))
        if scenario is None or published is None:
            return []
        milliseconds = f"{(arrival.monotonic - published) * 1000:.0f} ms"
        text = f"{milliseconds} after the record of step {transition.step:g} was published"
        self._latencies[transition.incident] = milliseconds
        if scenario.fault_step is not None:
            steps = f"{transition.step - scenario.fault_step:g} steps"
            text += f", {steps} after the fault began"
            self._latencies[transition.incident] = f"{milliseconds}, {steps}"
        return [("told", text)]


def run_demo(console: Console, what: Sequence[Scenario] | None = None) -> int:
    """Run the demo on `console`; 0 if everything was found and the healthy run stayed quiet, else 1."""
    started = time.monotonic()
    with DemoScreen(console) as screen:
        demo = Demo(screen, scenarios() if what is None else what)
        verdicts = demo.run()
        code = demo.report(verdicts)
        screen.say(f"({time.monotonic() - started:.0f} s)", "dim")
    return code
