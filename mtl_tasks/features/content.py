"""Item texts and given vectors in few dimensions: latent semantic analysis (Deerwester et al. 1990).

A text becomes the TF-IDF weights of its terms; a given vector is taken as it is. Both are scaled to length 1 and
projected to the leading singular directions of the items known before the train window. Later items are projected
to the same directions, so that an item has its place before anyone has taken it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from mtl_tasks.core import columns
from mtl_tasks.core.days import EPOCH, day_text
from mtl_tasks.core.errors import DataError
from mtl_tasks.features.als import Floats, ItemFactors
from mtl_tasks.scenario import Content, Scenario

TERMS: Final = 20_000  # most frequent terms that are kept
ROWS_AT_ONCE: Final = 16_384  # bounds memory: rows that are projected together
MOST_VECTORS: Final = 200_000  # bounds memory: items whose vectors the directions are fitted on
_LEAST_TEXTS: Final = 2  # a term of one text makes no two items similar
_TERM: Final = r"\b\w{2,40}\b"
_POWER_ITERATIONS: Final = 7
_NEGLIGIBLE: Final = 1e-6  # of the largest singular value; directions below it are noise


def fit_content(items: pd.DataFrame, events: pd.DataFrame, scenario: Scenario, start: int) -> dict[str, ItemFactors]:
    """Fit the projection of texts and of given vectors on the items known before ``start``.

    Of more than :data:`MOST_VECTORS` items with a vector, that many are used, evenly spaced by id.

    Parameters
    ----------
    items
        The item table, as :func:`~mtl_tasks.data.attribute_tables.read_items` returns it.
    events
        Canonical interactions; an item is known from its first one on.

    Returns
    -------
    dict
        For each of ``source.items.text`` and ``source.items.vectors`` that the scenario has, the weight of each term of
        a text, or of each number of a vector, in each dimension. They are stored like item factors: the ids are terms
        or positions, each with one version. The dimensions are those of ``features.text.dimensions``; there are zeros
        for those that the items do not fill.

    Raises
    ------
    DataError
        If no item known before ``start`` has a vector, or no term occurs in two of their texts.
    """
    section = scenario.source.items
    contents = () if section is None else section.contents
    if not contents:
        return {}
    known = _known_before(items, events, start)
    fits = {"text": _fit_text, "vectors": _fit_vectors}
    made = {}
    for content in contents:
        labels, weights = fits[content](known, scenario, start)
        made[str(content)] = ItemFactors(labels, np.full(len(labels), start, dtype=np.int32), weights)
    return made


def project(items: pd.DataFrame, content: Content, fitted: ItemFactors) -> Floats:
    """Return the rows of an item table in the fitted dimensions, float32 (rows, dimensions).

    A row has length 1, or 0 if it has no text or vector, or none of the fitted terms.
    """
    made = np.zeros((len(items), fitted.vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(items), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        made[rows] = _projected(items.iloc[rows], content, fitted)
    return made


def _projected(items: pd.DataFrame, content: Content, fitted: ItemFactors) -> Floats:
    if content == "text":
        weights = _sublinear(_counts(items[columns.TEXT], fitted.item_ids))
    else:
        # Sparse, since a row of a dense product depends on the number of rows in its last bit.
        weights = sparse.csr_matrix(_unit(_numbers(items)).astype(np.float64))
    if weights.shape[1] != len(fitted.item_ids):
        raise DataError(
            f"source.items.vectors: vectors have {weights.shape[1]:,} numbers now, but {len(fitted.item_ids):,} when "
            "the run was trained: write them as they were, or retire the run"
        )
    return _unit(np.asarray(weights @ fitted.vectors.astype(np.float64)))


def _known_before(items: pd.DataFrame, events: pd.DataFrame, start: int) -> pd.DataFrame:
    """Return the rows of the items with an event before a day, each in its newest version from before it, by id."""
    met = items[columns.ITEM].isin(events.loc[events[columns.DAY] < start, columns.ITEM].unique())
    if columns.VALID in items:
        met &= (items[columns.VALID] - EPOCH) // pd.Timedelta(days=1) < start
    return items[met].drop_duplicates(columns.ITEM, keep="last").sort_values(columns.ITEM, ignore_index=True)


def _fit_text(known: pd.DataFrame, scenario: Scenario, start: int) -> tuple[NDArray[Any], Floats]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = known.loc[known[columns.TEXT] != "", columns.TEXT]
    model = TfidfVectorizer(**_settings(), min_df=_LEAST_TEXTS, max_features=TERMS, sublinear_tf=True)
    try:
        weights = model.fit_transform(texts)
    except ValueError:  # the documented answer to an empty vocabulary
        raise DataError(
            f"source.items.text: no term occurs in two of the texts of the {len(texts):,} items known before "
            f"{day_text(start)} (the train window): map other columns, choose a later as_of, or leave the key out of "
            f"{scenario.file}"
        ) from None
    terms = model.get_feature_names_out().astype("U")
    return terms, _directions(weights, scenario) * model.idf_[:, None].astype(np.float32)


def _fit_vectors(known: pd.DataFrame, scenario: Scenario, start: int) -> tuple[NDArray[Any], Floats]:
    numbers = _numbers(known)
    given = np.flatnonzero(numbers.any(axis=1))
    if not len(given):
        raise DataError(
            f"source.items.vectors: none of the {len(known):,} items known before {day_text(start)} (the train window) "
            f"has a vector: choose a later as_of, or leave the key out of {scenario.file}"
        )
    count = min(len(given), MOST_VECTORS)
    spaced = given[np.arange(count) * len(given) // count]
    return np.arange(numbers.shape[1]), _directions(_unit(numbers[spaced]).astype(np.float64), scenario)


def _directions(values: Any, scenario: Scenario) -> Floats:
    """Return the leading right singular vectors, float32 (columns, dimensions); the largest weight of each is positive.

    Singular vectors are unique up to their sign.
    """
    from sklearn.utils.extmath import randomized_svd

    dimensions = scenario.features.text.dimensions
    made = np.zeros((values.shape[1], dimensions), dtype=np.float32)
    with threadpool_limits(1, "blas"):  # the sums of several threads depend on their number
        _, strength, right = randomized_svd(
            values, min(dimensions, *values.shape), n_iter=_POWER_ITERATIONS, random_state=scenario.seed
        )
    right = right[strength > _NEGLIGIBLE * strength.max(initial=0.0)]
    largest = right[np.arange(len(right)), np.abs(right).argmax(axis=1)]
    made[:, : len(right)] = (right * np.sign(largest)[:, None]).T
    return made


def _counts(texts: pd.Series[str], terms: NDArray[Any]) -> sparse.csr_matrix:
    """Return how often each text has each term, float64 (texts, terms)."""
    from sklearn.feature_extraction.text import CountVectorizer

    vocabulary = {term: place for place, term in enumerate(terms.tolist())}
    counts: sparse.csr_matrix = CountVectorizer(**_settings(), vocabulary=vocabulary, dtype=np.float64).transform(texts)
    return counts


def _settings() -> dict[str, Any]:
    return {"token_pattern": _TERM, "strip_accents": "unicode", "lowercase": True}


def _sublinear(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.csr_matrix((1.0 + np.log(counts.data), counts.indices, counts.indptr), shape=counts.shape)


def _numbers(items: pd.DataFrame) -> Floats:
    """Return the given vectors, float32 (rows, numbers); zeros where there is none."""
    axes = [name for name in items if str(name).startswith(f"{columns.VECTORS}:")]
    numbers: Floats = np.nan_to_num(items[axes].to_numpy(dtype=np.float32))
    return numbers


def _unit(values: NDArray[Any]) -> Floats:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(length > 0, length, 1.0), dtype=np.float32)
