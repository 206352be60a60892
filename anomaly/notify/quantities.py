"""What was measured, in words and with its unit: `quantity` for a page, `ago` and `lasted` for times."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime

from anomaly.escapes import shown
from anomaly.incidents.text import number_text

LATEST_UNIX_SECONDS = 32_503_679_999.0


def quantity(statistic: str, value: float, expected: float | None, detector: str = "") -> str:
    """A value against its expectation.

    >>> quantity("grad_norm", float("nan"), 0.4123)
    'gradient norm NaN, expected about 0.4123'
    >>> quantity("grad_norm", 0.008, 0.00025), quantity("loss", 1.8, 1.7)
    ('gradient norm 0.008, expected about 0.00025 (32 times that)', 'loss 1.8, expected about 1.7')
    >>> quantity("peak_memory_bytes", 8.1e10, None), quantity("silent_seconds", 312.0, 2.0)
    ('peak memory 75.4 GiB', 'no record for 5 min 12 s, usually every 2 s')
    >>> quantity("weight_hash", 1.0, 0.0, "replica_vote")
    'ranks whose weights differ: 1'
    """
    counted = _COUNTED.get((detector, statistic))
    if counted is not None:
        return f"{counted} {number_text(value)}"
    words, text, usual = _WORDS.get(statistic, (shown(statistic, 60), number_text, _ABOUT))
    against = "" if expected is None else f", {usual} {text(expected)}{_times(value, expected, usual)}"
    return f"{words} {text(value)}{against}"


def lasted(seconds: float) -> str:
    """A length of time, to the two units that matter.

    >>> lasted(0.214), lasted(12.0), lasted(312), lasted(7325), lasted(200_000)
    ('214 ms', '12 s', '5 min 12 s', '2 h 2 min', '2 d 7 h')
    """
    if not math.isfinite(seconds) or seconds < 0:
        return number_text(seconds)
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 60:
        return f"{seconds:.3g} s"
    whole = int(seconds)
    for size, large, smaller, small in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    raise AssertionError(seconds)


def at(unix_seconds: float) -> str:
    """A moment, in UTC and saying so.

    >>> at(1_790_000_000)
    '14:13:20 UTC, 21 Sep 2026'
    """
    return datetime.fromtimestamp(sane(unix_seconds), UTC).strftime("%H:%M:%S UTC, %-d %b %Y")


def rfc3339(unix_seconds: float) -> str:
    """The same for machines; a clock that is out of its mind counts as the nearest one that can be written.

    >>> rfc3339(1_790_000_000.25), rfc3339(float("nan")), rfc3339(1e300)
    ('2026-09-21T14:13:20.250+00:00', '1970-01-01T00:00:00.000+00:00', '2999-12-31T23:59:59.000+00:00')
    """
    return datetime.fromtimestamp(sane(unix_seconds), UTC).isoformat(timespec="milliseconds")


def sane(unix_seconds: float) -> float:
    """A time between 1970 and 2999; the first of these for what is none."""
    return 0.0 if math.isnan(unix_seconds) else min(max(unix_seconds, 0.0), LATEST_UNIX_SECONDS)


def _times(value: float, expected: float, usual: str) -> str:
    """How many times the expectation, where that says more than the two numbers: from twice or half of it on."""
    if usual != _ABOUT or not (0 < value < math.inf and 0 < expected < math.inf):
        return ""
    ratio = max(value / expected, expected / value)
    if not 2 <= ratio < 1e15:
        return ""
    return f" ({number_text(float(f'{ratio:.2g}'))} times {'that' if value > expected else 'less'})"


def _share(value: float) -> str:
    return f"{value * 100:.3g} %" if math.isfinite(value) else number_text(value)


def _bytes(value: float) -> str:
    return f"{value / (1 << 30):.3g} GiB" if math.isfinite(value) else number_text(value)


def _nats(value: float) -> str:
    return f"{number_text(value)} nats"


_ABOUT = "expected about"
_Text = Callable[[float], str]
_WORDS: dict[str, tuple[str, _Text, str]] = {
    "loss": ("loss", number_text, _ABOUT),
    "eval_loss": ("validation loss", number_text, "best"),
    "grad_norm_total": ("gradient norm of the model", number_text, _ABOUT),
    "grad_norm": ("gradient norm", number_text, _ABOUT),
    "grad_absmax": ("largest gradient", number_text, _ABOUT),
    "grad_zero_frac": ("gradients that are zero", _share, _ABOUT),
    "act_zero_frac": ("activations that are zero", _share, _ABOUT),
    "act_saturated_frac": ("activations at their limit", _share, _ABOUT),
    "act_mean": ("mean activation", number_text, _ABOUT),
    "act_rms": ("activation RMS", number_text, _ABOUT),
    "act_in_rms": ("input RMS", number_text, _ABOUT),
    "act_absmax": ("largest activation", number_text, _ABOUT),
    "residual_gain": ("output / input RMS", number_text, _ABOUT),
    "attn_logit_max": ("largest attention logit", number_text, _ABOUT),
    "attn_entropy": ("attention entropy", _nats, _ABOUT),
    "router_entropy": ("router entropy", _nats, _ABOUT),
    "weight_norm": ("weight norm", number_text, _ABOUT),
    "update_ratio": ("update / weight", number_text, _ABOUT),
    "lr": ("learning rate", number_text, _ABOUT),
    "loss_scale": ("loss scale", number_text, "before"),
    "clip_coef": ("clip coefficient", number_text, _ABOUT),
    "skipped": ("skipped steps", number_text, _ABOUT),
    "tokens": ("tokens a step", number_text, _ABOUT),
    "step_seconds": ("step time", lasted, "usually"),
    "data_seconds": ("time waiting for data", lasted, "usually"),
    "peak_memory_bytes": ("peak memory", _bytes, _ABOUT),
    "silent_seconds": ("no record for", lasted, "usually every"),
    "ranks_reporting": ("ranks reporting", number_text, "expected"),
    "readings_absent": ("readings without it", number_text, "usually at most"),
    "grad_nonfinite": ("non-finite gradients", number_text, "expected"),
    "act_nonfinite": ("non-finite activations", number_text, "expected"),
    "weight_nonfinite": ("non-finite weights", number_text, "expected"),
    "nonfinite": ("non-finite values", number_text, "expected"),
}
_COUNTED = {
    ("replica_vote", "weight_hash"): "ranks whose weights differ:",
    ("sessions", "session"): "records of another job under this run id:",
    ("run_length", "input_hash"): "the same hash of the input every time:",
}
