"""The problems and the methods of the boosting benchmark by name; one line adds one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

import pandas as pd

from mtl_tasks.models import Predictions, Table, member_class
from mtl_tasks.scenario import Scenario
from tests.benchmarks.kuairand import kuairand
from tests.benchmarks.movies import movies
from tests.benchmarks.peers import fit_xgboost
from tests.benchmarks.problems import Problem
from tests.benchmarks.simulated import RELATIONS, problem_name, simulate

REFERENCE: Final = "independent"


class Fitted(Protocol):
    """A fitted model, which scores rows."""

    def predict(self, features: pd.DataFrame) -> Predictions:
        """Return float64 (n,) for every task."""


Fit = Callable[[Table, Table, Scenario], Fitted]


@dataclass(frozen=True)
class Method:
    """A way to fit all tasks, or the mean of several (in log-odds for a binary task).

    Attributes
    ----------
    fit
        None for a mean.
    settings
        Dotted keys of the scenario that differ, such as ``{"boosting.shared.combine": "sum"}``.
    parts
        What a mean is taken of: a method, and the number of its draw (each draw has its own seed).
    kind, package
        What must be there for the method to run.
    """

    fit: Fit | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[tuple[str, int], ...] = ()
    kind: str | None = None
    package: str | None = None

    @property
    def missing(self) -> str | None:
        """The reason why the method cannot run; None if it can."""
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            return f"the package {self.package} is not installed (make bench installs it)"
        if self.kind is not None and not _known(self.kind):
            return f"there is no member {self.kind!r} yet"
        return next((why for name, _ in self.parts if (why := METHODS[name].missing)), None)


def _known(kind: str) -> bool:
    try:
        member_class(kind)  # type: ignore[arg-type]
    except (ImportError, KeyError):
        return False
    return True


def _member(kind: str, **settings: Any) -> Method:
    def fit(train: Table, tune: Table, scenario: Scenario) -> Fitted:
        return member_class(kind).fit(train, tune, scenario)  # type: ignore[arg-type]

    return Method(fit, {f"boosting.{key.replace('__', '.')}": value for key, value in settings.items()}, kind=kind)


def _mean(*parts: tuple[str, int]) -> Method:
    return Method(parts=parts)


METHODS: Final[dict[str, Method]] = {
    REFERENCE: _member("independent"),
    "independent x2": _mean(*((REFERENCE, draw) for draw in range(2))),
    "independent x4": _mean(*((REFERENCE, draw) for draw in range(4))),
    "xgboost multi_output_tree": Method(fit_xgboost, package="xgboost"),
    "cascade": _member("cascade"),
    "shared": _member("shared"),
    "shared (alternate)": _member("shared", shared__combine="alternate"),
    "shared (sum)": _member("shared", shared__combine="sum"),
    "shared (quick)": _member("shared", shared__learning_rate=0.2, shared__leaf_l2=60.0),
    "shared_tail": _member("shared_tail"),
    "mean(independent, shared_tail)": _mean((REFERENCE, 0), ("shared_tail", 0)),
    "mean(independent, shared_tail) x2": _mean(
        *((method, draw) for method in (REFERENCE, "shared_tail") for draw in range(2))
    ),
}
# The mean of as many independent models as the method is made of: averaging alone helps.
EQUAL_SIZE: Final = {
    "mean(independent, shared_tail)": "independent x2",
    "mean(independent, shared_tail) x2": "independent x4",
}
FULL_ONLY: Final = (
    "xgboost multi_output_tree",
    "independent x4",
    "shared (alternate)",
    "shared (sum)",
    "shared (quick)",
    "mean(independent, shared_tail) x2",
)


@dataclass(frozen=True)
class RunRecord:
    """A problem of the benchmark: how it is made from a seed, and how many seeds it gets."""

    make: Callable[[int], Problem]
    size: str
    seeds: int
    full_seeds: int
    default: bool = True


def _simulated() -> dict[str, RunRecord]:
    entries = {}
    for rows, size, seeds in ((100_000, "100k", 3), (500_000, "500k", 1)):
        for relation in RELATIONS:
            for rated in (0.10, 0.01):
                default = rows == 100_000 or (relation, rated) == ("related", 0.10)
                make = partial(simulate, relation, rated, rows)
                entries[problem_name(relation, rated, rows)] = RunRecord(make, size, seeds, 3, default)
    return entries


PROBLEMS: Final[dict[str, RunRecord]] = {
    "kuairand": RunRecord(lambda seed: kuairand(), "real", 1, 3),
    "films": RunRecord(lambda seed: movies(), "real", 1, 3),
    **_simulated(),
}
