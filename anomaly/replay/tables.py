"""Opening the files that `anomaly replay` reads: Arrow batches with one schema a file, checked before the first row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from anomaly.errors import ReplayFileError

_CSV_BLOCK_BYTES = 4 << 20
_TEXT = ("run", "layer", "dtype", "events", "tags", "fork", "place")
_NUMBER = ("step", "rank", "time", "sequence")
COLUMNS = frozenset((*_TEXT, *_NUMBER, "session", "trainable"))
"""Every column that is not a signal."""


def batches(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet or CSV file in order, at most `rows` at a time. Raises `ReplayFileError`."""
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        yield from _parquet(path, rows) if parquet else _csv(path, rows)
    except OSError as error:
        raise ReplayFileError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (pa.ArrowException, csv.Error, ValueError) as error:
        found = None if parquet or isinstance(error, csv.Error) else _wrong_cell(path)
        raise ReplayFileError(f"{path}: {found or str(error)[:500]}") from None


def signal_columns(schema: pa.Schema) -> tuple[str, ...]:
    """The columns that hold signals, in the file's order."""
    return tuple(name for name in schema.names if name not in COLUMNS)


def _parquet(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        _check(path, file.schema_arrow)
        yield from file.iter_batches(batch_size=rows)


def _csv(path: Path, rows: int) -> Iterator[pa.RecordBatch]:
    with pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        # Only the empty cell is null: by default Arrow takes NaN for null too.
        convert_options=pa.csv.ConvertOptions(
            null_values=[""],
            strings_can_be_null=True,
            column_types={name: _csv_type(name) for name in _header(path)},
        ),
    ) as reader:
        _check(path, reader.schema)
        for batch in reader:
            for start in range(0, len(batch), rows):
                yield batch.slice(start, rows)


def _csv_type(name: str) -> pa.DataType:
    if name in _TEXT or name == "session":  # 64 bits, which float64 would round
        return pa.string()
    return pa.bool_() if name == "trainable" else pa.float64()


def _header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        return next(csv.reader(file), [])


def _check(path: Path, schema: pa.Schema) -> None:
    """Refuse a file that lacks a column, has one twice, or has one of a type that cannot be what its name says."""
    for name in ("run", "step"):
        if name not in schema.names:
            got = ", ".join(schema.names[:12])
            raise ReplayFileError(
                f"{path}: column {name!r} is missing (got {got}); every row needs run and step"
            )
    for field in schema:
        if schema.names.count(field.name) > 1:
            raise ReplayFileError(f"{path}: column {field.name!r} stands twice; rename or drop one")
        needed = _needed(field)
        if needed:
            raise ReplayFileError(f"{path}: column {field.name!r} has type {field.type}; {needed}")


def _needed(field: pa.Field) -> str | None:
    """What this column should hold, or None where its type will do."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view()
    whole = pa.types.is_integer(kind)
    number = whole or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if pa.types.is_null(kind):
        return None
    if field.name in _TEXT:
        return None if text else "text is needed"
    if field.name in _NUMBER:
        return None if number else "numbers are needed (time: unix seconds)"
    if field.name == "session":
        return None if whole or text else "64-bit integers are needed (a float would round them)"
    if field.name == "trainable":
        return None if pa.types.is_boolean(kind) or whole else "booleans are needed"
    return (
        None
        if number or pa.types.is_boolean(kind)
        else "a signal's column must hold numbers: convert or drop it"
    )


def _wrong_cell(path: Path) -> str | None:
    """Which row and column Arrow stumbled over: it does not say, so the file is read once more, slowly."""
    try:
        return _first_wrong_cell(path)
    except csv.Error:  # nor can this reader go on; what Arrow said must do
        return None


def _first_wrong_cell(path: Path) -> str | None:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        header = next(rows, [])
        for number, cells in enumerate(rows, start=1):
            if cells and len(cells) != len(header):
                return f"row {number}: got {len(cells)} cells for {len(header)} columns; quote cells that hold a comma"
            for name, cell in zip(header, cells, strict=False):
                if cell and not _readable(_csv_type(name), cell):
                    kind = (
                        "true or false" if name == "trainable" else "a number, NaN, or empty for not measured"
                    )
                    return f"row {number}, column {name!r}: got {cell[:60]!r}; {kind} is needed"
    return None


def _readable(kind: pa.DataType, cell: str) -> bool:
    if pa.types.is_boolean(kind):
        return cell.lower() in ("0", "1", "true", "false")
    if pa.types.is_string(kind):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True
