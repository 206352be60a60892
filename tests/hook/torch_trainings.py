"""A small model and its training loop, for tests of what `watch` reports of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from anomaly.torch import Watch, watch
from tests.hook.recording import FAST, Broker, Sent, read

TOKENS, WIDTH = 11, 8


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.mlp(self.norm(x))
        return out


class Model(nn.Module):
    """An embedding, two blocks and a head whose weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(TOKENS, WIDTH)
        self.h = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, TOKENS)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.h:
            x = block(x)
        out: Tensor = self.head(x)
        return out


LAYERS = (
    "embed", "h.0.norm", "h.0.mlp.0", "h.0.mlp.2", "h.1.norm", "h.1.mlp.0", "h.1.mlp.2", "head",
)  # fmt: skip


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    return nn.functional.cross_entropy(model(tokens), tokens.roll(1))


def batches(number: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, TOKENS, (32,), generator=generator) for _ in range(number)]


def watched(model: nn.Module, optimizer: Any, broker: Broker, **options: Any) -> Watch:
    return watch(model, optimizer, "r1", sender=broker.connect, pacing=FAST, **options)


def train(
    model: nn.Module,
    optimizer: Any,
    run: Watch | None,
    steps: int = 1,
    before_update: Callable[[int], Any] | None = None,
) -> list[float]:
    losses = []
    for step, tokens in enumerate(batches(steps)):
        optimizer.zero_grad()
        loss = loss_of(model, tokens)
        loss.backward()
        if before_update:
            before_update(step)
        optimizer.step()
        if run is not None:
            run.step(loss)
        losses.append(float(loss.detach()))
    return losses


def steps_of(broker: Broker) -> list[Sent]:
    return [record for record in read(broker.messages) if record.model]
