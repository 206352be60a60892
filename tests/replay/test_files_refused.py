"""Files that can't be read say where and what is needed, before or instead of any record."""

from __future__ import annotations

from pathlib import Path

import pytest

from anomaly.errors import ReplayFileError
from tests.replay.files import csv, messages, parquet


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run,loss\nr,1\n", "column 'step' is missing"),
        ("", "Empty CSV file"),
        ("run,step,loss,loss\nr,1,2,3\n", "column 'loss' stands twice"),
        ("run,step,note\nr,1,2\nr,2,hello\n", "row 2, column 'note': got 'hello'; a number"),
        ("run,step,loss\nr,1,2\nr,x,2\n", "row 2, column 'step': got 'x'; a number"),
        ("run,step,loss\nr,1,2\nr,2\n", "row 2: got 2 cells for 3 columns"),
        ("run,step,loss\nr,1,2\n,2,2\n", "row 2, column 'run': got null; every row needs a run id"),
        ("run,step,loss\nr,1,2\nr,,2\n", "row 2, column 'step': got null; every row needs a step"),
        ("run,step,loss\nr,NaN,2\n", "row 1, column 'step': got nan; a number from -2**43 to 2**43"),
        ("run,step,loss\nr,1e15,2\n", "row 1, column 'step': got 1000000000000000.0; a number from"),
        (
            "run,step,loss\nr,4294967296.5,2\n",
            "row 1, column 'step': got 4294967296.5; fractions are allowed only",
        ),
        ("run,step,rank,loss\nr,1,-1,2\n", "row 1, column 'rank': got -1.0; an integer from 0"),
        ("run,step,time,loss\nr,1,NaN,2\n", "row 1, column 'time': got nan; unix seconds"),
        ("run,step,events,loss\nr,1,oops,2\n", "row 1, column 'events': not JSON"),
        ('run,step,events,loss\nr,1,[],2\nr,2,"{""kind"": 1}",2\n', "row 2, column 'events': got"),
        (
            "run,step,session,loss\nr,1,99,2\n",
            "row 1: got only one of session and sequence; write both or neither",
        ),
        ("run,step,session,loss\nr,1,1.5,2\n", "row 1, column 'session': got '1.5'; an integer of 64 bits"),
        (f"run,step,loss\n{'r' * 201},1,2\n", "row 1, column 'run': got a name of 201 characters"),
        ("run,step,trainable,loss\nr,1,maybe,2\n", "row 1, column 'trainable': got 'maybe'; true or false"),
    ],
)
def test_an_error_names_file_row_and_column_and_what_is_needed(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = csv(tmp_path / "wrong.csv", text)
    with pytest.raises(ReplayFileError) as caught:
        messages(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)


def test_a_text_column_in_parquet_is_refused_by_name_before_any_record(tmp_path: Path) -> None:
    path = parquet(tmp_path / "note.parquet", run=["r"], step=[1], note=["x"])
    with pytest.raises(
        ReplayFileError, match=r"column 'note' has type string; a signal's column must hold numbers"
    ):
        messages(path)


def test_a_session_in_floating_point_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "s.parquet", run=["r"], step=[1], session=[1.0], sequence=[1], loss=[1.0])
    with pytest.raises(ReplayFileError, match="column 'session' has type double; 64-bit integers are needed"):
        messages(path)


def test_a_file_that_is_cut_off_or_not_there_is_an_error(tmp_path: Path) -> None:
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(ReplayFileError, match=r"cut\.parquet: "):
        messages(cut)
    with pytest.raises(ReplayFileError, match=r"gone\.parquet: cannot be read: No such file"):
        messages(tmp_path / "gone.parquet")
