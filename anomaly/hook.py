"""The hook in a training loop: `Telemetry`, which needs no framework.

    with Telemetry(run="gpt-7b-lr3e-4") as telemetry:
        for step, batch in enumerate(batches):
            …
            telemetry.step(step, loss=loss, lr=lr, layers={"h.0.attn": {"grad_norm": 0.1}})

It is a guest: after construction it never blocks, never raises, holds a bounded amount of memory and counts what it
drops. `anomaly.torch` and `anomaly.jax` do the measuring for those frameworks.
"""

from __future__ import annotations

import atexit
import logging
import os
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, SupportsFloat

import msgspec

from anomaly.backlog import Backlog, Counts
from anomaly.connection import Connection, connection_from
from anomaly.credentials import kafka_options
from anomaly.errors import SettingsError
from anomaly.outbox import Clock, Identity, Outbox
from anomaly.producer import Pacing, Producer
from anomaly.records import Event, Fork, Layout, Place, step_millionths
from anomaly.rows import LayerValues, Rows
from anomaly.sender import KafkaSender, Sender

_log = logging.getLogger(__name__)
_live: weakref.WeakSet[Telemetry] = weakref.WeakSet()


class Telemetry:
    """Reports one rank's steps of a training run.

    ``run`` names the run (1 to 200 characters); ``rank`` this process among its ranks, ``place`` where it stands among
    them. ``tags`` are up to 32 strings (owner, team, …); ``fork`` says which run this one continues.
    ``bootstrap_servers`` and ``topic_prefix`` default to ``ANOMALY_BOOTSTRAP_SERVERS`` (else 127.0.0.1:9092) and
    ``ANOMALY_TOPIC_PREFIX`` (else ``training``); TLS and the login come from ``ANOMALY_SECURITY_PROTOCOL``, … or,
    instead of all that, from a ``connection`` (`anomaly.Connection` has the names). At most ``queue_records`` records
    and ``queue_bytes`` bytes wait while the broker is away; then the oldest go, counted. ``sender``, ``pacing`` and
    ``clock`` are for tests.

    Raises `SettingsError` for wrong arguments. Needs no broker: it may be away at the start and at any time.
    In a forked child (a data loader's worker) the object does nothing; make a new one there if you need one.
    """

    def __init__(
        self,
        run: str,
        *,
        bootstrap_servers: str | None = None,
        connection: Connection | None = None,
        topic_prefix: str | None = None,
        rank: int = 0,
        place: Place | None = None,
        tags: Mapping[str, str] | None = None,
        fork: Fork | None = None,
        queue_records: int = 10_000,
        queue_bytes: int = 64 << 20,
        sender: Callable[[], Sender] | None = None,
        pacing: Pacing | None = None,
        clock: Clock | None = None,
    ) -> None:
        session = int.from_bytes(os.urandom(8), "big")
        identity = Identity(run, rank, session, place, dict(tags) if tags else None, fork)
        problems = identity.problems()
        if queue_records < 1 or queue_bytes < 1:
            problems.append(
                f"queue_records, queue_bytes: got {queue_records}, {queue_bytes}; at least 1 each is needed"
            )
        if problems:
            raise SettingsError(problems)
        if sender is None:
            sender = _kafka_sender(connection_from(os.environ, bootstrap_servers, connection), topic_prefix)
        self.run = run
        self._clock = clock or Clock()
        self._counts = Counts()
        self._warned: set[str] = set()
        self._rows = Rows()
        self._finished = False
        self._backlog = Backlog(queue_records, queue_bytes, self._counts)
        outbox = Outbox(identity, self._backlog, self._counts, self._clock)
        self._producer = Producer(run, outbox, sender, self._counts, pacing or Pacing())
        self._open = True
        self._inert = False
        _live.add(self)
        atexit.register(self.close)

    def layout(self, layout: Layout) -> None:
        """Declare the layers and signals that matrices given to `step` follow. Sent before the next record."""
        if not self._open:
            return
        try:
            self._rows.declare(layout)
        except Exception as error:
            self._refused("layout", f"layout: {error}")

    def step(
        self,
        step: SupportsFloat,
        *,
        loss: Any = None,
        lr: Any = None,
        layers: LayerValues | Any | None = None,
        time: float | None = None,
        **signals: Any,
    ) -> None:
        """Report one optimiser step.

        Every other keyword is a whole-model signal (``grad_norm_total=…``, ``tokens=…``, any name of your own).
        ``layers`` is ``{layer: {signal: number}}``, or a matrix of shape (layers, signals) that follows the declared
        layout; it is copied. None means not measured, NaN is a measured NaN. ``time`` is when the step ended, unix
        seconds, now if left out. Numbers are read at once: a tensor on a device would make this call wait for it.
        """
        if not self._open:
            return
        try:
            now = self._clock.unix_seconds() if time is None else float(time)
            if not isinstance(step, int | float):
                step = _number(step)
            row = self._rows.make({"loss": loss, "lr": lr, **signals}, layers)
            self._backlog.put(step_millionths(step), now, row, self._rows.layout)
            if self._rows.refused:
                self._report_refused()
        except Exception as error:
            self._counts.refused_records += 1
            self._warn_once("step", f"step {step!r} is not reported: {error}")

    def event(self, kind: str, **fields: Any) -> None:
        """Say that something happened: ``event("checkpoint_end", step=500, path=…)``.

        It travels with the next record. If none comes within a second (an evaluation has begun, say), it goes alone, in
        a record of the last step with nothing measured; before the first step it waits for that one.
        """
        if not self._open:
            return
        try:
            event = _plain_event({"kind": kind, **fields})
            self._finished = self._finished or kind == "finished"
            self._backlog.add_event(event, self._clock.monotonic())
        except Exception as error:
            self._refused("event", f"event {kind!r} is not reported: {error}")

    def stats(self) -> dict[str, int]:
        """Counts so far, and how many records wait for their acknowledgement now."""
        return {**self._counts.as_dict(), "waiting": 0 if self._inert else self._producer.waiting}

    def close(self, timeout: float = 5.0) -> bool:
        """Send what waits, for at most about `timeout` seconds; True if the brokers acknowledged everything.

        Called at the interpreter's exit if nobody did before. Says nothing about how the run ended: leaving the
        ``with`` block does, or ``event("finished", outcome="completed")``.
        """
        if not self._open or self._inert:
            return True
        self._open = False
        atexit.unregister(self.close)
        self._backlog.release_events(self._clock.unix_seconds())
        complete = self._producer.close(timeout)
        counts = self.stats()
        if not complete or counts["dropped"]:
            _log.warning("telemetry of run %s ends incomplete: %s", self.run, counts)
        return complete

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Report ``finished``: completed, failed by an exception, or stopped (Ctrl-C, sys.exit); then close."""
        if not self._finished:
            if kind is None:
                self.event("finished", outcome="completed")
            elif issubclass(kind, Exception):
                self.event("finished", outcome="failed", error=kind.__name__)
            else:
                self.event("finished", outcome="stopped")
        self.close()

    def _report_refused(self) -> None:
        refused, self._rows.refused = self._rows.refused, []
        for problem in refused:
            self._refused(problem.partition(":")[0], problem)

    def _refused(self, what: str, problem: str) -> None:
        self._counts.refused_values += 1
        self._warn_once(what, problem)

    def _warn_once(self, what: str, problem: str) -> None:
        if what not in self._warned and len(self._warned) < 100:
            self._warned.add(what)
            _log.warning("telemetry of run %s: %s (further ones are only counted)", self.run, problem)

    def _become_inert(self) -> None:
        """In a forked child: the thread is not there, and its locks may be held for ever."""
        self._open = False
        self._inert = True


def _kafka_sender(connection: Connection, topic_prefix: str | None) -> Callable[[], Sender]:
    kafka_options(connection)  # what its files lack is told now, and not from the thread later
    prefix = topic_prefix or os.environ.get("ANOMALY_TOPIC_PREFIX") or "training"

    def make() -> Sender:
        from anomaly.topics import Topics  # brings aiokafka, which a training script need not wait for

        return KafkaSender(connection, Topics(prefix).telemetry)

    return make


def _number(step: Any) -> float:
    """A step that is neither int nor float: a scalar of NumPy."""
    number = step.item() if hasattr(step, "item") else None
    if not isinstance(number, int | float):
        raise TypeError(f"got {type(step).__name__}, a number is needed")
    return number


def _plain_event(event: dict[str, Any]) -> Event:
    """The event as plain data, a snapshot of it: numbers of NumPy become numbers, anything else unknown its text."""
    if not isinstance(event["kind"], str):
        raise TypeError(f"kind: got {event['kind']!r}, a string is needed")
    plain: Event = msgspec.msgpack.decode(msgspec.msgpack.encode(event, enc_hook=_plain))
    return plain


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else str(value)


def _after_fork() -> None:
    for telemetry in list(_live):
        telemetry._become_inert()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
