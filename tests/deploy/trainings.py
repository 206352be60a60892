"""Small but real trainings under the real hook: one healthy, one with a fault, one that stops without a word."""

from __future__ import annotations

import contextlib
import math
import threading
from contextlib import closing
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn

from anomaly.torch import Watch, watch

HEALTHY, FAULTY, SILENT, DONE = "gpt-healthy", "gpt-faulty", "gpt-silent", "gpt-done"
FAULT_STEP = 400
SILENT_AFTER = 1000
STEP_SECONDS = 0.02


class Trainings:
    """All of them, each in a thread, while entered; the healthy one and the faulty one go on until the end."""

    def __init__(self, bootstrap_servers: str, topic_prefix: str) -> None:
        self._to: dict[str, Any] = {"bootstrap_servers": bootstrap_servers, "topic_prefix": topic_prefix}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._train, args=(run, steps), name=run)
            for run, steps in ((HEALTHY, None), (FAULTY, None), (SILENT, SILENT_AFTER), (DONE, 40))
        ]

    def _train(self, run: str, steps: int | None) -> None:
        torch.manual_seed(len(run))
        model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        watched = watch(model, optimizer, run=run, tags={"team": "language"}, **self._to)
        # A process that is killed says no farewell; one that finishes does.
        with watched if run == DONE else closing(watched):
            step = 0
            while step != steps and not self._stop.wait(STEP_SECONDS):
                step += 1
                self._step(
                    watched, model, optimizer, math.nan if (run, step) == (FAULTY, FAULT_STEP) else 1.0
                )

    @staticmethod
    def _step(watched: Watch, model: nn.Module, optimizer: torch.optim.Optimizer, factor: float) -> None:
        inputs = torch.randn(16, 8)
        loss = factor * (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        watched.clip_grad_norm_(1.0)
        optimizer.step()
        watched.step(loss)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            with contextlib.suppress(RuntimeError):  # it was not started
                thread.join(30)
