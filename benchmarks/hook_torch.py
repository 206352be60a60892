"""A small GPT trained in PyTorch on the CPU, with or without the hook, step by step."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from anomaly.torch import Watch, watch

LAYERS, WIDTH, HEADS, TOKENS, VOCABULARY = 6, 256, 4, 512, 256


class Block(nn.Module):
    """Attention and a feed-forward layer, each behind a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.project = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape (1, tokens, width)."""
        query, key, value = (
            part.view(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).chunk(3, dim=-1)
        )
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).reshape(1, -1, WIDTH))
        out: Tensor = x + self.down(nn.functional.gelu(self.up(self.norm_2(x))))
        return out


class GPT(nn.Module):
    """Six blocks between an embedding and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.position = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.h = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """The loss of predicting each token's successor; `tokens` of shape (1, tokens)."""
        x = self.embed(tokens) + self.position.weight
        for block in self.h:
            x = block(x)
        logits = self.head(self.norm(x))
        return nn.functional.cross_entropy(logits[0, :-1], tokens[0, 1:])


class Training:
    """One model in training; with `servers`, watched and reported there."""

    def __init__(self, servers: str | None) -> None:
        torch.set_num_threads(1)  # a second thread spins while it waits, and its time would count as work
        torch.manual_seed(0)
        self._model = GPT()
        self._optimizer = torch.optim.AdamW(self._model.parameters(), 3e-4)
        self._tokens = torch.randint(0, VOCABULARY, (1, TOKENS))
        self._run: Watch | None = None
        if servers is not None:
            self._run = watch(self._model, self._optimizer, "bench-pytorch", bootstrap_servers=servers)

    def step(self) -> None:
        """One training step."""
        self._optimizer.zero_grad()
        loss: Any = self._model(self._tokens)
        loss.backward()
        self._optimizer.step()
        if self._run is not None:
            self._run.step(loss)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._run is not None:
            self._run.close()
