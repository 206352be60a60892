"""Pictures of evidence: what must be seen on them, whatever a run is called."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread

from anomaly.incidents import KINDS, Severity
from anomaly.notify.lettering import drawn
from anomaly.notify.picture import DOTS, TITLE_LETTERS, WIDTH, draw
from anomaly.notify.picture_curve import ALARM, band_of
from anomaly.notify.picture_strip import COLOURS, ratios
from anomaly.notify.strips import Strip
from anomaly.notify.window import Curve, Window
from tests.commands.transitions import transition
from tests.repository import REPOSITORY

STEPS = np.arange(41_100.0, 41_180.0)
ONSET = 60
NAMES = tuple(f"layers.{number}.attn" for number in range(12))
HOSTILE = ("$\\frac{1}{0}$", "a$b", "evil\x1b[31m\u202e\n", "\u6a21\u578b", "x" * 200, "\\", "%s{}")


def around(bad: float = np.nan, names: tuple[str, ...] = NAMES) -> Window:
    """A run whose third layer breaks at the sixtieth of eighty steps."""
    values = np.exp(np.random.default_rng(5).normal(0, 0.1, (len(names), len(STEPS))))
    values[2, ONSET:] = bad
    there = np.ones(values.shape, bool)
    strip = Strip("layers", "grad_norm", names, (2,), values, there)
    return Window(STEPS, (Curve("grad_norm", names[2], values[2], there[2], 1.0),), strip)


ONE = transition(kind="nonfinite_gradient", ranks=(), first_step=41_160, step=41_160)


def pixels(png: bytes) -> np.ndarray:
    found: np.ndarray = imread(io.BytesIO(png), format="png")[:, :, :3]
    return found


def share_of(colour: str, png: bytes) -> float:
    """The share of pixels that have this colour."""
    wanted = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return float((np.abs(pixels(png) - wanted).max(axis=2) < 0.02).mean())


def test_a_picture_is_as_wide_as_a_phone_shows_well_and_small_enough_to_send() -> None:
    png = draw(ONE, around())
    assert pixels(png).shape[1] == int(WIDTH * DOTS)
    assert len(png) < 300_000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_marked_and_nothing_else_is(bad: float) -> None:
    assert share_of(ALARM, draw(ONE, around(bad))) > 0.003
    assert share_of(ALARM, draw(ONE, around(3.0))) == 0.0


def test_lightness_alone_tells_above_from_below() -> None:
    shades = COLOURS(np.linspace(0, 1, 64))[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(shades) < 0).all()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_and_never_read_as_a_formula(name: str) -> None:
    names = tuple(f"{name}{number}" for number in range(4))
    of = transition(run=name, kind=name, ranks=(), layer=names[2], layers=(names[2],), first_step=41_160)
    assert len(draw(of, around(names=names))) > 1000


def test_a_name_keeps_its_ends_when_it_is_cut() -> None:
    assert drawn("model.layers.17.self_attn.q_proj", 20) == "model.lay…ttn.q_proj"
    assert drawn("$x$", 20) == r"\$x\$"


@pytest.mark.parametrize("kind", ["nonfinite_loss", "run_silent", "a_kind_of_a_later_version"])
@pytest.mark.parametrize("severity", list(Severity))
def test_an_incident_without_layers_is_its_statistic_alone(kind: str, severity: Severity) -> None:
    every = around()
    alone = Window(STEPS, every.curves, None, ("earlier telemetry is no longer kept",))
    of = transition(kind=kind, severity=severity, layer=None, layers=(), ranks=(), first_step=41_160)
    assert pixels(draw(of, alone)).shape[0] < pixels(draw(of, every)).shape[0]


def test_values_that_leave_no_scale_are_drawn_all_the_same() -> None:
    for values in (
        np.full(80, np.nan), np.zeros(80), np.full(80, -3.0), np.geomspace(1e-30, 1e30, 80), np.full(80, np.inf),
        np.where(np.arange(80) % 2, 0.0, 1e6),
    ):  # fmt: skip
        curve = Curve("loss", "", values, np.ones(80, bool), 1.0)
        assert draw(ONE, Window(STEPS, (curve, curve)))
    one = Curve("loss", "", np.array([1.0]), np.ones(1, bool))
    assert draw(ONE, Window(np.array([41_160.0]), (one,)))


def test_nothing_measured_in_a_row_is_no_reason_to_fail() -> None:
    strip = around().strip
    assert strip is not None
    empty = Strip("layers", "x", NAMES, (2,), strip.values, np.zeros(strip.values.shape, bool))
    assert draw(ONE, Window(STEPS, around().curves, empty))


def test_pictures_drawn_at_once_are_the_same_and_leave_no_setting_behind() -> None:
    before = dict(mpl.rcParams)
    with ThreadPoolExecutor(4) as threads:
        drawings = list(threads.map(lambda _: draw(ONE, around()), range(8)))
    assert len(set(drawings)) == 1
    assert dict(mpl.rcParams) == before


def test_a_layer_is_compared_with_its_own_past_and_a_rank_with_its_peers() -> None:
    values = np.array([[1.0, 1.0, 1.0, 4.0], [10.0, 10.0, 10.0, 10.0], [2.0, 2.0, 2.0, 2.0]])
    there = np.ones(values.shape, bool)
    steps = np.arange(4.0)
    own = ratios(Strip("layers", "x", ("a", "b", "c"), (0,), values, there), steps, 3.0)
    assert np.round(own, 1).tolist() == [[0, 0, 0, 1.9], [0, 0, 0, 0], [0, 0, 0, 0]]
    peers = ratios(Strip("ranks", "x", ("0", "1", "2"), (1,), values, there), steps, 3.0)
    assert np.round(peers[:, 0], 1).tolist() == [-0.9, 2.3, 0.0]
    assert np.isnan(
        ratios(Strip("layers", "x", ("a", "b", "c"), (), values * np.nan, there), steps, 3.0)
    ).all()


def test_the_band_is_of_the_past_alone_and_stays_as_it_was_at_the_onset() -> None:
    values = np.concatenate((np.tile([1.0, 2.0], 20), np.full(10, 50.0)))
    band = band_of(np.arange(50.0), values, 40.0, 49.5)
    assert band is not None
    assert band.high[band.steps >= 40].max() <= 2.0
    assert band.steps[-1] == 49.5
    assert band_of(np.arange(50.0), values, 3.0, 49.5) is None


def test_every_kind_has_a_title_that_fits() -> None:
    assert [kind.title for kind in KINDS.values() if drawn(kind.title, TITLE_LETTERS) != kind.title] == []


def test_the_samples_in_the_documentation_are_pictures() -> None:
    for path in (REPOSITORY / "docs" / "pictures").glob("*.png"):
        assert pixels(path.read_bytes()).shape[1] >= 360
