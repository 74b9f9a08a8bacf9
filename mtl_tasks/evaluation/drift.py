"""Drift of labels, predictions and features between two sets of rows.

The measure is the population stability index, PSI = Σ (q − p) · ln(q / p) over bins with about a tenth of the reference
each (Siddiqi, "Credit Risk Scorecards", 2006: below .1 the shift is small, up to .25 moderate, above that large). Two
samples of n and m independent rows of one distribution already give about (bins − 1) · (1/n + 1/m) (Yurdakul,
"Statistical properties of the population stability index", 2018), which is reported beside each value. Rows of one user
are similar, so fewer users give a larger value.

A candidate's test rows are compared with those that the champion was evaluated on, and with its own train rows.
Features can shift even when the world has not: counts from the log's first day grow, and refitted factors have another
scale.

A run keeps a sketch of each variable: its cumulative counts at fifty quantiles, before and up to each. A value that
many rows share therefore stays exact; counts between quantiles are interpolated linearly. Any two runs can then be
compared without their rows, with an error far below .1 (a test measures it). Only what a run has recorded is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.store.artifacts import Artifact
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.drift import (
    CategorySketch,
    Distributions,
    DriftReport,
    Group,
    NumberSketch,
    Shift,
    Shifts,
    Sketch,
    Sketches,
    Variable,
)

Counts = NDArray[np.float64]

RECORD: Final = "distributions"  # document of the stage evaluate with a run's sketches
GROUPS: Final[tuple[Group, ...]] = ("labels", "predictions", "features")
SAMPLED: Final = 20_000  # rows per window whose features are sketched; chance alone then gives a PSI of .001
BINS: Final = 10
KNOTS: Final = 51
KEPT_CATEGORIES: Final = 50
PSEUDO_COUNT: Final = 0.5  # added to every bin: an empty one would make the index infinite


def sample_rows(window: slice, seed: int) -> NDArray[np.int64]:
    """Return the positions, ascending, of at most ``SAMPLED`` rows of a window, drawn at random."""
    size = window.stop - window.start
    if size <= SAMPLED:
        return np.arange(window.start, window.stop)
    drawn: NDArray[np.int64] = np.random.default_rng(seed).choice(size, SAMPLED, replace=False)
    drawn += window.start
    drawn.sort()
    return drawn


def sketch(values: pd.Series[Any] | NDArray[Any]) -> Sketch:
    """Return a compact distribution of a variable."""
    column = pd.Series(values)
    if isinstance(column.dtype, pd.CategoricalDtype):
        frequent = column.value_counts().head(KEPT_CATEGORIES)
        counts = {str(category): int(count) for category, count in frequent.items() if count}
        return CategorySketch(rows=len(column), missing=int(column.isna().sum()), counts=counts)
    numbers = column.to_numpy()
    seen = np.sort(numbers[np.isfinite(numbers)])
    at = np.unique(seen[np.linspace(0, len(seen) - 1, KNOTS).round().astype(np.int64)]) if len(seen) else seen
    return NumberSketch(
        rows=len(numbers),
        missing=len(numbers) - len(seen),
        at=tuple(at.tolist()),
        below=tuple(np.searchsorted(seen, at, "left").tolist()),
        upto=tuple(np.searchsorted(seen, at, "right").tolist()),
    )


def sketches(columns: Mapping[Any, Any] | pd.DataFrame) -> Sketches:
    """Return the sketch of every column."""
    return {str(name): sketch(columns[name]) for name in columns}


def shift(variable: Variable, reference: Sketch, other: Sketch) -> Shift | None:
    """Return the shift between two sketches; None without rows, or if one is numeric and the other categorical."""
    binned = _binned(reference, other) if reference.rows and other.rows else None
    if binned is None:
        return None
    before, now = binned
    filled = (before > 0) | (now > 0)
    before, now = before[filled] + PSEUDO_COUNT, now[filled] + PSEUDO_COUNT
    p, q = before / before.sum(), now / now.sum()
    return Shift(
        group=variable.group,
        name=variable.name,
        psi=float(np.sum((q - p) * np.log(q / p))),
        noise=(len(p) - 1) * (1 / reference.rows + 1 / other.rows),
        rows=other.rows,
        reference_rows=reference.rows,
    )


def compare(reference: Mapping[Group, Sketches], other: Mapping[Group, Sketches]) -> Shifts:
    """Compare the variables of two records.

    Parameters
    ----------
    reference, other
        Sketches by name, for some of the groups ``labels``, ``predictions`` and ``features``.
    """
    shifts: list[Shift] = []
    unmatched: list[Variable] = []
    for group in GROUPS:
        mine, theirs = other.get(group, {}), reference.get(group, {})
        found = []
        for name in sorted({*mine, *theirs}):
            variable = Variable(group=group, name=name)
            made = shift(variable, theirs[name], mine[name]) if name in mine and name in theirs else None
            if made is None:
                unmatched.append(variable)
            else:
                found.append(made)
        shifts += sorted(found, key=lambda one: -one.psi)
    return Shifts(shifts=tuple(shifts), unmatched=tuple(unmatched))


def compare_records(reference: Distributions, other: Distributions, **about: str) -> DriftReport:
    """Return the drift of one run's test rows from another's.

    Parameters
    ----------
    about
        ``run_key`` and ``as_of`` of the other run.
    """
    compared = compare(reference.groups, other.groups)
    return DriftReport(problem=None, shifts=compared.shifts, unmatched=compared.unmatched, **about)


def incomparable(problem: str, **about: str) -> DriftReport:
    """Return the report that says why there is no comparison; parameters as of :func:`compare_records`."""
    return DriftReport(problem=problem, shifts=(), unmatched=(), **about)


def read_record(evaluated: Artifact) -> Distributions | None:
    """Return the sketches from a run's stage ``evaluate``; None if it was made before there were any.

    Raises
    ------
    ArtifactError
        If they are damaged, or have another version.
    """
    return read_document(evaluated, RECORD, Distributions) if f"{RECORD}.json" in evaluated.names else None


def _binned(reference: Sketch, other: Sketch) -> tuple[Counts, Counts] | None:
    """Return the rows of each bin on either side; None if one side is numeric and the other categorical."""
    if isinstance(reference, CategorySketch) and isinstance(other, CategorySketch):
        return _category_counts(reference, other)
    if isinstance(reference, NumberSketch) and isinstance(other, NumberSketch):
        return _number_counts(reference, other)
    return None


def _category_counts(reference: CategorySketch, other: CategorySketch) -> tuple[Counts, Counts]:
    known = reference.counts
    categories = sorted(known, key=lambda category: (-known[category], category))[
        : BINS - 1
    ]  # a stored record has lost their order

    def counts(own: CategorySketch) -> Iterator[int]:
        yield from (own.counts.get(category, 0) for category in categories)
        yield own.rows - own.missing - sum(own.counts.get(category, 0) for category in categories)
        yield own.missing

    return np.array([*counts(reference)], dtype=np.float64), np.array([*counts(other)], dtype=np.float64)


def _number_counts(reference: NumberSketch, other: NumberSketch) -> tuple[Counts, Counts]:
    edges, including = _edges(reference)

    def counts(own: NumberSketch) -> Counts:
        cumulated = [0, *_cumulated(own, edges, including), own.rows - own.missing]
        return np.append(np.diff(cumulated), own.missing).astype(np.float64)

    return counts(reference), counts(other)


def _edges(own: NumberSketch) -> tuple[Counts, NDArray[np.bool_]]:
    """Return bounds of bins of about a tenth of the rows, each just before a value or, if ``including``, just after it.

    A value that a tenth of the rows share gets its own bin.
    """
    at, below, upto = (np.array(part, dtype=np.float64) for part in (own.at, own.below, own.upto))
    if not len(at):
        return np.empty(0), np.empty(0, dtype=bool)
    share = upto[-1] / BINS
    positions = np.unique(np.searchsorted(upto, share * np.arange(1, BINS)))
    alone = upto[positions] - below[positions] >= share
    edges = [*((at[place], True) for place in positions), *((at[place], False) for place in positions[alone])]
    values, including = zip(*sorted(edges), strict=True)
    return np.array(values), np.array(including)


def _cumulated(own: NumberSketch, edges: Counts, including: NDArray[np.bool_]) -> Counts:
    """Return the number of rows before each edge; rows between the values of a sketch are assumed evenly spread."""
    at, below, upto = (np.array(part, dtype=np.float64) for part in (own.at, own.below, own.upto))
    if not len(at):
        return np.zeros(len(edges))
    place = np.searchsorted(at, edges)
    known = np.isin(edges, at)
    inside = np.interp(edges, np.repeat(at, 2), np.column_stack([below, upto]).ravel())
    nearest = np.minimum(place, len(at) - 1)
    exact = np.where(including, upto[nearest], below[nearest])
    return np.where(known, exact, np.where(edges < at[0], 0.0, np.where(edges > at[-1], upto[-1], inside)))
