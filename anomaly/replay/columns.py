"""One Arrow batch's columns as arrays, each distinct text read once; an error names file, row and column."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from anomaly import json_records
from anomaly.errors import Reason, RecordError, ReplayFileError
from anomaly.records import MAX_FRACTIONAL_STEP, MAX_STEP, MILLIONTHS, NOT_MEASURED, check_name

ABSENT = -1
"""A null in a column of integers or names."""


class Names:
    """Strings of the whole stream, numbered in order of appearance."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of `text`, a new one where it was not seen before."""
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number


class Columns:
    """One Arrow batch's columns as arrays, with errors that name the row."""

    def __init__(self, file: str, batch: pa.RecordBatch, first: int) -> None:
        self.file = file
        self.batch = batch
        self.first = first

    def refuse(self, name: str, wrong: NDArray[np.bool_], got: Any, needed: str) -> None:
        """Raise for the first row that is `wrong`; `got` is shown, or the row's own value where it is an array."""
        if wrong.any():
            at = int(np.argmax(wrong))
            shown = got[at] if isinstance(got, np.ndarray) else got
            raise self._error(name, at, f"got {shown}; {needed}")

    def names(self, name: str, known: Names) -> NDArray[np.int64]:
        """Numbers of the column's names, `ABSENT` for null and for the empty string."""
        codes, texts = self._distinct(name)
        numbers = np.full(len(texts) + 1, ABSENT)
        for code in np.unique(codes[codes >= 0]):
            text = texts[code]
            if text:
                try:
                    numbers[code] = known.number(check_name(name, text))
                except RecordError as error:
                    raise self._error(name, int(np.argmax(codes == code)), error.detail) from None
        return cast("NDArray[np.int64]", numbers[codes])

    def objects(self, name: str, parse: Callable[[Any], Any]) -> NDArray[np.object_]:
        """The column's entries, each distinct one parsed once; None for null."""
        codes, entries = self._distinct(name)
        parsed = np.full(len(entries) + 1, None, dtype=object)
        for code in np.unique(codes[codes >= 0]):
            try:
                parsed[code] = parse(entries[code])
            except (RecordError, ValueError, TypeError, RecursionError) as error:
                detail = error.detail if isinstance(error, RecordError) else f"not JSON: {error}"
                raise self._error(name, int(np.argmax(codes == code)), detail) from None
        return parsed[codes]

    def integers(self, name: str, largest: int, default: int = ABSENT) -> NDArray[np.int64]:
        """Integers from 0 to `largest`, `default` for null."""
        if (column := self._column(name)) is None:
            return np.full(len(self.batch), default)
        valid, numbers = _valid(column), _floats(column)
        wrong = valid & ~((numbers >= 0) & (numbers <= largest) & (numbers == np.floor(numbers)))
        self.refuse(name, wrong, numbers, f"an integer from 0 to {largest} is needed")
        if pa.types.is_integer(column.type):
            whole = column.cast(pa.int64()).fill_null(default).to_numpy(zero_copy_only=False)
            return cast("NDArray[np.int64]", whole)
        return np.where(valid, numbers, default).astype(np.int64)

    def steps(self) -> NDArray[np.int64]:
        """Steps in millionths."""
        column = self._column("step")
        assert column is not None
        numbers = _floats(column)
        self.refuse("step", ~_valid(column), "null", "every row needs a step")
        self.refuse(
            "step", ~(np.abs(numbers) <= MAX_STEP), numbers, "a number from -2**43 to 2**43 is needed"
        )
        whole = np.floor(numbers)
        split = (numbers != whole) & (np.abs(numbers) >= MAX_FRACTIONAL_STEP)
        self.refuse("step", split, numbers, "fractions are allowed only below 2**32, write a whole step")
        millionths = whole.astype(np.int64) * MILLIONTHS
        return np.where(numbers == whole, millionths, np.rint(numbers * MILLIONTHS).astype(np.int64))

    def times(self) -> NDArray[np.float64]:
        """Unix seconds, NaN for null."""
        if (column := self._column("time")) is None:
            return np.full(len(self.batch), np.nan)
        seconds = _floats(column)
        wrong = _valid(column) & ~(np.abs(seconds) < json_records.MAX_TIME)
        self.refuse("time", wrong, seconds, "unix seconds are needed")
        return seconds

    def _column(self, name: str) -> pa.Array | None:
        return self.batch.column(name) if name in self.batch.schema.names else None

    def _distinct(self, name: str) -> tuple[NDArray[np.int64], list[Any]]:
        """A code per row (`ABSENT` for null) and what each code stands for."""
        column = self._column(name)
        if column is None or pa.types.is_null(column.type):
            return np.full(len(self.batch), ABSENT), []
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        codes = column.indices.cast(pa.int64()).fill_null(ABSENT).to_numpy(zero_copy_only=False)
        return codes, column.dictionary.to_pylist()

    def _error(self, name: str, at: int, problem: str) -> ReplayFileError:
        return ReplayFileError(
            f"{self.file}: row {self.first + at + 1}, column {name!r}: {problem.removeprefix(f'{name}: ')}"
        )


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    return cast("NDArray[np.bool_]", column.is_valid().to_numpy(zero_copy_only=False))


def _floats(column: pa.Array) -> NDArray[np.float64]:
    """The column as float64, NaN for null."""
    floats = column if pa.types.is_float64(column.type) else column.cast(pa.float64(), safe=False)
    return cast("NDArray[np.float64]", floats.to_numpy(zero_copy_only=False))


def float32_of(column: pa.Array) -> NDArray[np.float32]:
    """The column as float32, `NOT_MEASURED` for null. Beyond float32 is infinity, as on every path."""
    floats = column if pa.types.is_floating(column.type) else column.cast(pa.float64(), safe=False)
    with np.errstate(over="ignore"):
        values = floats.to_numpy(zero_copy_only=False).astype(np.float32)
    if column.null_count:
        values[~_valid(column)] = NOT_MEASURED
    return cast("NDArray[np.float32]", values)


def session_of(entry: int | str) -> int:
    """64 bits, whichever way their sign was stored."""
    try:
        session = int(entry)
    except ValueError:
        session = 1 << 64
    if not -(1 << 63) <= session < 1 << 64:
        raise RecordError(Reason.INVALID_RECORD, f"got {entry!r}; an integer of 64 bits is needed")
    return session % (1 << 64)


def events_of(text: str) -> tuple[Any, ...]:
    """A record's events."""
    return tuple(json_records.check_events(json.loads(text)))


def parsed(read: Callable[[Any], Any]) -> Callable[[str], Any]:
    """`read`, of a text that is JSON."""
    return lambda text: read(json.loads(text))
