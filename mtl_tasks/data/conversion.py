"""Conversion of file columns to the canonical types; unsuitable columns are refused, and nothing is guessed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from mtl_tasks.core.days import zone_of
from mtl_tasks.core.errors import DataError, quoted
from mtl_tasks.scenario import Source

log = logging.getLogger(__name__)

UTC_TIME: Final = pa.timestamp("us", "UTC")
MICROSECONDS: Final = {"s": 1_000_000, "ms": 1_000, "us": 1}
_UTC_NAMES: Final = frozenset({"UTC", "Etc/UTC", "GMT", "Z", "+00:00", "+0000", "-00:00", "-0000"})
_PLAUSIBLE_YEARS: Final = (1980, 2200)
# Times are clipped to this range in microseconds, 0001-01-02 to 9999-12-31: printing, storing and localizing support
# no more. Times beyond are implausible anyway, and the row checks find them.
_FIRST_TIME: Final = -62_135_510_400_000_000
_LAST_TIME: Final = 253_402_214_400_000_000
_ZONED_YEARS: Final = (pd.Timestamp("1800-01-01"), pd.Timestamp("2200-01-01"))  # zone offsets are known in this range
_TIME_TEXT: Final = (  # ISO 8601
    r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?(?P<zone>Z|[+-]\d{2}:?\d{2})?$"
)
_NANOSECONDS: Final = r"(\.\d{6})\d+"  # extra digits, which would select a type that ends in 2262
_DATE_TEXT: Final = r"^\d{4}-\d{2}-\d{2}$"
LONGEST_ID: Final = 1000  # characters; ids are sorted as arrays in which each takes the room of the longest
_INTEGER_TEXT: Final = r"^(?:0|-?[1-9]\d{0,18})$"  # "007" stays a string: as a number it would lose its zeros
_FLOAT_TEXT: Final = r"^-?\d+\.\d*(?:[eE][+-]?\d+)?$"
_POINT_TEXT: Final = r"^(-?\d+)\.0*$"  # an integer that its writer held as a float
NULL_WORDS: Final = ("", "nan", "null", "none", r"\n")  # in lower case; how text files write missing values


@dataclass(frozen=True)
class ColumnRef:
    """A column of a file and the scenario key that names it: the location in a message.

    ``text`` says that the file has no types (CSV), so that every column arrives as strings.
    """

    file: str
    column: str
    key: str
    text: bool

    def error(self, problem: str) -> DataError:
        """Return an error about this column."""
        return DataError(f"{self.file}: column {self.column!r} ({self.key}) {problem}")


def to_ids(column: pa.ChunkedArray, ref: ColumnRef) -> tuple[pa.ChunkedArray, str | None]:
    """Return ids as int64 or large_string (an empty string is null), and ``"integers"`` or ``"strings"``.

    A column without a type, which is entirely null, is returned as it is, with None.
    """
    column = _decoded(column)
    if pa.types.is_null(column.type):
        return column, None
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64()), "integers"
        except pa.ArrowInvalid:
            raise ref.error("holds integers that do not fit 64 signed bits: write the ids as strings") from None
    if not is_text(column.type):
        raise ref.error(
            f"holds {column.type}, ids must be integers or strings (a float loses digits above 2**53): cast the column"
        )
    column = _trimmed(column.cast(pa.large_string()), ref)
    longest = pc.max(pc.utf8_length(column)).as_py() or 0
    if longest > LONGEST_ID:
        raise ref.error(
            f"has an id of {longest:,} characters, at most {LONGEST_ID:,} are read: correct it, or write a hash in its "
            "place"
        )
    if ref.text:
        _refuse_floats(column, ref)
    return column, "strings"


def _refuse_floats(column: pa.ChunkedArray, ref: ColumnRef) -> None:
    """Refuse ids that are all floats, or that spell integers both with and without a decimal point."""
    if _all_match(column, _FLOAT_TEXT):
        example = quoted(f" such as {_first(column)!r}")
        raise ref.error(f"holds floats{example}, ids must be integers or strings: cast the column")
    pointed = pc.fill_null(pc.match_substring_regex(column, _POINT_TEXT), False)
    if not pc.any(pointed).as_py():
        return
    whole = pc.fill_null(pc.match_substring_regex(column, _INTEGER_TEXT), False)
    plain = pc.replace_substring_regex(column, _POINT_TEXT, r"\1")
    twice = pc.and_(pointed, pc.is_in(plain, pc.unique(column.filter(whole)))) if pc.any(whole).as_py() else None
    if pc.all(pc.or_kleene(pc.or_(pointed, whole), column.is_null())).as_py() or (
        twice is not None and pc.any(twice).as_py()
    ):
        example = quoted(f" such as {_first(column.filter(pointed))!r}")
        raise ref.error(
            f"spells {pc.sum(pointed).as_py():,} ids with a decimal point{example}; the same id without one "
            "would count as another: write all of them as integers"
        )


def narrow_ids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return ids read from text as int64 if every one is an integer that fits, else unchanged."""
    whole = whole_numbers(column)
    return column if whole is None else whole


def whole_numbers(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Return texts as int64 if every one is written as an integer that fits, else None."""
    if not _all_match(column, _INTEGER_TEXT):
        return None
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def without_null_words(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts of a text file, null where they are empty or a null word (``NULL_WORDS``)."""
    word = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(column)), pa.array(NULL_WORDS, column.type))
    return pc.if_else(word, pa.scalar(None, column.type), column)


def _trimmed(column: pa.ChunkedArray, ref: ColumnRef) -> pa.ChunkedArray:
    """Return texts without surrounding blanks, null where nothing is left."""
    column = pc.utf8_trim_whitespace(column)
    if ref.text:
        return without_null_words(column)
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)


def to_numbers(column: pa.ChunkedArray, ref: ColumnRef, above: float | None = None) -> pa.ChunkedArray:
    """Return a label or attribute as float32; null, and in text an empty field, is null.

    Parameters
    ----------
    above
        Threshold: larger numbers become 1 and all others 0; None keeps the numbers.
    """
    column = _decoded(column)
    if ref.text:
        column = _numbers_of_text(column, ref)
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_null(kind) or _is_number(kind)):
        raise ref.error(f"holds {kind}, expected numbers or booleans: cast the column")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    column = column.cast(pa.float64(), safe=False)
    if above is not None:
        column = pc.if_else(pc.is_nan(column), None, pc.greater(column, above)).cast(pa.float64())
    made = column.cast(pa.float32(), safe=False)
    _say_rounded(column, made, ref)
    return made


def _say_rounded(column: pa.ChunkedArray, made: pa.ChunkedArray, ref: ColumnRef) -> None:
    """Warn of integers that float32 cannot represent: above 2**24 only every second one is exact, then every fourth."""
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.not_equal(made.cast(pa.float64()), column))
    count = pc.sum(whole).as_py() or 0
    if count:
        example = quoted(f", such as {_first(column.filter(whole)):.0f}")
        log.warning("%s", ref.error(f"has {count:,} whole numbers that are rounded to seven digits{example}"))


def to_texts(column: pa.ChunkedArray, ref: ColumnRef) -> pa.ChunkedArray:
    """Return a text attribute as large_string, '' where null."""
    column = _decoded(column)
    if not (is_text(column.type) or pa.types.is_null(column.type)):
        raise ref.error(f"holds {column.type}, expected strings: cast the column")
    return pc.fill_null(column.cast(pa.large_string()), "")


def to_kinds(column: pa.ChunkedArray, ref: ColumnRef) -> pa.ChunkedArray:
    """Return a categorical column as large_string, '' where null; integers are written without a decimal point."""
    column = _decoded(column)
    if pa.types.is_floating(column.type):
        try:
            # Some writers store NaN for missing values.
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
            column = column.cast(pa.int64())  # pandas writes integer codes with nulls as floats
        except pa.ArrowInvalid:
            raise ref.error("holds fractions, expected categories (strings, integers or booleans): cast it") from None
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        column = column.cast(pa.large_string())
    return to_texts(_trimmed(column, ref) if is_text(column.type) else column, ref)


def to_moments(column: pa.ChunkedArray, source: Source, ref: ColumnRef) -> pa.ChunkedArray:
    """Return times of an attribute table (timestamps, dates as midnight, or ISO 8601 text) as timestamp[us, UTC]."""
    column = _decoded(column)
    if is_text(column.type):
        column = without_null_words(column)
        if _all_match(column, _DATE_TEXT):
            column = _dates(column, ref)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us", None if source.timezone else "UTC"))
    own_unit = source.model_copy(update={"time_unit": None})  # the log's unit does not apply to a table
    return to_times(column, own_unit, replace(ref, text=is_text(column.type)))[0]


def _dates(column: pa.ChunkedArray, ref: ColumnRef) -> pa.ChunkedArray:
    try:
        return column.cast(pa.date32())
    except pa.ArrowInvalid:
        days = pd.to_datetime(column.to_pandas(), format="%Y-%m-%d", errors="coerce")
        _refuse(
            column,
            pa.array((days.isna() & column.to_pandas().notna()).to_numpy()),
            ref,
            "are not calendar dates",
        )
        raise ref.error("has dates outside 1677 to 2262: write null instead") from None


def to_times(column: pa.ChunkedArray, source: Source, ref: ColumnRef) -> tuple[pa.ChunkedArray, str | None]:
    """Return times as timestamp[us, UTC], and a description of their original type (None if all are null).

    Times before 0001-01-02 or after 9999-12-31 are clipped.

    Raises
    ------
    DataError
        If the column has another type than the scenario says, or a time does not name one instant.
    """
    moments, words = _moments(column, source, ref)
    return _limited(moments.cast(pa.int64()), 1).cast(UTC_TIME), words


def _moments(column: pa.ChunkedArray, source: Source, ref: ColumnRef) -> tuple[pa.ChunkedArray, str | None]:
    if pa.types.is_null(column.type):
        return column.cast(UTC_TIME), None
    if is_text(column.type):  # in a Parquet file too
        ref = replace(ref, text=True)
    if ref.text and source.time_unit is not None:
        column = _integers_of_text(column, ref)
    if pa.types.is_integer(column.type):
        return _times_of_integers(column, source, ref), "integer times"
    if source.time_unit is not None:
        raise ref.error(f"holds {column.type}, but source.time_unit says integers: remove that key, or cast")
    if ref.text:
        return _times_of_text(column, source, ref)
    if not pa.types.is_timestamp(column.type):
        raise ref.error(f"holds {column.type}, expected timestamps, or integers with source.time_unit: cast the column")
    moments = _in_microseconds(column)
    if column.type.tz is None:
        return _localized(moments, source, ref), "timestamps without a time zone"
    zone = "UTC" if column.type.tz in _UTC_NAMES else column.type.tz
    return moments.cast(UTC_TIME), f"timestamps in {zone}"


def concatenated(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """Concatenate a column's parts, which share one type; the types of entirely null parts are ignored."""
    typed = [column for column in columns if not pa.types.is_null(column.type)]
    kinds = [column.type for column in typed if column.null_count < len(column)] or [column.type for column in typed]
    kind = kinds[0] if kinds else pa.large_string()
    return pa.chunked_array([chunk for column in columns for chunk in column.cast(kind).chunks], type=kind)


def to_pandas(column: pa.ChunkedArray) -> pd.Series:
    """Return a Series; integers with nulls become Int64, since a float would lose digits."""
    nullable = column.null_count > 0 and pa.types.is_integer(column.type)
    series: pd.Series = column.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get if nullable else None)
    return series


def _times_of_integers(column: pa.ChunkedArray, source: Source, ref: ColumnRef) -> pa.ChunkedArray:
    if source.time_unit is None:
        raise ref.error("holds integers: set source.time_unit to s, ms or us")
    per = MICROSECONDS[source.time_unit]
    try:
        column = column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise ref.error("holds integers that do not fit 64 signed bits: correct the times") from None
    # The row checks find single wrong rows; if the median is absurd, the unit is wrong.
    middle = pc.approximate_median(column).as_py()
    if middle is not None:
        year = 1970 + middle * per / (365.2425 * 86_400_000_000)
        if not _PLAUSIBLE_YEARS[0] <= year < _PLAUSIBLE_YEARS[1]:
            raise ref.error(
                f"reads as the year {year:.0f} (median) in the unit {source.time_unit!r}: correct source.time_unit"
            )
    return _limited(column, per).cast(UTC_TIME)


def _in_microseconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return timestamps of any unit in microseconds."""
    unit, kind = column.type.unit, pa.timestamp("us", column.type.tz)
    if unit in ("us", "ns"):
        return column.cast(kind, safe=False)  # nanoseconds lose digits
    return _limited(column.cast(pa.int64()), MICROSECONDS[unit]).cast(kind)


def _limited(column: pa.ChunkedArray, per: int) -> pa.ChunkedArray:
    """Return integers in units of ``per`` microseconds as microseconds, clipped to the supported times."""
    column = pc.max_element_wise(column, pa.scalar(-(-_FIRST_TIME // per), pa.int64()), skip_nulls=False)
    column = pc.min_element_wise(column, pa.scalar(_LAST_TIME // per, pa.int64()), skip_nulls=False)
    return pc.multiply(column, pa.scalar(per, pa.int64()))


def _times_of_text(column: pa.ChunkedArray, source: Source, ref: ColumnRef) -> tuple[pa.ChunkedArray, str | None]:
    column = without_null_words(column)
    parts = pc.extract_regex(column, _TIME_TEXT)
    _refuse(column, pc.and_(column.is_valid(), parts.is_null()), ref, "are not ISO 8601, YYYY-MM-DDTHH:MM:SSZ")
    found = pc.unique(pc.struct_field(parts, "zone")).drop_null().to_pylist()
    zones = sorted({"UTC" if zone in _UTC_NAMES else zone.replace(":", "") for zone in found})
    if len(zones) > 1:
        named = ", ".join(zone or "none" for zone in zones[:5])
        raise ref.error(f"mixes time zones ({named}): write every time in UTC")
    texts = pc.replace_substring_regex(column, _NANOSECONDS, r"\1").to_pandas()
    parsed = pd.to_datetime(texts, format="ISO8601", utc=bool(zones and zones[0]), errors="coerce").dt.as_unit("us")
    moments = pa.chunked_array([pa.Array.from_pandas(parsed)])
    _refuse(column, pc.and_(column.is_valid(), moments.is_null()), ref, "are not calendar dates")
    if not zones:
        return moments.cast(UTC_TIME), None
    if zones[0]:
        return moments.cast(UTC_TIME), f"times in {zones[0]}"
    return _localized(moments, source, ref), "times without a zone"


def _localized(moments: pa.ChunkedArray, source: Source, ref: ColumnRef) -> pa.ChunkedArray:
    """Localize times without a zone in the scenario's zone; an hour that a clock change repeats or skips is refused."""
    if source.timezone is None:
        raise ref.error("has times without a time zone: write them in UTC, or set source.timezone")
    local = moments.to_pandas()
    zoned = local.between(*_ZONED_YEARS)
    zone = zone_of(source.timezone)
    placed = local.where(zoned).dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    placed = placed.where(zoned, local.dt.tz_localize("UTC"))
    lost = pa.array((placed.isna() & local.notna()).to_numpy())
    problem = f"occur twice or never in {source.timezone} (the clock change): write the times in UTC"
    _refuse(moments, lost, ref, problem)
    return pa.chunked_array([pa.Array.from_pandas(placed)]).cast(UTC_TIME)


def _integers_of_text(column: pa.ChunkedArray, ref: ColumnRef) -> pa.ChunkedArray:
    column = without_null_words(column)
    wrong = pc.invert(pc.match_substring_regex(column, _INTEGER_TEXT))
    _refuse(column, pc.fill_null(wrong, False), ref, "are not integers, as source.time_unit says they are")
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        raise ref.error("holds integers that do not fit 64 signed bits: correct the times") from None


def _numbers_of_text(column: pa.ChunkedArray, ref: ColumnRef) -> pa.ChunkedArray:
    texts = without_null_words(column).to_pandas().str.strip().str.lower().replace({"true": "1", "false": "0"})
    numbers = pd.to_numeric(texts, errors="coerce").astype("float64")
    _refuse(column, pa.array((numbers.isna() & texts.notna()).to_numpy()), ref, "are not numbers")
    return pa.chunked_array([pa.Array.from_pandas(numbers)])


def _refuse(column: pa.ChunkedArray, wrong: pa.Array, ref: ColumnRef, problem: str) -> None:
    """Raise if any value is wrong, with the count and the first of them."""
    count = pc.sum(wrong).as_py() or 0
    if count:
        value = quoted(f"{_first(column.filter(wrong))!r} ")
        raise ref.error(f"has {count:,} values that {problem}; the first is {value}in row {_row(wrong):,}")


def _row(mask: pa.ChunkedArray | pa.Array) -> int:
    """Return the number of the first row that a mask selects, from 1."""
    return int(pc.index(mask, True).as_py()) + 1


def _decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is one of strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _all_match(column: pa.ChunkedArray, pattern: str) -> bool:
    return column.null_count < len(column) and bool(pc.all(pc.match_substring_regex(column, pattern)).as_py())


def _first(column: pa.ChunkedArray) -> str | float:
    value = column.drop_null()[0].as_py()
    return value if isinstance(value, (str, int, float)) else str(value)
