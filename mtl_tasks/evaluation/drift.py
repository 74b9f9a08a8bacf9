"""How far labels, predictions and features have shifted between two sets of rows.

The measure is the population stability index, PSI = Σ (q − p) · ln(q / p) over bins that hold about a tenth of the
reference each (Siddiqi, "Credit Risk Scorecards", 2006: below .1 is read as little, up to .25 as some, above as a large
shift). Two samples of n and m independent rows of one distribution already give about (bins − 1) · (1/n + 1/m)
(Yurdakul, "Statistical properties of the population stability index", 2018), which is told beside each value; rows of
one user are alike, so of few users more is to be expected.

A candidate's test rows are held against those that the champion was judged on, and against its own train rows. Features
may shift without the world's doing: what is counted from the log's first day on grows, and factors that are fitted anew
have another scale.

A run keeps a sketch of each variable: its cumulated counts at fifty quantiles, before and up to each, so that a value
which many rows share stays exact, and between quantiles a line is drawn. Any two runs can then be compared without
their rows, at an error that is small beside .1 (what it is, a test says). Only what a run has recorded is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.store.artifacts import Artifact

Json = dict[str, Any]
Counts = NDArray[np.float64]

RECORD: Final = "distributions"  # the document of the stage evaluate that holds a run's sketches
FORMAT: Final = 1
GROUPS: Final = ("labels", "predictions", "features")
SAMPLED: Final = 20_000  # rows a window whose features are sketched: chance alone then gives a PSI of .001
BINS: Final = 10
KNOTS: Final = 51
KEPT_KINDS: Final = 50
PSEUDO_COUNT: Final = 0.5  # of every bin: without it an empty one would make the index infinite


def sample_rows(window: slice, seed: int) -> NDArray[np.int64]:
    """Return the places, ascending, of at most ``SAMPLED`` rows of a window, drawn at random."""
    size = window.stop - window.start
    if size <= SAMPLED:
        return np.arange(window.start, window.stop)
    drawn: NDArray[np.int64] = np.random.default_rng(seed).choice(size, SAMPLED, replace=False)
    drawn += window.start
    drawn.sort()
    return drawn


def sketch(values: pd.Series[Any] | NDArray[Any]) -> Json:
    """Return the distribution of a variable in brief.

    Returns
    -------
    dict
        ``rows`` and ``missing`` (not finite, or without a kind); of numbers ``at`` and how many rows lie ``below`` and
        ``upto`` each of these; of kinds (category) ``kinds``, the count of each of the most frequent.
    """
    column = pd.Series(values)
    if isinstance(column.dtype, pd.CategoricalDtype):
        counts = column.value_counts().head(KEPT_KINDS)
        kinds = {str(kind): int(count) for kind, count in counts.items() if count}
        return {"rows": len(column), "missing": int(column.isna().sum()), "kinds": kinds}
    numbers = column.to_numpy()
    seen = np.sort(numbers[np.isfinite(numbers)])
    at = np.unique(seen[np.linspace(0, len(seen) - 1, KNOTS).round().astype(np.int64)]) if len(seen) else seen
    return {
        "rows": len(numbers),
        "missing": len(numbers) - len(seen),
        "at": at.tolist(),
        "below": np.searchsorted(seen, at, "left").tolist(),
        "upto": np.searchsorted(seen, at, "right").tolist(),
    }


def sketches(columns: Mapping[Any, Any] | pd.DataFrame) -> dict[str, Json]:
    """Return the sketch of every column."""
    return {str(name): sketch(columns[name]) for name in columns}


def shift(reference: Json, other: Json) -> Json | None:
    """Return the PSI between two sketches; None where there are no rows, or one is of numbers and one of kinds.

    Returns
    -------
    dict
        ``psi``; ``noise``, what chance alone gives; ``rows`` and ``reference_rows``.
    """
    if not reference["rows"] or not other["rows"] or ("kinds" in reference) != ("kinds" in other):
        return None
    binned = _kind_counts if "kinds" in reference else _number_counts
    before, now = binned(reference, other)
    filled = (before > 0) | (now > 0)
    before, now = before[filled] + PSEUDO_COUNT, now[filled] + PSEUDO_COUNT
    p, q = before / before.sum(), now / now.sum()
    noise = (len(p) - 1) * (1 / reference["rows"] + 1 / other["rows"])
    return {
        "psi": float(np.sum((q - p) * np.log(q / p))),
        "noise": noise,
        "rows": other["rows"],
        "reference_rows": reference["rows"],
    }


def compare(reference: Json, other: Json) -> Json:
    """Compare the variables of two records.

    Parameters
    ----------
    reference, other
        Of each of the groups ``labels``, ``predictions`` and ``features``, sketches by name.

    Returns
    -------
    dict
        ``shifts``: ``{group, name}`` with what :func:`shift` returns, the largest first within a group; and
        ``unmatched``: ``{group, name}`` of the variables that only one side has or that cannot be compared.
    """
    shifts, unmatched = [], []
    for group in GROUPS:
        mine, theirs = other.get(group, {}), reference.get(group, {})
        found = []
        for name in sorted({*mine, *theirs}):
            made = shift(theirs[name], mine[name]) if name in mine and name in theirs else None
            if made is None:
                unmatched.append({"group": group, "name": name})
            else:
                found.append({"group": group, "name": name, **made})
        shifts += sorted(found, key=lambda row: -row["psi"])
    return {"shifts": shifts, "unmatched": unmatched}


def read_record(evaluated: Artifact) -> Json | None:
    """Return the sketches that a run's stage ``evaluate`` left; None if it is of before they were, or of other form.

    Raises
    ------
    ArtifactError
        If they are damaged.
    """
    if f"{RECORD}.json" not in evaluated.names:
        return None
    record: Json = evaluated.json(RECORD)
    return record if record["format"] == FORMAT else None


def worst(compared: Json, group: str) -> Json | None:
    """Return the largest shift of a group; None if nothing in it was compared."""
    return next((row for row in compared["shifts"] if row["group"] == group), None)


def _kind_counts(reference: Json, other: Json) -> tuple[Counts, Counts]:
    known = reference["kinds"]
    kinds = sorted(known, key=lambda kind: (-known[kind], kind))[: BINS - 1]  # a stored record has lost their order

    def counts(own: Json) -> Iterator[int]:
        yield from (own["kinds"].get(kind, 0) for kind in kinds)
        yield own["rows"] - own["missing"] - sum(own["kinds"].get(kind, 0) for kind in kinds)
        yield own["missing"]

    return np.array([*counts(reference)], dtype=np.float64), np.array([*counts(other)], dtype=np.float64)


def _number_counts(reference: Json, other: Json) -> tuple[Counts, Counts]:
    edges, including = _edges(reference)

    def counts(own: Json) -> Counts:
        cumulated = [0, *_cumulated(own, edges, including), own["rows"] - own["missing"]]
        return np.append(np.diff(cumulated), own["missing"]).astype(np.float64)

    return counts(reference), counts(other)


def _edges(own: Json) -> tuple[Counts, NDArray[np.bool_]]:
    """Bounds of bins of about a tenth of the rows, each just before a value or, ``including``, just after it.

    A value that a tenth of the rows share gets a bin of its own.
    """
    at, below, upto = (np.array(own[part], dtype=np.float64) for part in ("at", "below", "upto"))
    if not len(at):
        return np.empty(0), np.empty(0, dtype=bool)
    share = upto[-1] / BINS
    positions = np.unique(np.searchsorted(upto, share * np.arange(1, BINS)))
    alone = upto[positions] - below[positions] >= share
    edges = [*((at[place], True) for place in positions), *((at[place], False) for place in positions[alone])]
    values, including = zip(*sorted(edges), strict=True)
    return np.array(values), np.array(including)


def _cumulated(own: Json, edges: Counts, including: NDArray[np.bool_]) -> Counts:
    """How many rows lie before each edge; between the values of a sketch rows are taken to lie evenly."""
    at, below, upto = (np.array(own[part], dtype=np.float64) for part in ("at", "below", "upto"))
    if not len(at):
        return np.zeros(len(edges))
    place = np.searchsorted(at, edges)
    known = np.isin(edges, at)
    inside = np.interp(edges, np.repeat(at, 2), np.column_stack([below, upto]).ravel())
    nearest = np.minimum(place, len(at) - 1)
    exact = np.where(including, upto[nearest], below[nearest])
    return np.where(known, exact, np.where(edges < at[0], 0.0, np.where(edges > at[-1], upto[-1], inside)))
