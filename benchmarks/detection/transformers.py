"""Small transformers: pre- or post-norm, with or without biases, tied or untied, dense or mixture of experts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.detection.batches import VOCABULARY, Batch
from benchmarks.detection.notes import Notes


@dataclass(frozen=True)
class Shape:
    """How a transformer is built."""

    blocks: int
    width: int
    tokens: int
    pre_norm: bool = True
    bias: bool = True
    tied: bool = False
    experts: int = 0
    dropout: float = 0.0


class Block(nn.Module):
    """Attention and a feed-forward layer around one residual stream."""

    def __init__(self, name: str, shape: Shape, notes: Notes) -> None:
        super().__init__()
        width, bias = shape.width, shape.bias
        self.name, self.shape, self.notes = name, shape, notes
        self.heads = 2 if width < 32 else 4
        self.dropout = nn.Dropout(shape.dropout)
        self.ln1 = nn.LayerNorm(width, bias=bias)
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width, bias=bias)
        self.ln2 = nn.LayerNorm(width, bias=bias)
        if shape.experts:
            self.router = nn.Linear(width, shape.experts, bias=False)
            self.experts = nn.ModuleList(_mlp(width, 2 * width) for _ in range(shape.experts))
        else:
            self.up = nn.Linear(width, 4 * width, bias=bias)
            self.down = nn.Linear(4 * width, width, bias=bias)
        self.balance = torch.zeros(())

    def attention(self, x: Tensor) -> Tensor:
        """Causal attention; its logits are looked at apart, now and then."""
        batch, tokens, width = x.shape
        shaped = self.qkv(x).view(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = shaped.permute(2, 0, 3, 1, 4)
        if self.notes.on:
            self._look(query, key)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        out: Tensor = self.dropout(self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width)))
        return out

    @torch.no_grad()
    def _look(self, query: Tensor, key: Tensor) -> None:
        logits = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        weights = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        self.notes.add(
            f"{self.name}.qkv",
            attn_logit_max=logits.masked_fill(hidden, -torch.inf).max(),
            attn_entropy=-(weights * (weights + 1e-12).log()).sum(-1).mean(),
        )

    def feed_forward(self, x: Tensor) -> Tensor:
        """Dense, or the one expert a token is sent to."""
        if not self.shape.experts:
            dense: Tensor = self.dropout(self.down(functional.gelu(self.up(x))))
            return dense
        chances = self.router(x).float().softmax(-1)
        best, chosen = chances.max(-1)
        load = functional.one_hot(chosen, self.shape.experts).float().mean((0, 1))
        mean = chances.mean((0, 1))
        self.balance = self.shape.experts * (load * mean).sum()
        if self.notes.on:
            self.notes.add(f"{self.name}.router", router_entropy=-(load * (load + 1e-9).log()).sum())
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            here = chosen == number
            if here.any():
                out[here] = (expert(x[here]) * best[here].unsqueeze(-1)).to(out.dtype)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of shape (batch, tokens, width)."""
        before = x
        if self.shape.pre_norm:
            x = x + self.attention(self.ln1(x))
            x = x + self.feed_forward(self.ln2(x))
        else:
            x = self.ln1(x + self.attention(x))
            x = self.ln2(x + self.feed_forward(x))
        self.notes.gain(self.name, before, x)
        return x


class GPT(nn.Module):
    """Blocks between an embedding and a head; `loss` is in nats per token."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.notes = Notes()
        self.signals: dict[str, Tensor] = {}
        self.embed = nn.Embedding(VOCABULARY, shape.width)
        self.position = nn.Embedding(shape.tokens, shape.width)
        self.h = nn.ModuleList(Block(f"h.{at}", shape, self.notes) for at in range(shape.blocks))
        self.norm = nn.LayerNorm(shape.width, bias=shape.bias)
        self.head = nn.Linear(shape.width, VOCABULARY, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                small = (2 * shape.blocks) ** -0.5 if name.endswith(("proj.weight", "down.weight")) else 1.0
                nn.init.normal_(parameter, std=0.6 * shape.width**-0.5 * small if "h." in name else 0.05)
        if shape.tied:
            self.head.weight = self.embed.weight

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the next tokens; `batch` is inputs and targets of shape (batch, tokens)."""
        tokens, targets = batch
        x = self.embed(tokens) + self.position.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        logits = self.head(self.norm(x)).float()
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        routers = [block.balance for block in self.h if isinstance(block, Block) and block.shape.experts]
        return loss + 0.01 * torch.stack(routers).sum() if routers else loss


def _mlp(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))
