"""Profile of a column: type, nulls, range, distinct values, an example."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from mtl_tasks.core.errors import may_quote
from mtl_tasks.data.conversion import is_text, without_null_words

_EXAMPLE_LENGTH: Final = 40


@dataclass(frozen=True)
class Profile:
    """Profile of a file's column; in CSV every column is text.

    Attributes
    ----------
    nulls
        Share of missing values; in CSV these are empty values and null words.
    low, high
        Smallest and largest value; None for types without an order, and where row values may not be quoted.
    """

    name: str
    type: str
    rows: int
    nulls: float
    distinct: int
    low: str | None
    high: str | None
    example: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the profile for a JSON document."""
        return asdict(self)


def profile(name: str, column: pa.ChunkedArray, text: bool) -> Profile:
    """Describe a column; ``text`` says that its file carries no types (CSV)."""
    values = without_blanks(column, text)
    known = values.drop_null()
    low, high = _range(known)
    example = _shown(known[0]) if len(known) else None
    nulls = values.null_count / len(values) if len(values) else 0.0
    return Profile(name, str(values.type), len(values), nulls, _distinct(known), low, high, example)


def without_blanks(column: pa.ChunkedArray, text: bool) -> pa.ChunkedArray:
    """Decode dictionaries and normalize values as a run does: trim texts, and treat NaN and empty text as null.

    In a file that carries no types, null words are null too.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))  # this machine may not know the file's zone
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if is_text(column.type):
        column = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
        empty = pa.scalar(None, pa.large_string())
        column = without_null_words(column) if text else pc.if_else(pc.equal(column, ""), empty, column)
    return column


def _distinct(known: pa.ChunkedArray) -> int:
    try:
        return int(pc.count_distinct(known).as_py())
    except pa.ArrowNotImplementedError:  # lists and structs
        return 0


def _range(known: pa.ChunkedArray) -> tuple[str | None, str | None]:
    try:
        found = pc.min_max(known)
    except pa.ArrowNotImplementedError:
        return None, None
    return _shown(found["min"]), _shown(found["max"])


def _shown(value: pa.Scalar) -> str | None:
    if not (value.is_valid and may_quote()):
        return None
    try:
        plain = value.as_py()
    except (OverflowError, ValueError):  # a time beyond the year 9999
        plain = "out of range"
    text = f"{plain:g}" if isinstance(plain, float) else str(plain)
    return text if len(text) <= _EXAMPLE_LENGTH else f"{text[: _EXAMPLE_LENGTH - 1]}…"
