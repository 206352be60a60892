"""Rows of Parquet and CSV become the records that contracts promise."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from anomaly.records import Fork, Place
from tests.replay.files import csv, messages, parquet, series, steps, value

M = 1_000_000


def test_a_record_is_the_adjacent_rows_of_equal_run_rank_and_step(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "runs.csv",
        "run,rank,step,layer,loss,grad_norm\n"
        "r,0,1,,2.5,\n"
        "r,0,1,a,,0.1\n"
        "r,0,1,b,,0.2\n"
        "r,1,1,,2.6,\n"
        "r,1,1,a,,0.3\n"
        "q,0,1,a,,0.4\n"
        "r,0,2,b,,0.5\n",
    )
    found = messages(path)
    assert [(message.run, message.rank, message.steps[0]) for message in found] == [
        ("r", 0, M),
        ("r", 1, M),
        ("q", 0, M),
        ("r", 0, 2 * M),
    ]
    assert series(found, "loss") == [2.5, pytest.approx(2.6), None, None]
    assert series(found, "grad_norm", "a") == pytest.approx([0.1, 0.3, 0.4, None])
    assert series(found, "grad_norm", "b") == pytest.approx([0.2, None, None, 0.5])


def test_a_layer_seen_again_begins_a_new_record_of_the_same_step(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "twice.parquet",
        run=["r"] * 7,
        step=[5] * 7,
        layer=["b", "a", "b", "a", "a", None, ""],
        grad_norm=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0],
    )
    found = messages(path)
    assert series(found, "grad_norm", "a") == [2.0, 4.0, 5.0, None]
    assert series(found, "grad_norm", "b") == [1.0, 3.0, None, None]
    assert series(found, "grad_norm") == [None, None, 6.0, 7.0]


def test_rows_without_layers_are_a_record_each_even_at_a_repeated_step(tmp_path: Path) -> None:
    path = parquet(tmp_path / "wide.parquet", run=["r"] * 4, step=[1, 2, 2, 1], loss=[4.0, 3.0, 2.0, 1.0])
    found = messages(path)
    assert steps(found) == [M, 2 * M, 2 * M, M]
    assert series(found, "loss") == [4.0, 3.0, 2.0, 1.0]


def test_null_is_not_measured_and_nan_is_measured_in_parquet(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "nan.parquet",
        run=["r"] * 4,
        step=[1, 2, 3, 4],
        loss=pa.array([1.0, None, math.nan, math.inf], from_pandas=False),
    )
    one, two, three, four = series(messages(path), "loss")
    assert (one, two, four) == (1.0, None, math.inf)
    assert three is not None
    assert math.isnan(three)


def test_an_empty_cell_is_not_measured_and_the_nan_token_is_measured_in_csv(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "nan.csv", 'run,step,loss\nr,1,\nr,2,NaN\nr,3,nan\nr,4,-Infinity\nr,5,""\nr,6,inf\n'
    )
    found = series(messages(path), "loss")
    assert found[0] is None
    assert found[4] is None
    assert [math.isnan(number) for number in (found[1], found[2]) if number is not None] == [True, True]
    assert (found[3], found[5]) == (-math.inf, math.inf)


def test_a_run_called_nan_keeps_its_name(tmp_path: Path) -> None:
    assert messages(csv(tmp_path / "a.csv", "run,step,loss\nNaN,1,2\n"))[0].run == "NaN"


def test_layers_and_signals_keep_their_place_and_later_ones_go_last(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "growing.parquet",
        run=["r"] * 5,
        step=[1, 1, 2, 3, 3],
        layer=["z", "m", "a", "m", "z"],
        grad_norm=[1.0, 1.0, 1.0, 1.0, 1.0],
        act_rms=[None, None, None, 2.0, None],
    )
    found = messages(path)
    assert [message.layout.layers for message in found if message.layout] == [
        ("z", "m"),
        ("z", "m", "a"),
        ("z", "m", "a"),
    ]
    assert [message.layout.signals for message in found if message.layout] == [
        ("grad_norm",),
        ("grad_norm",),
        ("grad_norm", "act_rms"),
    ]
    assert found[0].values.shape == (1, 2)
    assert found[2].values.shape == (1, 6)
    assert value(found[2], "act_rms", "m") == 2.0
    assert value(found[2], "grad_norm", "a") is None


def test_a_layout_that_does_not_change_is_one_object(tmp_path: Path) -> None:
    path = parquet(tmp_path / "same.parquet", run=["r"] * 50, step=list(range(50)), loss=[1.0] * 50)
    assert len({id(message.layout) for message in messages(path)}) == 1


def test_a_signal_that_is_never_measured_for_a_run_is_not_in_its_layout(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "two.parquet",
        run=["a", "b"],
        step=[1, 1],
        loss=[1.0, None],
        grad_norm_total=[None, 2.0],
    )
    assert [message.layout.model_signals for message in messages(path) if message.layout] == [
        ("loss",),
        ("grad_norm_total",),
    ]


def test_a_mask_belongs_to_the_layout_once_every_layer_has_it_and_dtypes_once_one_has(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "mask.csv",
        "run,step,layer,trainable,dtype,grad_norm\n"
        "r,1,a,true,bfloat16,1\nr,1,b,false,float32,0\n"
        "r,2,a,,,1\nr,2,b,,,0\n"
        "q,1,a,true,,1\nq,1,b,,,1\n"
        "p,1,a,true,bfloat16,1\np,1,a.block,,,\np,2,a.block,,,1\n",
    )
    first, second, other, block, late = messages(path)
    assert first.layout is not None
    assert (first.layout.trainable, first.layout.dtype) == ((True, False), ("bfloat16", "float32"))
    assert second.layout == first.layout
    assert other.layout is not None
    assert (other.layout.trainable, other.layout.dtype) == (None, None)
    assert block.layout is not None
    assert block.layout.dtype == ("bfloat16", "")
    assert block.layout.trainable == (True, False)  # of what has no weights there is nothing to guess
    assert late.layout is not None
    assert late.layout.trainable is None


def test_what_a_record_says_of_itself_is_read_from_whichever_row_has_it(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "all.parquet",
        run=["r"] * 3,
        step=[1, 1, 2],
        layer=["a", "", "a"],
        grad_norm=[1.0, None, 1.0],
        rank=[3, 3, 3],
        time=[None, 1790000000.25, None],
        session=pa.array([1 << 63, 1 << 63, 7], pa.uint64()),
        sequence=[0, 0, 1],
        events=[None, json.dumps([{"kind": "checkpoint_end", "step": 1}]), None],
        tags=[json.dumps({"team": "speech"}), None, None],
        fork=[None, json.dumps({"root": "r0", "parent": "r1", "step": 100}), None],
        place=[None, json.dumps({"world_size": 8, "data": 3}), None],
    )
    first, second = messages(path)
    assert first.rank == 3
    assert (first.times, second.times) == ([1790000000.25], [None])
    assert (first.session, first.sequence, second.session, second.sequence) == (1 << 63, 0, 7, 1)
    assert first.events == [({"kind": "checkpoint_end", "step": 1},)]
    assert second.events is None
    assert (first.tags, second.tags) == ({"team": "speech"}, None)
    assert first.fork == Fork("r0", "r1", 100 * M)
    assert first.place == Place(world_size=8, data=3)


def test_a_session_is_the_same_64_bits_signed_unsigned_or_as_text(tmp_path: Path) -> None:
    signed = parquet(tmp_path / "s.parquet", run=["r"], step=[1], session=[-1], sequence=[0], loss=[1.0])
    text = csv(tmp_path / "u.csv", f"run,step,session,sequence,loss\nr,1,{(1 << 64) - 1},0,1\n")
    assert messages(signed)[0].session == messages(text)[0].session == (1 << 64) - 1


def test_steps_are_millionths_whether_integers_floats_or_decimals(tmp_path: Path) -> None:
    floats = csv(
        tmp_path / "f.csv", "run,step,loss\nr,-1,1\nr,0.000001,1\nr,4294967295.25,1\nr,8796093022208,1\n"
    )
    decimals = parquet(
        tmp_path / "d.parquet", run=["r"], step=pa.array([1.5]).cast(pa.decimal128(9, 2)), loss=[1.0]
    )
    assert steps(messages(floats)) == [-M, 1, 4294967295250000, (1 << 43) * M]
    assert steps(messages(decimals)) == [1_500_000]


@pytest.mark.parametrize("rows_a_piece", [1, 2, 3, 7, 1000])
def test_cutting_the_file_into_pieces_changes_nothing(tmp_path: Path, rows_a_piece: int) -> None:
    rng = np.random.default_rng(7)
    rows = [
        (run, step // 3, rank, layer)
        for step in range(40)
        for run in ("r", "q")
        for rank in range(3)
        for layer in ["", *rng.permutation([f"h.{number}" for number in range(1 + step % 5)])]
    ]
    runs, step, rank, layer = (list(column) for column in zip(*rows, strict=True))
    values = rng.normal(size=len(rows)).astype(np.float32)
    nulls = rng.random(len(rows)) < 0.2
    path = parquet(
        tmp_path / "cut.parquet",
        row_group_rows=11,
        run=runs,
        step=step,
        rank=rank,
        layer=[str(name) for name in layer],
        loss=pa.array(values, mask=nulls),
        act_rms=pa.array(values[::-1].copy(), mask=nulls[::-1].copy()),
    )
    whole = messages(path)
    assert len(whole) == 240
    cut = messages(path, rows_a_piece=rows_a_piece)
    assert [(m.run, m.rank, m.steps, m.layout, m.values.tobytes()) for m in cut] == [
        (m.run, m.rank, m.steps, m.layout, m.values.tobytes()) for m in whole
    ]


def test_several_files_are_one_stream_in_the_order_given(tmp_path: Path) -> None:
    first = csv(tmp_path / "1.csv", "run,step,layer,loss,grad_norm\nr,1,,2,\nr,1,a,,1\n")
    second = parquet(
        tmp_path / "2.parquet", run=["r", "r"], step=[1, 2], layer=["b", "a"], act_rms=[5.0, 6.0]
    )
    found = messages(first, second)
    assert steps(found) == [M, 2 * M]
    assert found[0].layout is not None
    assert found[0].layout.layers == ("a", "b")
    assert (value(found[0], "act_rms", "b"), value(found[0], "grad_norm", "a")) == (5.0, 1.0)
    assert steps(messages(second, first)) == [M, 2 * M, M]


def test_numbers_of_every_type_become_float32(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "types.parquet",
        run=pa.array(["r", "r"]).dictionary_encode(),
        step=pa.array([1, 2], pa.int32()),
        skipped=[True, False],
        tokens=pa.array([1 << 60, None], pa.int64()),
        loss=pa.array([0.1, 1e300], pa.float64()),
        mine=pa.array([0.5, None], pa.float16()),
        never=pa.nulls(2),
    )
    found = messages(path)
    assert series(found, "skipped") == [1.0, 0.0]
    assert series(found, "tokens") == [float(1 << 60), None]
    assert series(found, "loss") == [float(np.float32(0.1)), math.inf]
    assert series(found, "mine") == [0.5, None]


def test_an_empty_file_is_no_record(tmp_path: Path) -> None:
    assert messages(csv(tmp_path / "empty.csv", "run,step,loss\n")) == []
