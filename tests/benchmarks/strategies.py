"""Training strategies side by side: a model for each task, models that learn several tasks, and warm starts.

All learn from the stored features of one run. Each member is fitted, refitted and measured by its own stage, so what
the store holds is not made again.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf, day_text
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.evaluation.estimates import Interval, Key, estimate
from mtl_tasks.metrics.catalog import CATALOG, Prepared, primary
from mtl_tasks.models import member_class
from mtl_tasks.pipeline.engine import Run, run_stage
from mtl_tasks.pipeline.local import make_run, refs_of, run_pipeline
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.scenario import MemberKind, Scenario
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.registry import Registry
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.output import make_table
from tests.benchmarks.rankers import with_interval
from tests.benchmarks.stages import results_until

DAYS: Final = {"movies": "2013-08-25", "retail": "2011-12-10"}  # by scenario, as of
WARM_START: Final = "boosting.warm_start"
CHAMPION: Final = "champion"
INTERVAL: Final = Interval(seed=7)
# Of the run that only trains a champion to warm-start from: its lists are few and not judged.
FEW_LISTS: Final[dict[str, Any]] = {
    "recommend.candidates": 10,
    "recommend.ranking.days": 0,
    "recommend.active_days": 1,
    "gate.lists": [],
}
HEADINGS: Final = (
    *("scenario", "as of", "strategy", "member", "CPU s", "peak MiB"),
    *("task", "metric", "value", "gain over separate"),
)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Strategy:
    """A way to train: a member, and the settings that it is fitted with."""

    title: str
    member: MemberKind
    settings: dict[str, Any] = field(default_factory=dict)
    detail: str = ""

    @property
    def name(self) -> str:
        """The member, with what distinguishes it."""
        return f"{self.member}{self.detail}"


SEPARATE: Final = Strategy("separate", "independent")
STRATEGIES: Final = (
    SEPARATE,
    Strategy("joint", "cascade"),
    Strategy("joint", "shared"),
    Strategy("joint", "shared_tail"),
    Strategy("joint", "deep", {"deep.structure": "mmoe"}, ", MMoE"),
    Strategy("transfer", "independent", {WARM_START: CHAMPION}, ", warm start"),
)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes
    ----------
    days
        As of, ``YYYY-MM-DD``, by scenario.
    threads
        Threads of a fit.
    seeds
        Boosted models that are averaged; None: those of the scenario.
    age
        Days before ``as_of`` that a champion is trained, if the store has none to warm-start from.
    source
        A further scenario whose champion is warm-started from; None for none.
    """

    days: Mapping[str, str]
    threads: int = 1
    seeds: int | None = None
    age: int = 7
    source: str | None = None

    @property
    def strategies(self) -> tuple[Strategy, ...]:
        """The strategies, the separate one first."""
        if self.source is None:
            return STRATEGIES
        further = Strategy("transfer", "independent", {WARM_START: self.source}, f", warm start from {self.source}")
        return (*STRATEGIES, further)


@dataclass(frozen=True)
class Case:
    """A scenario as of a day, in a store."""

    store: str
    scenario: str
    as_of: str
    options: Options

    def run(self, strategy: Strategy) -> Run:
        """Return the run that fits a strategy's member, beside the popularity baseline that every run has."""
        settings = {"members": ["popularity", strategy.member], "boosting.threads": self.options.threads}
        if self.options.seeds is not None:
            settings["boosting.seeds"] = self.options.seeds
        settings |= strategy.settings
        return make_run(self.scenario, AsOf.parse(self.as_of), settings, self.store, key=key_from(os.environ))

    def earlier(self) -> Case:
        """Return the case of the day that a champion is trained for."""
        return replace(self, as_of=day_text(AsOf.parse(self.as_of).day - self.options.age))


@dataclass(frozen=True)
class Fitted:
    """A fitted member.

    Attributes
    ----------
    predictions
        Float64 (n,) of the test window's rows, by task.
    cpu_seconds, peak_mb
        Of the member's stage: fit, refit, predictions and their explanation. MiB.
    note
        What it was warm-started from; None if no warm start was requested.
    """

    predictions: dict[str, Values]
    cpu_seconds: float
    peak_mb: float
    note: str | None


def parse_days(given: Sequence[str]) -> dict[str, str]:
    """Return the days of arguments ``SCENARIO=YYYY-MM-DD``; by default those of the documentation.

    >>> parse_days(["movies=2013-08-11"])
    {'movies': '2013-08-11'}
    """
    for one in given:
        if one.count("=") != 1:
            raise ConfigError(f"--days: {one!r} is not of the form SCENARIO=YYYY-MM-DD, such as movies=2013-08-25")
    return dict(one.split("=") for one in given) or dict(DAYS)


def main(store: str, options: Options, console: Console) -> None:
    """Print the table, and below it what was warm-started from and what could not be fitted."""
    notes: list[str] = []
    rows: list[tuple[str, ...]] = []
    for scenario, as_of in options.days.items():
        case = Case(store, scenario, as_of, options)
        for cells in table(case, options.strategies, notes):
            rows.append(cells)
            console.print(", ".join(cell for cell in cells if cell), markup=False)
    shown = make_table(HEADINGS, ("CPU s", "peak MiB", "value", "gain over separate"), rows)
    shown.caption = "\n".join(notes) or None
    console.print(shown)


def fit_alone(case: Case, strategy: Strategy) -> Fitted:
    """Do :func:`fit` in a process of its own, so that its peak memory is the member's."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        if strategy.settings.get(WARM_START) == CHAMPION:
            pool.submit(have_champion, case, strategy).result()
        return pool.submit(fit, case, strategy).result()


def table(
    case: Case,
    strategies: Sequence[Strategy],
    notes: list[str],
    fitter: Callable[[Case, Strategy], Fitted] = fit_alone,
) -> Iterator[tuple[str, ...]]:
    """Yield a row for each task of each strategy, the first of which the others are compared with.

    Parameters
    ----------
    notes
        Takes a sentence for each warm start, and for each strategy that could not be fitted, which has no rows.
    fitter
        :func:`fit_alone`, or :func:`fit` for a quick look in this process.
    """
    run = case.run(strategies[0])
    rows = _test_rows(run)
    reference: Fitted | None = None
    for strategy in strategies:
        fitted = _noted(case, strategy, notes, fitter)
        if fitted is None:
            continue
        first = reference is None
        reference = reference or fitted
        about = [case.scenario, case.as_of] if first else ["", ""]
        ways = [*about, strategy.title, strategy.name, f"{fitted.cpu_seconds:.0f}", f"{fitted.peak_mb:.0f}"]
        for cells in _task_cells(run.scenario, fitted, reference, rows):
            yield (*ways, *cells)
            ways = [""] * len(ways)


def _test_rows(run: Run) -> pd.DataFrame:
    rows = run.store.open(results_until(run, "features")["split"].ref).frame("rows")
    return rows[rows[columns.WINDOW] == "test"]


def _noted(
    case: Case, strategy: Strategy, notes: list[str], fitter: Callable[[Case, Strategy], Fitted]
) -> Fitted | None:
    """Return the fitted member, or None with a note that says why it cannot be fitted."""
    name = f"{case.scenario}, {strategy.name}"
    try:
        fitted = fitter(case, strategy)
    except ConfigError as error:
        notes.append(f"{name}: not fitted: {error}")
        return None
    if fitted.note is not None:
        notes.append(f"{name}: {fitted.note}")
    return fitted


def fit(case: Case, strategy: Strategy) -> Fitted:
    """Fit a member by its stage, or read what that stage has stored.

    Raises
    ------
    ConfigError
        If the member needs a library that is not installed, or has no trees to warm-start from.
    """
    if strategy.settings.get(WARM_START) == CHAMPION:
        have_champion(case, strategy)
    run = case.run(strategy)
    refs = refs_of(results_until(run, "features"))
    member_class(strategy.member)  # its import is no part of the fit
    made = run.store.open(run_stage(build_stages(run.scenario)[f"member:{strategy.member}"], run, refs).ref)
    note = made.summary["transfer"]
    if WARM_START in strategy.settings and not str(note).startswith("warm-started"):
        raise ConfigError(f"{note}")
    frame, usage = made.frame("test"), made.manifest["usage"]
    predictions = {task: frame[columns.prediction(task)].to_numpy() for task in run.scenario.tasks}
    return Fitted(predictions, usage["cpu_seconds"], usage["peak_rss_mb"], note)


def have_champion(case: Case, strategy: Strategy) -> None:
    """Run an earlier day, without a warm start, if the store has no champion of the scenario before the day."""
    run = case.earlier().run(replace(strategy, settings=FEW_LISTS))
    if Registry(run.store, case.scenario).champion(case.as_of) is None:
        run_pipeline(run, lambda stage, result: None)


def _task_cells(
    scenario: Scenario, fitted: Fitted, reference: Fitted, rows: pd.DataFrame
) -> Iterator[tuple[str, str, str, str]]:
    """Yield each task's name, metric, value and paired gain."""
    for task, settings in scenario.tasks.items():
        metric = primary(settings.kind)
        label = rows[columns.label(task)].to_numpy().astype(np.float64)
        value, gain = measure(
            metric, label, fitted.predictions[task], reference.predictions[task], rows[columns.USER].to_numpy()
        )
        shown = "–" if fitted is reference else _bold(with_interval(gain, signed=True), gain)
        yield task, CATALOG[metric].heading, with_interval(value), shown


def measure(
    metric: str, label: Values, prediction: Values, reference: Values, users: NDArray[Any]
) -> tuple[Measurement, Measurement]:
    """Return a metric, and its gain over that of other predictions of the same rows, with user-clustered intervals.

    Parameters
    ----------
    label, prediction, reference
        Float64 (n,); rows whose label is NaN do not count.
    users
        (n,) user of each row.
    """
    seen = ~np.isnan(label)
    prepared = [Prepared(metric, label[seen], one[seen]) for one in (prediction, reference)]
    keys = (Key("this", metric), Key("reference", metric))
    found = estimate(
        users[seen],
        keys,
        lambda weights: np.array([one.under(weights) for one in prepared]),
        np.full(len(keys), seen.sum()),
        INTERVAL,
    )
    return found.of("this", metric), found.difference("this", "reference", metric)


def _bold(shown: str, gain: Measurement) -> str:
    """Mark a gain whose interval excludes 0."""
    return f"**{shown}**" if gain.bounds is not None and gain.bounds[0] * gain.bounds[1] > 0 else shown
