"""Made-up data that behaves like real data: text from a random table, noisy pictures of ten prototypes, smooth maps.

Everything comes from fixed seeds. A *mix* is another source of the same kind: another table, other prototypes.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Generator, Tensor

VOCABULARY, CLASSES, FEATURES, STATE, ACTIONS = 48, 10, 24, 8, 4
_CHAINS, _LENGTH = 128, 1_200

Batch = tuple[Tensor, ...]


def draw(kind: str, generator: Generator, size: int, length: int, mix: float = 0.0) -> Batch:
    """A batch of `kind`; the share `mix` of it comes from the other source."""
    other = round(size * mix)
    if other == 0:
        return _DRAW[kind](generator, size, length, 0)
    if other == size:
        return _DRAW[kind](generator, size, length, 1)
    first, second = _DRAW[kind](generator, size - other, length, 0), _DRAW[kind](generator, other, length, 1)
    return tuple(torch.cat(pair) for pair in zip(first, second, strict=True))


def _text(generator: Generator, size: int, length: int, mix: int) -> Batch:
    text = _corpus(mix)
    chain = torch.randint(_CHAINS, (size, 1), generator=generator)
    start = torch.randint(_LENGTH - length, (size, 1), generator=generator)
    tokens = text[chain, start + torch.arange(length + 1)]
    return tokens[:, :-1], tokens[:, 1:]


def _images(generator: Generator, size: int, _length: int, mix: int) -> Batch:
    labels = torch.randint(CLASSES, (size,), generator=generator)
    noise = torch.randn(size, 1, 8, 8, generator=generator)
    strength = 0.3 + 0.5 * torch.rand(size, 1, 1, 1, generator=generator)
    return _prototypes(mix)[labels] * strength + noise, labels


def _maps(generator: Generator, size: int, _length: int, mix: int) -> Batch:
    x = torch.randn(size, FEATURES, generator=generator)
    noise = 0.2 * torch.randn(size, STATE, generator=generator)
    return x, torch.tanh(x @ _weights(mix)) + noise


def _samples(generator: Generator, size: int, _length: int, mix: int) -> Batch:
    code = torch.randn(size, STATE, generator=generator)
    return (
        torch.tanh(code @ _weights(mix).T * 1.5) + 0.1 * torch.randn(size, FEATURES, generator=generator),
    )


def _pairs(generator: Generator, size: int, length: int, mix: int) -> Batch:
    return *_samples(generator, size, length, mix), torch.randn(size, 8, generator=generator)


def _episodes(generator: Generator, size: int, _length: int, mix: int) -> Batch:
    state = torch.randn(size, STATE, generator=generator) + 0.3 * mix
    return state, torch.rand(size, generator=generator), torch.randn(size, generator=generator)


_DRAW = {
    "text": _text,
    "images": _images,
    "maps": _maps,
    "samples": _samples,
    "pairs": _pairs,
    "episodes": _episodes,
}


@functools.cache
def _corpus(mix: int) -> Tensor:
    """Chains of tokens, each drawn by its two predecessors: shape (chains, length)."""
    rng = np.random.default_rng(100 + mix)
    likely = rng.integers(VOCABULARY, size=(VOCABULARY, VOCABULARY, 4))
    common = rng.dirichlet(np.full(VOCABULARY, 0.3))
    text = np.zeros((_CHAINS, _LENGTH + 1), dtype=np.int64)
    text[:, :2] = rng.integers(VOCABULARY, size=(_CHAINS, 2))
    choice = rng.choice(4, size=text.shape, p=(0.5, 0.3, 0.15, 0.05))
    free = rng.choice(VOCABULARY, size=text.shape, p=common)
    odd = rng.random(text.shape) < 0.25
    rarely = rng.random(text.shape) < 0.6  # the rest depends on one predecessor alone, which is learnt first
    for at in range(2, text.shape[1]):
        before = np.where(rarely[:, at], 0, text[:, at - 2])
        text[:, at] = np.where(odd[:, at], free[:, at], likely[text[:, at - 1], before, choice[:, at]])
    return torch.from_numpy(text)


@functools.cache
def _prototypes(mix: int) -> Tensor:
    return torch.randn(CLASSES, 1, 8, 8, generator=Generator().manual_seed(200 + mix))


@functools.cache
def _weights(mix: int) -> Tensor:
    drawn = torch.randn(FEATURES, STATE, generator=Generator().manual_seed(300 + mix))
    spread: float = FEATURES**-0.5
    return drawn * spread * 2
