"""A simulated log in which how much the tasks have in common, and how rarely one is observed, is a choice.

Purchases (binary, about 3 %) on every row, a rating (regression) on a share of rows. What is expected of a row is a
nonlinear function of its features, so that the best possible prediction is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from tests.benchmarks.problems import WINDOWS, Problem, benchmark_scenario, binary, regression

Relation = Literal["related", "unrelated", "negative"]
Floats = NDArray[np.float64]

RELATIONS: Final[tuple[Relation, ...]] = ("related", "unrelated", "negative")
INFORMATIVE: Final = 36  # a third for what the tasks share, a third for each one's own
CORRELATED: Final = 16  # noisy copies of informative ones
SKEWED: Final = 8  # counts with a long tail, half of them noisy views of an informative feature
NOISE: Final = 20
SHARED: Final = 0.85  # weight of the common function: the expectations then correlate by about .7
POSITIVES: Final = 0.03
LOGIT_SPREAD: Final = 1.12  # of the purchase's log-odds: AUC of the truth near .78
RATING_SPREAD: Final = 0.60  # of the expected rating; with NOISE_SPREAD its R2 is .36 and the rating's sd 1
NOISE_SPREAD: Final = 0.80
ROWS_A_USER: Final = 20
# Shares of `rows`; the test rows come on top, so that the cost of a fit depends on `rows` alone.
SHARES: Final = {"train": 0.60 / 0.85, "tune": 0.15 / 0.85, "blend": 0.10 / 0.85, "test": 0.20}


def simulate(relation: Relation, rated: float, rows: int, seed: int) -> Problem:
    """Return a problem with ``rows`` rows in train, tune and blend together (12 : 3 : 2), and a fifth more in test.

    Parameters
    ----------
    relation
        ``related``: both tasks follow one function for the most part (the expectations correlate by about .7).
        ``negative``: the rating follows its opposite. ``unrelated``: disjoint features.
    rated
        Share of rows with a rating, drawn at random. Every test row has one: a sharper measure of the same model.
    """
    rng = np.random.default_rng([seed, RELATIONS.index(relation)])
    counts = {name: round(rows * share) for name, share in SHARES.items()}
    total = sum(counts.values())
    users = rng.integers(0, max(1, rows // ROWS_A_USER), total)
    informative = _informative(rng, users)
    log_odds, rating = _expected(rng, informative, relation)
    probability = expit(log_odds)
    labels = {
        "purchase": (rng.random(total) < probability).astype(np.float32),
        "rating": (rating + NOISE_SPREAD * rng.standard_normal(total)).astype(np.float32),
    }
    window = np.repeat(WINDOWS, [counts[name] for name in WINDOWS])
    labels["rating"][(rng.random(total) >= rated) & (window != "test")] = np.nan
    name = problem_name(relation, rated, rows)
    return Problem(
        name=name,
        scenario=_scenario(name, relation),
        features=_columns(rng, informative),
        labels=labels,
        users=users,
        window=window,
        truth={"purchase": probability, "rating": rating},
    )


def problem_name(relation: Relation, rated: float, rows: int) -> str:
    """Name of a problem, in the form of a scenario's.

    >>> problem_name("related", 0.1, 100_000)
    'related_10pct_100k'
    """
    return f"{relation}_{round(100 * rated)}pct_{round(rows / 1000)}k"


def _scenario(name: str, relation: str) -> Any:
    tasks = {"purchase": binary("bought"), "rating": regression("rating", -10.0, 10.0)}
    return benchmark_scenario(name, f"Simulated, {relation} tasks", tasks)


def _informative(rng: np.random.Generator, users: NDArray[np.int64]) -> Floats:
    """Standard normal (rows, features), a third of each value's variance being the user's own."""
    own = rng.standard_normal((int(users.max()) + 1, INFORMATIVE))[users]
    return np.sqrt(1 / 3) * own + np.sqrt(2 / 3) * rng.standard_normal((len(users), INFORMATIVE))


def _expected(rng: np.random.Generator, informative: Floats, relation: Relation) -> tuple[Floats, Floats]:
    """Log-odds of a purchase and expected rating of each row."""
    third = INFORMATIVE // 3
    common, first, second = (informative[:, part * third : (part + 1) * third] for part in range(3))
    own = np.sqrt(1 - SHARED**2)
    shared = _function(rng)(common)
    purchase, rating = _function(rng)(first), _function(rng)(second)
    if relation != "unrelated":
        sign = 1.0 if relation == "related" else -1.0
        purchase, rating = SHARED * shared + own * purchase, sign * SHARED * shared + own * rating
    log_odds = LOGIT_SPREAD * purchase
    return log_odds + _intercept(log_odds), RATING_SPREAD * rating


def _function(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """Draw a nonlinear function of 12 features; its values have mean 0 and sd 1 over the rows."""
    weights = rng.choice([-1.0, 1.0], 8) * rng.uniform(0.7, 1.3, 8)
    cuts = rng.uniform(-0.6, 0.6, 4)

    def value(x: Floats) -> Floats:
        parts = [
            np.where(x[:, 0] > cuts[0], 1.0, -1.0) * (x[:, 1] > cuts[1]),  # a threshold that a second one gates
            x[:, 2] * np.tanh(x[:, 3]),
            np.sin(1.5 * x[:, 4]),
            np.maximum(x[:, 5] - cuts[2], 0.0),
            x[:, 6] * (x[:, 7] > cuts[3]),
            np.abs(x[:, 8]),
            np.tanh(x[:, 9] + x[:, 10]),
            0.5 * x[:, 11],
        ]
        total = sum(weight * part for weight, part in zip(weights, parts, strict=True))
        return np.asarray((total - np.mean(total)) / np.std(total))

    return value


def _intercept(log_odds: Floats) -> float:
    """Shift at which the mean probability is the wanted share of positives, by bisection."""
    low, high = -20.0, 5.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expit(log_odds + middle).mean() < POSITIVES else (low, middle)
    return low


def _columns(rng: np.random.Generator, informative: Floats) -> pd.DataFrame:
    """Informative features among copies, counts and noise, in an order that says nothing."""
    rows = len(informative)
    copied = rng.choice(INFORMATIVE, CORRELATED, replace=False)
    copies = 0.8 * informative[:, copied] + 0.6 * rng.standard_normal((rows, CORRELATED))
    seen = rng.choice(INFORMATIVE, SKEWED // 2, replace=False)
    rates = np.hstack([informative[:, seen], rng.standard_normal((rows, SKEWED // 2))])
    counts = rng.poisson(np.exp(rates)).astype(np.float64)
    values = np.hstack([informative, copies, counts, rng.standard_normal((rows, NOISE))])
    order = rng.permutation(values.shape[1])
    names = [f"feature_{number:02d}" for number in range(values.shape[1])]
    return pd.DataFrame(values[:, order].astype(np.float32), columns=names)
