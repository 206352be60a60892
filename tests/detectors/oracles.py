"""The detectors again in plain Python, one series at a time: slow, obvious, and written apart from the fast ones.

Constants are written out once more on purpose: an oracle that imports what it checks agrees with any mistake.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from detectors.levels import shift_level, spike_level
from detectors.profiles import Profile, Transform

DEVIATION = 1.2533141


@dataclass(frozen=True)
class Verdict:
    z: float = 0.0
    spike: float = 0.0
    shift: float = 0.0
    small: float = 0.0


def clip(value: float, bound: float) -> float:
    return max(-bound, min(bound, value))


def share_odds(x: float) -> float:
    share = max(0.0, min(1.0, x))
    return math.log2((share + 1e-2) / (1.0 - share + 1e-2))


class SeriesOracle:
    """One slot of a slab, in double precision: the formula of kernel.py's docstring, line by line."""

    def __init__(self, profile: Profile, slots: int, budget: float) -> None:
        self.p, self.linear = profile, profile.transform is Transform.LINEAR
        self.design = 0.65 * spike_level(slots, budget) * profile.caution if profile.spikes else 1e30
        self.h = shift_level(slots, budget, profile.slack) * profile.caution
        self.n = self.level = self.slope = self.scale = self.fast = self.echo = 0.0
        self.z = self.pair = self.tail = self.sum = self.peak = self.shift_tail = 0.0
        self.age = self.hold = self.zeros = self.longest_zeros = 0

    def transformed(self, x: float, offset: float) -> float | None:
        kind = self.p.transform
        if kind is Transform.LINEAR:
            return clip(x, 1e30)
        if kind is Transform.LOGIT:
            return share_odds(x)
        if x <= 0.0:
            self.zeros += x == 0.0
            return None
        return math.log2(x) - (offset if kind is Transform.LOG2_OVER_LR else 0.0)

    def judge(
        self, x: float, evidence: float = 1.0, offset: float = 0.0, age: float = 0.0, steps: float = 1.0
    ) -> Verdict:
        if not math.isfinite(x):
            return Verdict()
        y = self.transformed(x, offset)
        if y is None or not math.isfinite(y):
            return Verdict()
        if self.zeros:
            due = max(3, 3 * self.longest_zeros)
            self.longest_zeros, self.zeros = max(self.longest_zeros, min(self.zeros, due)), 0
        if self.n == 0:
            self.n, self.level, self.fast = 1.0, y, y
            self.scale = self.p.prior * (abs(y) if self.linear else 1.0)
            return Verdict()
        return self._judged(y, evidence, max(self.n, age), steps)

    def _judged(self, y: float, evidence: float, oldest: float, steps: float) -> Verdict:
        unit = abs(self.level) if self.linear else 1.0
        deviation = max(self.scale, self.p.floor * unit + 1e-20) * DEVIATION
        innovation = y - self.level - self.slope
        z = clip(innovation / deviation, 64.0)
        soft = 1.0 + 20.0 / (self.n + 8.0)
        many = steps >= 10.0 and self.p.transform is not Transform.LOGIT
        lived = oldest * (steps if steps >= 10.0 else 1.0) + 8.0
        early = 1.0 + 10000.0 / lived**2
        r = max(0.0, min(1.0, self.echo))
        r *= 1.5708 - r * r * (0.6460 - 0.0752 * r * r)
        r = min(0.95, r * (1.0 + 0.4 * (1.0 - r)))
        white = (z - r * self.z) / math.sqrt(1.0 - r * r)
        slow = max(0.0, min(1.0, (self.age - 20) / 40))
        rise = self.p.effect_up * (unit + 1e-20) * early * (1.0 + slow)
        fall = self.p.effect_down * (unit + 1e-20) * early * (1.0 + slow)
        smaller = 1.0 + (1.0 / self.p.among - 1.0) * (1.0 - slow)

        pairs = many and self.n >= 20
        two = min(abs(z), abs(self.z)) if z * self.z > 0.0 else 0.0
        lasting = two if pairs else min(abs(z), abs(self.pair)) if z * self.pair > 0.0 else 0.0
        new = abs(white) if z * white > 0.0 else 0.0
        m = max(min(lasting, new), min(0.5 * lasting, 1.5 * new))
        spike_at = max(self.design, 1.5 * self.tail) * evidence * soft
        spike_at = min(spike_at, max(60.0, 1.5 * self.tail)) if self.n >= 16 else spike_at
        effect = rise if z > 0.0 else fall
        if self.age <= 8:  # it came at once: no drift
            effect /= early * (0.5 * (1.0 + 1.0 / self.p.among) if z > 0.0 else 1.0)
        spike = min(m / spike_at, m * deviation / effect)
        small_spike = min(m / spike_at, m * deviation / effect * smaller)

        total = self._summed(clip(white, 4.0))
        shift_at = self.h * evidence * soft * early
        self.fast += 0.2 * (y - self.fast)
        departure = (self.fast - self.level - self.slope) * (1.0 if total > 0.0 else -1.0)
        departure = max(0.0, departure)
        least = max(1.5 * self.shift_tail, 3.0 + r + 3.5 * r * r) * evidence * soft * early * deviation
        effect = rise if total > 0.0 else fall
        far = min(abs(total) / shift_at, departure / least)
        shift = min(far, departure / effect)
        small_shift = min(far, departure / effect * smaller)
        rises = total > 0.0 or (total == 0.0 and self.sum > 0.0)
        counts = self.p.effect_up < math.inf if rises else not self.p.ratchet
        self.peak = max(self.peak, departure / deviation / soft) if self.n >= 20 and counts else 0.0
        ready = self.n >= self.p.warm
        known = ready and self.age <= 1.5 * self.n
        small_spike, small_shift = small_spike * ready, small_shift * known
        side = z if small_spike > small_shift else total
        verdict = Verdict(
            z,
            math.copysign(spike, z) * ready,
            math.copysign(shift, total) * known,
            math.copysign(max(small_spike, small_shift), side),
        )
        self._hold(verdict, total, shift_at, lived)
        self._learn(y, innovation, deviation, z, min(m / soft, spike_at))
        self.pair = math.copysign(two, z)
        self.z = z
        if self.hold >= 30:
            self._again()
        return verdict

    def _summed(self, w: float) -> float:
        up, down = max(self.sum, 0.0) + w - self.p.slack, min(self.sum, 0.0) + w + self.p.slack
        if self.sum < 0.0:
            return down if down < 0.0 else max(up, 0.0)
        return up if up > 0.0 else min(down, 0.0)

    def _hold(self, verdict: Verdict, total: float, shift_at: float, lived: float) -> None:
        """Whether the reference is frozen: `away` from an alarm until z is back, `suspect` on a large sum.

        A suspicion that has lasted too long is `settled`: the level is where the series is.
        """
        drain = 2.0 if self.hold and abs(verdict.z) < 1.0 else 0.0
        size = min(max(abs(total) - drain, 0.0), 1.25 * shift_at)
        alarm = abs(verdict.spike) >= 1.0 or abs(verdict.shift) >= 1.0
        self.away = alarm or (self.hold > 0 and (abs(verdict.z) >= 2.0 or size >= 0.5 * shift_at))
        self.hold = self.hold + 1 if self.away else 0
        total = math.copysign(size, total)
        self.age = (self.age + 1 if total * self.sum > 0.0 else 1) if size > 0.0 else 0
        self.sum = total
        beyond = size >= 0.25 * self.h and self.n >= 12
        patience = 20 if self.p.ratchet and total < 0.0 else 300
        self.suspect = beyond and self.age < min(patience, 1.5 * self.n) and self.age * 150 < self.n * lived
        self.settled = beyond and not self.suspect and not self.away

    def _learn(self, y: float, innovation: float, deviation: float, z: float, m: float) -> None:
        n, p, again = self.n, self.p, self.hold >= 30
        known = not (self.away or self.suspect)
        ended = min(self.peak, 8.0) if self.sum == 0.0 or again or self.settled else 0.0
        if again or known:
            self.shift_tail = max(self.shift_tail * 0.9998, ended)
        if self.sum == 0.0 or self.settled:
            self.peak = 0.0
        if self.settled:
            self.level, self.slope, self.sum, self.age = self.fast, 0.0, 0.0, 0
            return
        if not known:
            self.level += self.slope
            self.slope *= 0.95
            return
        level, clipped = self.level, clip(innovation, 4.0 * deviation)
        self.level += self.slope + max(p.level_rate, 2 * (2 * n + 1) / ((n + 1) * (n + 2))) * clipped
        self.slope = 0.97 * self.slope + max(p.slope_rate, 6.0 / (n + 8.0) ** 2) * clipped
        self.slope = min(self.slope, 0.0) if p.ratchet else self.slope
        unitless = self.linear and n < 20 and self.scale <= p.floor * abs(level)
        size = abs(innovation) if unitless else min(abs(innovation), (2.5 if n >= 20 else 4.0) * deviation)
        self.scale += max(p.scale_rate, 2.0 / (n + 8.0)) * (size - self.scale)
        same = (z * self.z > 0.0) - (z * self.z < 0.0)
        self.echo += max(0.002, 1.0 / (n + 8.0)) * (same - self.echo)
        self.tail = max(self.tail * 0.9998, m)
        self.n += 1.0

    def _again(self) -> None:
        """The alarm has lasted 30 readings: the new level is the reference, worth 8 readings."""
        self.n, self.level, self.slope, self.hold = 8.0, self.fast, 0.0, 0
        self.z = self.pair = self.sum = self.peak = 0.0
        self.age = 0


def climb_ratio(readings: Sequence[float]) -> float:
    """The climb chart's ratio after all these readings, from scratch: blocks are slices."""
    finite = [x for x in readings if math.isfinite(x)]
    below = next((i for i, x in enumerate(finite) if x < 0.0), None)
    ys = finite[below:] if below is not None else [math.log2(x) for x in finite if x > 0.0]
    return max((_scale_ratio(ys, size, below is not None) for size in (8, 32, 128)), default=0.0)


def _scale_ratio(ys: Sequence[float], size: int, signed: bool) -> float:
    means = [math.fsum(ys[i : i + size]) / size for i in range(0, len(ys) - size + 1, size)]
    noise, learned, tail, peak, raw = 0.0, 0, 0.0, 0.0, 0.0
    for end in range(8, len(means) + 1):
        ring = means[end - 8 : end]
        for i in range(6 if learned == 0 else 1):
            bend = abs(ring[i + 2] - 2.0 * ring[i + 1] + ring[i])
            bend = min(bend, 4.0 * noise) if learned >= 6 else bend
            learned += 1
            noise += max(1.0 / 32.0, 1.0 / learned) * (bend - noise)
        effect = 3.0 * _roughness(ys[: end * size]) if signed else _nats(ring[-1])
        steps = [b - a for a, b in pairwise(ring)]
        jump = max(0.0, *steps, *(a + b for a, b in pairwise(steps)))
        rise = ring[-1] - ring[0] - jump
        best, largest, ago = _best_before(means[:end])
        raw = min(rise / (2.1 * math.sqrt(7.0) * noise), rise / effect, (ring[-1] - best) / effect)
        raw = raw if sum(step > 0.0 for step in steps) >= 5 and raw > 0.0 else 0.0
        ascent = ring[-1] - best - largest
        raw = max(raw, min(ascent / (4.2 * noise), ascent / effect)) if ago >= 4 else raw
        raw = raw if learned >= 12 else 0.0
        if raw > 0.0:
            peak = max(peak, raw)
        else:
            tail, peak = max(tail * 0.995, min(peak, 2.0)), 0.0
    return raw / max(1.0, 1.5 * tail)


def _nats(level: float) -> float:
    """A fifth of a nat above a level in log2, where that is between 2 % and 9 %."""
    return min(max(math.log2(1.0 + 0.2 / 2.0**level), 0.03), 0.12)


def _best_before(means: Sequence[float]) -> tuple[float, float, int]:
    """The best block, forgotten by 2 % a block, the largest jump since over one or two blocks, blocks ago."""
    best, jump, ago = means[0], 0.0, 0
    for at in range(1, len(means)):
        if means[at] < best:
            best, jump, ago = means[at], 0.0, 0
            continue
        ago += 1
        best += 0.02 * (means[at] - best)
        jump = max(
            0.98 * jump, means[at] - means[at - 1], means[at] - means[at - 2] if ago >= 2 else -math.inf
        )
    return best, jump, ago


def _roughness(ys: Sequence[float]) -> float:
    rough = 0.0
    for i in range(1, len(ys)):
        rough += max(0.01, 1.0 / i) * (abs(ys[i] - ys[i - 1]) - rough)
    return rough


def run_ratio(holds: Sequence[bool | None], minimum: int = 3) -> float:
    """run / limit after these readings; None = not measured."""
    if not holds or holds[-1] is None:
        return 0.0
    run, longest = 0, 0
    for held in (held for held in holds if held is not None):
        if held:
            run += 1
        else:
            longest, run = max(longest, min(run, max(minimum, 3 * longest))), 0
    return run / max(minimum, 3 * longest)
