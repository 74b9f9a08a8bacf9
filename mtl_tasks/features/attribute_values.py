"""Point-in-time attribute values of users and items: a day sees the newest version from before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.days import EPOCH
from mtl_tasks.features.interactions import Codes, Values
from mtl_tasks.features.running_sums import expand
from mtl_tasks.scenario import AttributeTable

MODERATE: Final = 1000  # categories; an attribute with more is nearly an id, on which the log says more than shares do
_ALWAYS: Final = 0  # earliest valid-from day; earlier ones are raised to it


@dataclass(frozen=True)
class Versions:
    """The rows of an attribute table, indexed by id and day.

    ``keys`` (sorted) combine an id's code and the day of a version; ``rows`` is the table row of each key, ``missing``
    the row that stands for no value. For a table without versions, ``only`` is the row of each code.
    """

    keys: Codes
    rows: Codes
    span: int
    missing: int
    only: Codes | None = None

    @classmethod
    def of(cls, table: pd.DataFrame, id_column: str, ids: NDArray[Any]) -> Versions:
        """Index a table ordered by id and time; the last version of a day wins."""
        codes = pd.Index(ids).get_indexer(pd.Index(table[id_column])).astype(np.int64)
        wanted = np.flatnonzero(codes >= 0)
        if columns.VALID not in table:
            only = np.full(len(ids), len(table), dtype=np.int64)
            only[codes[wanted]] = wanted
            return cls(only[:0], only[:0], 1, len(table), only)
        days = (table[columns.VALID] - EPOCH) // pd.Timedelta(days=1)
        valid = days.to_numpy(dtype=np.int64)
        span = int(valid.max(initial=_ALWAYS)) + 2
        keys = codes[wanted] * span + np.maximum(valid[wanted], _ALWAYS)
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], wanted[order], span, len(table))

    def at(self, codes: Codes, days: Codes) -> Codes:
        """Return each id's row from before each day, ``missing`` if there was none yet."""
        if self.only is not None:
            return self.only[codes]
        if not len(self.keys):
            return np.full(len(codes), self.missing, dtype=np.int64)
        position = np.searchsorted(self.keys, codes * self.span + np.clip(days, _ALWAYS, self.span - 1)) - 1
        found = (position >= 0) & (self.keys[position] // self.span == codes)
        return np.where(found, self.rows[position], self.missing)

    @property
    def used(self) -> Codes:
        """The table rows of the ids, ascending, without ``missing``."""
        rows = np.unique(self.rows if self.only is None else self.only)
        used: Codes = rows[rows != self.missing]
        return used


@dataclass(frozen=True)
class MultiValued:
    """Attribute values by item: item ``i`` has ``values[starts[i]:starts[i + 1]]``."""

    name: str
    starts: NDArray[np.int64]
    values: NDArray[np.int64]
    labels: pd.Index[str]

    @property
    def size(self) -> int:
        """Number of different values."""
        return len(self.labels)

    @classmethod
    def parse(cls, name: str, texts: pd.Series[str]) -> MultiValued:
        """Parse '|'-separated texts, one per item in code order; empty or missing means no value."""
        parts = texts.fillna("").str.split("|").explode()
        filled = (parts != "").to_numpy()
        counts = np.bincount(np.cumsum(~parts.index.duplicated()) - 1, weights=filled, minlength=len(texts))
        codes, uniques = pd.factorize(parts[filled], sort=True)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(name, starts, codes.astype(np.int64), pd.Index(uniques))

    @classmethod
    def of_categories(cls, name: str, texts: pd.Series[str]) -> MultiValued:
        """Use each text as one value; empty or missing means none."""
        filled = (texts.fillna("") != "").to_numpy()
        codes, uniques = pd.factorize(texts[filled], sort=True)
        starts = np.concatenate([[0], np.cumsum(filled)]).astype(np.int64)
        return cls(name, starts, codes.astype(np.int64), pd.Index(uniques))

    def of(self, items: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the values of many items: position in ``items``, and value code."""
        owner, position = expand(self.starts[items], self.starts[items + 1])
        return owner, self.values[position]


@dataclass(frozen=True)
class KnownValues:
    """A multi-valued or categorical attribute as known on a day."""

    values: MultiValued
    versions: Versions

    @property
    def name(self) -> str:
        """The attribute's name."""
        return self.values.name

    @property
    def size(self) -> int:
        """Number of different values."""
        return self.values.size

    @property
    def labels(self) -> pd.Index[str]:
        """The value of each code."""
        return self.values.labels

    def of(self, codes: Codes, days: Codes) -> tuple[Codes, Codes]:
        """Return the values of many ids, each on a day: position in ``codes``, and value code."""
        return self.values.of(self.versions.at(codes, days))


@dataclass(frozen=True)
class AttributeLookup:
    """An attribute table, indexed by the id codes of interactions and rows.

    Attributes
    ----------
    numeric, times
        Attribute to float64 (rows + 1,); the last is NaN, for an id that is not in the table. Times: days since 1970.
    categorical
        Attribute to the category code of each row (int64, -1 for none), and the categories in order.
    listed
        Attributes with shares and residuals: multi-valued ones, and categorical ones of up to ``MODERATE`` categories.
    table
        The attribute table itself.
    """

    versions: Versions
    numeric: dict[str, Values]
    times: dict[str, Values]
    categorical: dict[str, tuple[Codes, pd.Index[Any]]]
    listed: list[KnownValues]
    table: pd.DataFrame

    @classmethod
    def prepare(
        cls, table: pd.DataFrame, section: AttributeTable | None, id_column: str, ids: NDArray[Any]
    ) -> AttributeLookup:
        """Index a table; ``ids`` are the sorted ids that codes refer to."""
        versions = Versions.of(table, id_column, ids)
        if section is None:
            return cls(versions, {}, {}, {}, [], table)
        several = [MultiValued.parse(name, _with_none(table[name])) for name in section.multi]
        single = [
            MultiValued.of_categories(name, _with_none(table[name])) for name in listed_categories(table, section)
        ]
        return cls(
            versions,
            {name: np.append(table[name].to_numpy(dtype=np.float64), np.nan) for name in section.numeric},
            {name: np.append(_days(table[name]), np.nan) for name in section.times},
            {name: _coded(table[name]) for name in section.categorical},
            [KnownValues(values, versions) for values in (*several, *single)],
            table,
        )

    @property
    def measures(self) -> list[str]:
        """Names of the columns that :meth:`numbers` returns."""
        return [*self.numeric, *self.times]

    def numbers(self, codes: Codes, days: Codes) -> dict[str, Values]:
        """Return numeric attributes, and the age of times in days (NaN if the time is after the day)."""
        row = self.versions.at(codes, days)
        made = {name: values[row] for name, values in self.numeric.items()}
        for name, moments in self.times.items():
            age = days - np.floor(moments[row])
            made[name] = np.where(age >= 0, age, np.nan)
        return made

    def categories(self, codes: Codes, days: Codes) -> dict[str, pd.Categorical]:
        """Return categorical attributes; missing where an id has none."""
        row = self.versions.at(codes, days)
        return {
            name: pd.Categorical.from_codes(codes[row], categories=categories)
            for name, (codes, categories) in self.categorical.items()
        }


def listed_categories(table: pd.DataFrame, section: AttributeTable | None) -> list[str]:
    """Return the categorical attributes with at most ``MODERATE`` categories over all versions."""
    categorical = section.categorical if section is not None else ()
    return [name for name in categorical if table.loc[table[name] != "", name].nunique() <= MODERATE]


def _with_none(texts: pd.Series[str]) -> pd.Series[str]:
    return pd.concat([texts, pd.Series([""], dtype="str")], ignore_index=True)


def _days(moments: pd.Series[Any]) -> Values:
    return np.asarray((moments - EPOCH) / pd.Timedelta(days=1), dtype=np.float64)


def _coded(texts: pd.Series[str]) -> tuple[Codes, pd.Index[Any]]:
    codes, categories = pd.factorize(_with_none(texts).where(lambda text: text != ""), sort=True)
    return codes.astype(np.int64), pd.Index(categories)
