"""The other small models: each has `loss(batch)`, `notes` and, where the task has more to say, `signals`."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from benchmarks.detection.batches import ACTIONS, CLASSES, FEATURES, STATE, VOCABULARY, Batch
from benchmarks.detection.notes import Notes


class Model(nn.Module):
    """A model with its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = Notes()
        self.signals: dict[str, Tensor] = {}
        """Whole-model signals of the last loss."""

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of one batch."""
        raise NotImplementedError


class CNN(Model):
    """Convolutions with batch norm and ReLU; cross-entropy of ten classes."""

    def __init__(self, stages: int, channels: int, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv, self.bn = nn.ModuleList(), nn.ModuleList()
        for at in range(stages):
            stride = 2 if at in (1, 3) else 1
            before = 1 if at == 0 else channels
            self.conv.append(nn.Conv2d(before, channels, 3, stride, 1, bias=not batch_norm))
            if batch_norm:
                self.bn.append(nn.BatchNorm2d(channels))
        self.head = nn.Linear(channels * 4, CLASSES)

    def loss(self, batch: Batch) -> Tensor:
        """`batch` is images (batch, 1, 8, 8) and labels."""
        x, labels = batch
        for at, conv in enumerate(self.conv):
            x = conv(x)
            x = functional.relu(self.bn[at](x) if len(self.bn) else x)
            self.notes.zeros(f"bn.{at}" if len(self.bn) else f"conv.{at}", x)
        logits = self.head(functional.adaptive_avg_pool2d(x.float(), 2).flatten(1))
        return functional.cross_entropy(logits.float(), labels)


class MLP(Model):
    """Tanh, then ReLU layers; squared error of a nonlinear map."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(hidden))
        self.last = nn.Linear(width, STATE)

    def loss(self, batch: Batch) -> Tensor:
        """`batch` is inputs (batch, features) and outputs (batch, state)."""
        x, wanted = batch
        x = torch.tanh(self.first(x))
        self.notes.saturated("first", x)
        for at, layer in enumerate(self.hidden):
            x = functional.relu(layer(x))
            self.notes.zeros(f"hidden.{at}", x)
        return _error(self.last(x), wanted)


class Residual(Model):
    """A very deep and narrow residual network; the same task."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, width)
        self.h = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, STATE)
        self.scale = blocks**-0.5

    def loss(self, batch: Batch) -> Tensor:
        """`batch` as of `MLP`."""
        x, wanted = batch
        x = self.first(x)
        for at, layer in enumerate(self.h):
            inner = functional.relu(layer(x))
            self.notes.zeros(f"h.{at}", inner)
            x = x + self.scale * inner
        return _error(self.last(self.norm(x)), wanted)


class LSTM(Model):
    """Two recurrent layers over tokens; nats per token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, width)
        self.r0 = nn.LSTM(width, width, batch_first=True)
        self.r1 = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, VOCABULARY)

    def loss(self, batch: Batch) -> Tensor:
        """`batch` is inputs and targets of shape (batch, tokens)."""
        tokens, targets = batch
        x = self.r1(self.r0(self.embed(tokens))[0])[0]
        return functional.cross_entropy(self.head(x).float().flatten(0, 1), targets.flatten())


class VAE(Model):
    """A variational autoencoder; squared error plus divergence, both in one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.encode = nn.Linear(FEATURES, width)
        self.mean, self.log_variance = nn.Linear(width, 8), nn.Linear(width, 8)
        self.decode, self.out = nn.Linear(8, width), nn.Linear(width, FEATURES)

    def loss(self, batch: Batch) -> Tensor:
        """`batch` is one tensor (batch, features)."""
        (x,) = batch
        hidden = functional.relu(self.encode(x))
        self.notes.zeros("encode", hidden)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        hidden = functional.relu(self.decode(code))
        self.notes.zeros("decode", hidden)
        error = (self.out(hidden).float() - x).square().sum(1).mean()
        divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).float().sum(1).mean()
        loss: Tensor = error + divergence
        return loss


class GAN(Model):
    """Generator against discriminator; the loss is the sum of theirs."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, FEATURES))
        self.critic = nn.Sequential(
            nn.Linear(FEATURES, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def loss(self, batch: Batch) -> Tensor:
        """`batch` is real samples (batch, features) and noise (batch, 8)."""
        real, noise = batch
        made = self.generator(noise)
        frozen = {name: value.detach() for name, value in self.critic.named_parameters()}
        fooled = functional.softplus(-functional_call(self.critic, frozen, (made,)).float()).mean()
        told = functional.softplus(-self.critic(real).float()).mean()
        return fooled + told + functional.softplus(self.critic(made.detach()).float()).mean()


class Policy(Model):
    """A policy with a value head, trained by its gradient on a toy control task."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(STATE, width), nn.Linear(width, width)
        self.actor, self.value = nn.Linear(width, ACTIONS), nn.Linear(width, 1)
        self.entropy_bonus, self.reward_scale, self.reward_noise = 0.01, 1.0, 0.5
        self._before: dict[str, Tensor] = {}

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities of actions, and values."""
        x = torch.tanh(self.first(state))
        self.notes.saturated("first", x)
        x = torch.tanh(self.second(x))
        self.notes.saturated("second", x)
        return self.actor(x).float().log_softmax(-1), self.value(x)[:, 0].float()

    def loss(self, batch: Batch) -> Tensor:
        """`batch` is states, uniform numbers that choose the actions, and reward noise."""
        state, dice, noise = batch
        logs, value = self.forward(state)
        taken = (logs.detach().exp().cumsum(-1) < dice.unsqueeze(-1)).sum(-1).clamp(max=ACTIONS - 1)
        reward = (taken == state[:, :ACTIONS].argmax(-1)).float() * 2 - 1
        reward = self.reward_scale * reward + self.reward_noise * noise
        entropy = -(logs.exp() * logs).sum(-1).mean()
        advantage = reward - value.detach()
        chosen = logs.gather(1, taken.unsqueeze(-1))[:, 0]
        self.signals = {
            "rl_reward": reward.mean(),
            "rl_entropy": entropy.detach(),
            "rl_kl": self._kl(state, logs),
        }
        critic = (value - reward).square().mean()
        return 0.5 * critic - (chosen * advantage).mean() - self.entropy_bonus * entropy

    @torch.no_grad()
    def _kl(self, state: Tensor, logs: Tensor) -> Tensor:
        """How far the policy moved in the last update, on these states."""
        noting, self.notes.on = self.notes.on, False
        old = functional_call(self, self._before, (state,))[0] if self._before else logs.detach()
        self.notes.on = noting
        self._before = copy.deepcopy({name: value.detach() for name, value in self.named_parameters()})
        return (old.exp() * (old - logs.detach())).sum(-1).mean()


def _error(output: Tensor, wanted: Tensor) -> Tensor:
    return (output.float() - wanted).square().mean()
