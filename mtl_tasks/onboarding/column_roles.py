"""Guesses at the roles of an unknown table's columns, by name and content, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

from mtl_tasks.data.conversion import is_text, whole_numbers, without_null_words
from mtl_tasks.onboarding.profile import Profile, profile, without_blanks

Kind = Literal["integer", "number", "flag", "time", "text", "other"]

USER_WORDS: Final = (
    "user",
    "customer",
    "person",
    "people",
    "member",
    "visitor",
    "client",
    "reader",
    "account",
    "buyer",
)
ITEM_WORDS: Final = (
    "item", "product", "article", "sku", "movie", "film", "video", "song", "track", "book", "post", "news", "stock",
    "asin", "isbn", "listing", "content", "recipe", "game",
)  # fmt: skip
TIME_WORDS: Final = ("time", "timestamp", "date", "datetime", "ts", "at", "when", "created", "day")
TYPE_WORDS: Final = ("type", "event", "action", "kind", "behavior", "behaviour", "activity")
LABEL_WORDS: Final = (
    "rating",
    "stars",
    "score",
    "grade",
    "quantity",
    "qty",
    "amount",
    "ratio",
    "duration",
    "dwell",
    "value",
)
EXPOSURE_WORDS: Final = ("view", "impression", "show", "exposure", "open", "click", "pageview")

# Item numbers that are counted or averaged over all time leak what happens in the test window.
AGGREGATE_WORDS: Final = (
    "avg", "average", "mean", "median", "num", "count", "counts", "total", "sum", "popularity", "rank", "ranking",
    "ratings", "reviews", "votes", "views", "plays", "clicks", "likes", "fans", "followers", "favorites", "sales",
    "sold", "downloads", "ctr", "cvr", "score", "rating",
)  # fmt: skip

_ENDINGS: Final = ("s", "id", "no", "nr", "number", "code")
_ID_WORDS: Final = frozenset({"id", "ids", "uid", "uuid", "guid", "key", "code", "no", "nr", "number", "hash", "index"})
_STRAY: Final = 0.001  # share of ids that a spreadsheet or float column may have written in another form, such as 9e+05
_MOST_TYPES: Final = 30
_MOST_NULLS: Final = 0.01  # share of nulls above which another id column is preferred
_MOST_LEVELS: Final = 20  # distinct values of a rating scale, such as stars
_YEARS: Final = (1995, 2100)
_YEAR_SECONDS: Final = 365.2425 * 86_400
_LARGEST_LABEL: Final = 1e15  # the largest bound of a label range in a scenario
_UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6}
_MOST_ODD: Final = 0.05  # share of implausible times; the check decides how many bad rows are too many
_DIGITS: Final = r"^-?\d+$"
_NUMBER: Final = r"^-?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?$"
_TIME: Final = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?(?:Z|[+-]\d{2}:?\d{2})?$"
_ZONE: Final = r"(?:Z|\d[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True)
class Column:
    """A column and its apparent kind.

    Attributes
    ----------
    kind
        ``flag``: only 0 and 1, or true and false; ``time``: timestamps, or text in ISO 8601.
    values
        The non-null values; numbers of a text file are parsed, and only finite ones are kept.
    """

    name: str
    kind: Kind
    values: pa.ChunkedArray
    found: Profile

    @property
    def words(self) -> list[str]:
        """The words in the name, in lower case."""
        spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", self.name).lower()
        return [word for word in re.split(r"[^a-z]+", spaced) if word]

    def named(self, words: tuple[str, ...]) -> str | None:
        """Return the first of ``words`` that the name contains."""
        own = set(self.words)
        return next((word for word in words if own & {word, *(word + ending for ending in _ENDINGS)}), None)

    def names_ids(self, words: tuple[str, ...]) -> bool:
        """Whether the name means an id, as personId and user do, and not an attribute, as userRegion does."""
        word, own = self.named(words), self.words
        alone = len(own) == 1 and own[0] in {word, *(f"{word}{ending}" for ending in _ENDINGS)}
        return word is not None and (bool(_ID_WORDS & set(own)) or alone)

    @property
    def zoned(self) -> bool:
        """Whether its times carry a time zone."""
        if pa.types.is_timestamp(self.values.type):
            return self.values.type.tz is not None
        return bool(len(self.values)) and bool(pc.all(pc.match_substring_regex(self.values, _ZONE)).as_py())

    @property
    def label_range(self) -> tuple[str, str] | None:
        """The smallest and the largest number, as texts for a scenario; None if they cannot be a label range."""
        if self.kind not in ("integer", "number", "flag") or not len(self.values):
            return None
        low, high = (float(value) for value in pc.min_max(self.values).as_py().values())
        texts = f"{low:.15g}", f"{high:.15g}"
        return texts if low >= -_LARGEST_LABEL and high <= _LARGEST_LABEL and texts[0] != texts[1] else None

    @property
    def unit(self) -> str | None:
        """The unit in which all but a few of its integers are plausible times since 1970; None if there is none."""
        if self.kind != "integer" or not len(self.values):
            return None
        for unit, per_second in _UNITS.items():
            plausible = pc.sum(self.plausible(per_second).cast(pa.int64())).as_py()
            if plausible >= (1 - _MOST_ODD) * len(self.values):
                return unit
        return None

    @property
    def span(self) -> tuple[int, int]:
        """The first and last of its plausible times, if it has a unit."""
        assert self.unit is not None
        found = pc.min_max(self.values.filter(self.plausible(_UNITS[self.unit]))).as_py()
        return found["min"], found["max"]

    def plausible(self, per_second: int) -> pa.ChunkedArray:
        """Return whether each of its integers, ``per_second`` to a second, is a time between 1995 and 2100."""
        low, high = ((year - 1970) * _YEAR_SECONDS * per_second for year in _YEARS)
        numbers = self.values.cast(pa.float64(), safe=False)
        return pc.and_(pc.greater_equal(numbers, low), pc.less(numbers, high))


def look_at(table: pa.Table, typed: bool) -> list[Column]:
    """Classify every column.

    Parameters
    ----------
    typed
        Whether the file has types, as Parquet does: text that looks like a number then stays text.
    """
    return [_look(name, table.column(position), typed) for position, name in enumerate(table.column_names)]


def _look(name: str, column: pa.ChunkedArray, typed: bool) -> Column:
    known = without_blanks(column, not typed).drop_null()
    found = profile(name, column, not typed)
    kind, values = _of_text(known) if is_text(known.type) else _of_type(known)
    if typed and is_text(known.type) and kind in ("integer", "number", "flag"):
        return Column(name, "text", known, found)
    if kind == "number":
        values = values.filter(pc.is_finite(values))
        kind = "number" if len(values) else "other"
    names_ids = Column(name, kind, values, found).names_ids((*USER_WORDS, *ITEM_WORDS))
    if kind in ("integer", "number") and len(values) and not names_ids and _is_flag(values):
        kind = "flag"
    looked = Column(name, kind, values, found)
    if kind == "number" and is_text(known.type) and looked.named((*USER_WORDS, *ITEM_WORDS)) and _hold_ids(known):
        return Column(name, "text", known, found)
    return looked


def _is_flag(values: pa.ChunkedArray) -> bool:
    """Whether all values are 0 or 1; the first ones usually decide."""
    return all(set(pc.unique(part).to_pylist()) <= {0, 1} for part in (values.slice(0, 10_000), values))


def _hold_ids(texts: pa.ChunkedArray) -> bool:
    """Whether all numbers are whole and nearly all are written as integers: as floats, ids would lose digits."""
    numbers = texts.cast(pa.float64())
    whole = bool(pc.all(pc.equal(pc.floor(numbers), numbers)).as_py())
    return whole and float(pc.mean(pc.match_substring_regex(texts, _DIGITS).cast(pa.int8())).as_py()) >= 1.0 - _STRAY


def _of_type(known: pa.ChunkedArray) -> tuple[Kind, pa.ChunkedArray]:
    if pa.types.is_boolean(known.type):
        return "flag", known.cast(pa.int8())
    if pa.types.is_integer(known.type):
        return "integer", known
    if pa.types.is_floating(known.type) or pa.types.is_decimal(known.type):
        return "number", known.cast(pa.float64())
    if pa.types.is_timestamp(known.type):
        # The instant is the same in every zone, and this machine may not know the file's zone.
        return "time", known if known.type.tz is None else known.cast(pa.timestamp(known.type.unit, "UTC"))
    return "other", known


def _of_text(known: pa.ChunkedArray) -> tuple[Kind, pa.ChunkedArray]:
    if not len(known):
        return "other", known
    whole = whole_numbers(known)
    if whole is not None:
        return "integer", whole
    if _all(known, _NUMBER):
        return "number", known.cast(pa.float64())
    lowered = pc.utf8_lower(known)
    if _all(lowered, "^(?:true|false)$"):
        return "flag", pc.equal(lowered, "true").cast(pa.int8())
    times = without_null_words(known).drop_null()
    return ("time", times) if len(times) and _all(times, _TIME) else ("text", known)


def _all(known: pa.ChunkedArray, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(known, pattern)).as_py())


@dataclass(frozen=True)
class Guess:
    """A column for a role, and the reason."""

    column: Column
    why: str


def guess_time(columns: list[Column]) -> Guess | None:
    """Return the time column: one of times, else integers that are plausible times since 1970."""
    times = [c for c in columns if c.kind == "time" and len(c.values)]
    if not times:
        times = [c for c in columns if c.unit is not None and c.named(TIME_WORDS)]
    if not times:
        times = [c for c in columns if c.unit is not None and c.found.distinct > 1]
    best = max(times, key=lambda c: (c.named(TIME_WORDS) is not None, -c.found.nulls), default=None)
    if best is None:
        return None
    others = [c.name for c in times if c is not best]
    why = "the only column that holds times" if not others else f"holds times, as do {', '.join(others)}"
    return Guess(best, why)


def guess_id(columns: list[Column], words: tuple[str, ...]) -> Guess | None:
    """Return the id column whose name best matches one of the words."""
    named = [(c.named(words), c) for c in columns if _is_id(c)]
    found = [
        (not c.names_ids(words), c.found.nulls > _MOST_NULLS, words.index(word), -c.found.distinct, c.name, word, c)
        for word, c in named
        if word
    ]
    if not found:
        return None
    *_, word, best = min(found, key=lambda entry: entry[:5])
    return Guess(best, f"its name holds {word!r}")


def guess_by_content(columns: list[Column]) -> Guess | None:
    """Return the remaining id column, if there is exactly one."""
    left = [c for c in columns if _is_id(c) and c.found.distinct > _MOST_TYPES and not c.named(LABEL_WORDS)]
    return Guess(left[0], "the only other column that looks like ids") if len(left) == 1 else None


def guess_type(columns: list[Column]) -> Guess | None:
    """Return the column that gives a row's event type."""
    few = [c for c in columns if c.kind == "text" and 2 <= c.found.distinct <= _MOST_TYPES and c.named(TYPE_WORDS)]
    return (
        Guess(few[0], f"its name holds {few[0].named(TYPE_WORDS)!r} and it has {few[0].found.distinct} values")
        if few
        else None
    )


def is_label(column: Column) -> bool:
    """Whether a column looks like a label to predict: a flag, few distinct numbers, or a telling name."""
    if column.kind == "flag":
        return len(column.values) > 0
    if column.named(TIME_WORDS) is not None or _ID_WORDS & set(column.words):
        return False
    few = column.found.distinct <= _MOST_LEVELS
    return column.label_range is not None and (few or column.named(LABEL_WORDS) is not None)


def _is_id(column: Column) -> bool:
    return column.kind in ("integer", "text")
