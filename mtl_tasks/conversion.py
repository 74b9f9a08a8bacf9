"""Columns as they lie in a file, converted to the canonical types or refused; nothing is guessed."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tasks.errors import ConfigError, DataError, quoted
from mtl_tasks.scenario import Source

UTC_TIME: Final = pa.timestamp("us", "UTC")
MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_UTC_NAMES: Final = frozenset({"UTC", "Etc/UTC", "GMT", "Z", "+00:00", "+0000", "-00:00", "-0000"})
_PLAUSIBLE_YEARS: Final = (1980, 2200)
_TIME_TEXT: Final = (  # ISO 8601
    r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?$"
)
_DATE_TEXT: Final = r"^\d{4}-\d{2}-\d{2}$"
_INTEGER_TEXT: Final = r"^(?:0|-?[1-9]\d{0,17})$"  # "007" stays a string: as a number it would lose its zeros
_FLOAT_TEXT: Final = r"^-?\d+\.\d*(?:[eE][+-]?\d+)?$"


@dataclass(frozen=True)
class Place:
    """A column of a file and the scenario key that names it: the "where" of a message.

    ``text`` says that the file carries no types (CSV), so that every column arrives as strings.
    """

    file: str
    column: str
    key: str
    text: bool

    def error(self, problem: str) -> DataError:
        """Return the error that says ``problem`` of this column."""
        return DataError(f"{self.file}: column {self.column!r} ({self.key}) {problem}")


def to_ids(column: pa.ChunkedArray, place: Place) -> tuple[pa.ChunkedArray, str | None]:
    """Return ids as int64 or large_string (an empty string is null), and which of the two in words.

    A column that is null throughout may come without a type; it is returned as it is, and None.
    """
    column = _decoded(column)
    if pa.types.is_null(column.type):
        return column, None
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64()), "integers"
        except pa.ArrowInvalid:
            raise place.error("holds integers that do not fit 64 signed bits: write the ids as strings") from None
    if not is_text(column.type):
        raise place.error(
            f"holds {column.type}, ids must be integers or strings (a float loses digits above 2**53): cast the column"
        )
    column = column.cast(pa.large_string())
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.large_string()), column)
    if place.text and _all_match(column, _FLOAT_TEXT):
        example = quoted(f" such as {_first(column)!r}")
        raise place.error(f"holds floats{example}, ids must be integers or strings: cast the column")
    return column, "strings"


def narrow_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn ids read from text into int64 if every one of them is written as an integer, else leave them."""
    return column.cast(pa.int64()) if _all_match(column, _INTEGER_TEXT) else column


def to_numbers(column: pa.ChunkedArray, place: Place, above: float | None = None) -> pa.ChunkedArray:
    """Return a label or attribute as float32; null, and in text an empty field, is null.

    Parameters
    ----------
    above
        Larger numbers are 1 and all others 0; null: numbers are themselves.
    """
    column = _decoded(column)
    if place.text:
        column = _numbers_of_text(column, place)
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_number(kind)):
        raise place.error(f"holds {kind}, expected numbers or booleans: cast the column")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    column = column.cast(pa.float64(), safe=False)
    if above is not None:
        column = pc.if_else(pc.is_nan(column), None, pc.greater(column, above))
    return column.cast(pa.float32(), safe=False)


def to_texts(column: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    """Return a text attribute as large_string, '' where null."""
    column = _decoded(column)
    if not (is_text(column.type) or pa.types.is_null(column.type)):
        raise place.error(f"holds {column.type}, expected strings: cast the column")
    return pc.fill_null(column.cast(pa.large_string()), "")


def to_kinds(column: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    """Return a column that names kinds as large_string, '' where null; whole numbers are written without a point."""
    column = _decoded(column)
    if pa.types.is_floating(column.type):
        try:
            column = column.cast(pa.int64())  # codes with nulls are floats wherever pandas wrote them
        except pa.ArrowInvalid:
            raise place.error("holds fractions, expected kinds (strings, integers or booleans): cast it") from None
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        column = column.cast(pa.large_string())
    return to_texts(column, place)


def to_moments(column: pa.ChunkedArray, source: Source, place: Place) -> pa.ChunkedArray:
    """Return times of an attribute table as timestamp[us, UTC]: timestamps, dates (midnight), or ISO 8601 text."""
    column = _decoded(column)
    if is_text(column.type):
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
        column = column.cast(pa.date32()) if _all_match(column, _DATE_TEXT) else column
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us", None if source.timezone else "UTC"))
    own_unit = source.model_copy(update={"time_unit": None})  # that of the log says nothing of a table
    return to_times(column, own_unit, replace(place, text=is_text(column.type)))[0]


def to_times(column: pa.ChunkedArray, source: Source, place: Place) -> tuple[pa.ChunkedArray, str | None]:
    """Return times as timestamp[us, UTC], and in words what they were (None if all are null).

    Raises
    ------
    DataError
        If the column is of another type than the scenario says, or a time does not name one instant.
    """
    if pa.types.is_null(column.type):
        return column.cast(UTC_TIME), None
    if place.text and source.time_unit is not None:
        column = _integers_of_text(column, place)
    if pa.types.is_integer(column.type):
        return _times_of_integers(column, source, place), "integer times"
    if source.time_unit is not None:
        raise place.error(f"holds {column.type}, but source.time_unit says integers: remove that key, or cast")
    if place.text:
        return _times_of_text(column, source, place)
    if not pa.types.is_timestamp(column.type):
        raise place.error(
            f"holds {column.type}, expected timestamps, or integers with source.time_unit: cast the column"
        )
    # Only nanoseconds can lose digits here; any other unsafe cast would hide an overflow.
    moments = _cast_times(column, pa.timestamp("us", column.type.tz), column.type.unit != "ns", place)
    if column.type.tz is None:
        return _localised(moments, source, place), "timestamps without a time zone"
    zone = "UTC" if column.type.tz in _UTC_NAMES else column.type.tz
    return moments.cast(UTC_TIME), f"timestamps in {zone}"


def zone_of(source: Source) -> zoneinfo.ZoneInfo:
    """Return the zone of times that carry none.

    Raises
    ------
    ConfigError
        If there is no such zone.
    """
    try:
        return zoneinfo.ZoneInfo(str(source.timezone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"source.timezone: unknown zone {source.timezone!r}, give one like Europe/Paris") from None


def concatenated(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Join a column's parts; they have one type, but for those that are null throughout: theirs says nothing."""
    typed = [column for column in columns if not pa.types.is_null(column.type)]
    kinds = [column.type for column in typed if column.null_count < len(column)] or [column.type for column in typed]
    kind = kinds[0] if kinds else pa.large_string()
    return pa.chunked_array([chunk for column in columns for chunk in column.cast(kind).chunks], type=kind)


def to_pandas(column: pa.ChunkedArray) -> pd.Series:
    """Return a Series; integers with nulls become Int64, since a float would lose digits."""
    nullable = column.null_count > 0 and pa.types.is_integer(column.type)
    series: pd.Series = column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get if nullable else None)
    return series


def _times_of_integers(column: pa.ChunkedArray, source: Source, place: Place) -> pa.ChunkedArray:
    if source.time_unit is None:
        raise place.error("holds integers: set source.time_unit to s, ms or us")
    try:
        moments = pc.multiply_checked(column.cast(pa.int64()), MICROSECONDS[source.time_unit]).cast(UTC_TIME)
    except pa.ArrowInvalid:
        raise place.error(f"overflows in the unit {source.time_unit!r}: correct source.time_unit") from None
    # One wrong row is for the row checks; when the typical row is absurd, the unit is wrong.
    middle = pc.approximate_median(moments.cast(pa.int64())).as_py()
    if middle is not None:
        year = 1970 + middle / (365.2425 * 86_400_000_000)
        if not _PLAUSIBLE_YEARS[0] <= year < _PLAUSIBLE_YEARS[1]:
            raise place.error(
                f"reads as the year {year:.0f} (median) in the unit {source.time_unit!r}: correct source.time_unit"
            )
    return moments


def _times_of_text(column: pa.ChunkedArray, source: Source, place: Place) -> tuple[pa.ChunkedArray, str | None]:
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    parts = pc.extract_regex(column, _TIME_TEXT)
    _refuse(column, pc.and_(column.is_valid(), parts.is_null()), place, "are not ISO 8601, YYYY-MM-DDTHH:MM:SSZ")
    found = pc.unique(pc.struct_field(parts, "zone")).drop_null().to_pylist()
    zones = sorted({"UTC" if zone in _UTC_NAMES else zone.replace(":", "") for zone in found})
    if len(zones) > 1:
        named = ", ".join(zone or "none" for zone in zones[:5])
        raise place.error(f"mixes time zones ({named}): write every time in UTC")
    texts = column.to_pandas()
    parsed = pd.to_datetime(texts, format="ISO8601", utc=bool(zones and zones[0]), errors="coerce").dt.as_unit("us")
    moments = pa.chunked_array([pa.Array.from_pandas(parsed)])
    _refuse(column, pc.and_(column.is_valid(), moments.is_null()), place, "are not dates of the calendar")
    if not zones:
        return moments.cast(UTC_TIME), None
    if zones[0]:
        return moments.cast(UTC_TIME), f"times in {zones[0]}"
    return _localised(moments, source, place), "times without a zone"


def _localised(moments: pa.ChunkedArray, source: Source, place: Place) -> pa.ChunkedArray:
    """Give times without a zone the scenario's zone; an hour that a clock change repeats or skips is refused."""
    if source.timezone is None:
        raise place.error("has times without a time zone: write them in UTC, or set source.timezone")
    local = moments.to_pandas()
    placed = local.dt.tz_localize(zone_of(source), ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    lost = pa.array((placed.isna() & local.notna()).to_numpy())
    problem = f"occur twice or never in {source.timezone} (the clock change): write the times in UTC"
    _refuse(moments, lost, place, problem)
    return pa.chunked_array([pa.Array.from_pandas(placed)]).cast(UTC_TIME)


def _cast_times(column: pa.ChunkedArray, to: pa.DataType, safe: bool, place: Place) -> pa.ChunkedArray:
    try:
        return column.cast(to, safe=safe)
    except pa.ArrowInvalid:
        raise place.error(f"holds {column.type} out of the range of microseconds: correct the times") from None


def _integers_of_text(column: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
    wrong = pc.invert(pc.match_substring_regex(column, _INTEGER_TEXT))
    _refuse(column, pc.fill_null(wrong, False), place, "are not integers, as source.time_unit says they are")
    return column.cast(pa.int64())


def _numbers_of_text(column: pa.ChunkedArray, place: Place) -> pa.ChunkedArray:
    texts = column.to_pandas().str.strip().str.lower()
    texts = texts.replace({"true": "1", "false": "0", "": None, "nan": None, "null": None, "none": None})
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    _refuse(column, pa.array((numbers.isna() & texts.notna()).to_numpy()), place, "are not numbers")
    return pa.chunked_array([pa.Array.from_pandas(numbers)])


def _refuse(column: pa.ChunkedArray, wrong: pa.Array, place: Place, problem: str) -> None:
    """Raise if any value is wrong, with the count and the first of them."""
    count = pc.sum(wrong).as_py() or 0
    if count:
        value = quoted(f"{_first(column.filter(wrong))!r} ")
        raise place.error(f"has {count:,} values that {problem}; the first is {value}in row {_row(wrong):,}")


def _row(mask: pa.ChunkedArray | pa.Array) -> int:
    """Number of the first row that a mask chooses, from 1."""
    return int(pc.index(mask, True).as_py()) + 1


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def is_text(kind: pa.DataType) -> bool:
    """Whether values are strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return column.null_count < len(column) and bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _first(column: pa.ChunkedArray) -> str | float:
    value = column.drop_null()[0].as_py()
    return value if isinstance(value, (str, int, float)) else str(value)
