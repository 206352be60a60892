"""Whether the loss is what a run is after: not where another player or the policy's own samples decide what it is.

A generator's loss rises as its critic learns, a policy's with its rewards, an autoencoder's with the weight of its
divergence: there a loss that climbs, leaps or stands still is nature, and no more than a remark. Known by names, as
nothing in the numbers tells one from the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORDS = re.compile(r"[a-z]+")
_REWARDS = frozenset(("reward", "rewards", "rew", "return", "returns", "episode", "rollout", "advantage"))
_POLICY = _REWARDS | {"policy", "rl", "rlhf", "ppo", "grpo", "approx", "objective"}
_PLAYERS = (
    (frozenset(("generator", "gen", "netg")), frozenset(("discriminator", "critic", "disc", "netd"))),
    (frozenset(("actor", "policy", "pi")), frozenset(("critic", "value", "vf"))),
    (frozenset(("g",)), frozenset(("d",))),
    (frozenset(("kl", "kld")), frozenset(("recon", "reconstruction", "rec", "elbo", "beta"))),
)
_PLAYER = frozenset(
    ("g", "d", "gen", "disc", "generator", "discriminator", "netg", "netd", "adv", "adversarial", "gan")
)
"""Whose loss it is, where a name says so: then another has one, too."""


def words_of(name: str) -> frozenset[str]:
    """The words of a name, in small letters.

    >>> sorted(words_of("rollout/ep_rew_mean"))
    ['ep', 'mean', 'rew', 'rollout']
    """
    return frozenset(_WORDS.findall(name.lower()))


def is_policy(signals: Iterable[str]) -> bool:
    """Whether one of these whole-model signals is of a policy that learns by rewards.

    >>> is_policy(["loss", "rl_reward"]), is_policy(["loss", "kl"])
    (True, False)
    """
    return any(words_of(signal) & _POLICY for signal in signals)


def has_players(names: Iterable[str]) -> bool:
    """Whether these names of layers or signals are of two players: a generator and its critic, an actor and its, or the
    two parts of an autoencoder's loss.

    >>> has_players(["generator.0", "critic.2"]), has_players(["encoder.0", "decoder.0"])
    (True, False)

    >>> has_players(["loss", "g_loss"]), has_players(["loss", "aux_loss"])
    (True, False)
    """
    of_names = [words_of(name) for name in names]
    words: frozenset[str] = frozenset().union(*of_names)
    apart = any(words & one and words & other for one, other in _PLAYERS)
    return apart or any("loss" in each and each & _PLAYER for each in of_names)
