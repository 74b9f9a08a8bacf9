"""Regret of the fusion over six dates of every shipped scenario; a run that was measured before is not run again."""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from rich.console import Console

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, MtlError
from mtl_tasks.metrics.catalog import compute, improvement
from mtl_tasks.models.calibration import sigmoid
from mtl_tasks.models.fusion import fuse
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.scenario import Scenario
from mtl_tasks.simulation import Settings, simulate
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.fusion import UNIT, Case, Pool, Values, boosted_mean, compare, tasks_of
from tests.benchmarks.stages import results_until

FOLDER: Final = pathlib.Path(".bench/regret")
LAST_STAGE: Final = "fuse"
# The shipped log of the simulated shop is just long enough for one test window; this one continues it at its rate.
SHOP: Final = pathlib.Path(".simulated/ecommerce-17-weeks")
SHOP_SETTINGS: Final = Settings(users=1000, items=400, days=119, events=378_000, seed=1)
# Fourteen days have room for one test window of four days, or for six of one.
FORTNIGHT: Final = {"windows.train": 6, "windows.test": 1}
FORTNIGHT_DATES: Final = ("2022-05-04", "2022-05-05", "2022-05-06", "2022-05-07", "2022-05-08", "2022-05-09")
HEADINGS: Final = (
    *("scenario", "task", "metric", "runs", "fusion − best member: average", "fusion − mean of boosted: average"),
    *("fusion − best member, by date", "fusion − mean of boosted, by date"),
)
RULE: Final = ("---", "---", "---", "---:", "---:", "---:", "---", "---")


@dataclass(frozen=True)
class Plan:
    """Dates of a scenario, and the settings that differ from its file."""

    dates: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


PLANS: Final = {
    "ecommerce": Plan(
        ("2024-03-04", "2024-03-14", "2024-03-24", "2024-04-03", "2024-04-13", "2024-04-23"),
        {
            "source.events": f"{SHOP}/events",
            "source.items.path": f"{SHOP}/items.parquet",
            "source.users.path": f"{SHOP}/users.parquet",
            "end_date": "2024-04-28",
        },
    ),
    "retail": Plan(("2010-09-10", "2010-12-10", "2011-03-10", "2011-06-10", "2011-09-10", "2011-12-10")),
    "movies": Plan(("2013-06-20", "2013-07-05", "2013-07-20", "2013-08-04", "2013-08-18", "2013-09-02")),
    "social": Plan(FORTNIGHT_DATES, FORTNIGHT),
    "news": Plan(FORTNIGHT_DATES, FORTNIGHT),
}


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes
    ----------
    only
        ``SCENARIO=YYYY-MM-DD``; all by default.
    fresh
        Whether to measure again what was measured before.
    jobs, threads
        Runs at a time, and threads of each.
    """

    only: Sequence[str] = ()
    fresh: bool = False
    jobs: int = 2
    threads: int = 1

    def runs(self) -> list[tuple[str, str]]:
        """Return the scenario and the date of every run: the first date of every scenario, then the second ones.

        Raises
        ------
        ConfigError
            If one is not in the plans.
        """
        every = [(name, as_of) for name, plan in PLANS.items() for as_of in plan.dates]
        every.sort(key=lambda one: PLANS[one[0]].dates.index(one[1]))
        chosen = {tuple(one.split("=", 1)) for one in self.only} or set(every)
        if unknown := sorted("=".join(one) for one in chosen - set(every)):
            raise ConfigError(f"--days: {', '.join(unknown)} is not in PLANS of tests/benchmarks/regret.py")
        return [one for one in every if one in chosen]


def main(store: str, options: Options, console: Console) -> None:
    """Run what is missing, and print the table as Markdown and the comparison of methods over all runs."""
    for name, as_of, failure in measure_missing(store, options):
        console.print(f"{name} as of {as_of}: {failure or 'measured'}")
    records = [json.loads(_path(*one).read_text()) for one in options.runs() if _path(*one).exists()]
    if not records:
        return
    print(table(records), flush=True)
    runs = [planned_run(made["scenario"], made["as_of"], store, options) for made in records]
    pairs = zip(runs, records, strict=True)
    compare(
        [case for run, made in pairs for case in cases(run.store, run.scenario, run.as_of.iso, made["refs"])], console
    )


def measure_missing(store: str, options: Options) -> Iterator[tuple[str, str, MtlError | None]]:
    """Measure runs in processes of their own, and yield each as it ends, with the error that stopped it."""
    missing = [one for one in options.runs() if options.fresh or not _path(*one).exists()]
    if any(name == "ecommerce" for name, _ in missing) and not SHOP.exists():
        simulate(SHOP_SETTINGS, SHOP)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context, max_tasks_per_child=1) as pool:
        futures: dict[Future[None], tuple[str, str]] = {
            pool.submit(measure, *one, _settings(one[0], options), store): one for one in missing
        }
        for future in as_completed(futures):
            failure = future.exception()
            if failure is not None and not isinstance(failure, MtlError):
                raise failure
            yield (*futures[future], failure)


def measure(name: str, as_of: str, settings: Mapping[str, Any], store: str) -> None:
    """Run the stages up to the fusion, and write the metrics of the test window as JSON."""
    made = record(_run(name, as_of, settings, store))
    path = _path(name, as_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")  # a killed process leaves no record
    partial.write_text(json.dumps(made, indent=1) + "\n")
    partial.replace(path)


def record(run: Run) -> dict[str, Any]:
    """Return the metrics of a run's members and fusion on test, the evidence of the fusion, and the artifacts."""
    results = results_until(run, LAST_STAGE)
    refs = {name: result.ref.to_json() for name, result in results.items() if _is_read(name)}
    fitted = run.store.open(results[LAST_STAGE].ref).json("fusion")
    used = [run.store.open(result.ref).manifest["usage"]["cpu_seconds"] for result in results.values()]
    found = cases(run.store, run.scenario, run.as_of.iso, refs)
    return {
        "scenario": run.scenario.name,
        "as_of": run.as_of.iso,
        "windows": run.scenario.windows.model_dump(),
        "cpu_seconds": sum(used),
        "refs": refs,
        "tasks": {case.task: values(case, fitted[case.task]) for case in found},
    }


def cases(store: Store, scenario: Scenario, as_of: str, refs: Mapping[str, Any]) -> list[Case]:
    """Return the tasks of a measured run."""
    opened = {name: store.open(Ref.from_json(ref)) for name, ref in refs.items()}
    members = {name.removeprefix("member:"): one for name, one in opened.items() if name.startswith("member:")}
    return list(tasks_of(scenario, as_of, opened["split"], members))


def values(case: Case, fitted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a task on test, and how its fusion was fitted on blend."""
    predictions = {
        name: score if case.test.kind == "regression" else sigmoid(score)
        for name, score in zip(case.test.members, case.test.inputs.T, strict=True)
    }
    label, members = case.test.label, case.test.members
    return {
        "metric": case.metric,
        "rows": {"blend": len(case.blend.label), "test": len(label)},
        "positives": None if case.test.kind == "regression" else {"blend": case.blend.label.sum(), "test": label.sum()},
        "members": {name: case.value(Pool(one)) for name, one in zip(members, np.eye(len(members)), strict=True)},
        "boosted_mean": case.value(boosted_mean(case.blend)),
        "fusion": compute(case.metric, label, fuse(fitted, predictions, case.test.kind)),
        "fitted": {name: fitted.get(name) for name in ("method", "member", "weights", "eligible", "shrinkage")},
        "calibration": fitted["calibration"]["kind"],
    }


def regrets(entry: Mapping[str, Any]) -> tuple[float, float]:
    """Return the fusion less the best member on test, and less the mean of the boosted members; positive is better.

    >>> entry = {"metric": "rmse", "fusion": 0.9, "boosted_mean": 0.95, "members": {"als": 0.8, "independent": 1.0}}
    >>> [round(one, 6) for one in regrets(entry)]
    [-0.1, 0.05]
    """
    metric, fusion = entry["metric"], entry["fusion"]
    best = max(improvement(metric, value, 0.0) for value in entry["members"].values())
    return improvement(metric, fusion, 0.0) - best, improvement(metric, fusion, entry["boosted_mean"])


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a row a task of every scenario: the regrets of each date and their averages, in units of .0001."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for made in records:
        for task, entry in made["tasks"].items():
            found[made["scenario"], task, entry["metric"]].append(regrets(entry))
    lines = [HEADINGS, RULE, *(_cells(*key, np.array(each) / UNIT) for key, each in found.items())]
    for metric in sorted({key[2] for key in found}):
        means = [np.mean(each, axis=0) / UNIT for key, each in found.items() if key[2] == metric]
        average = [f"**{_signed(value)}**" for value in np.mean(means, axis=0)]
        lines.append(("average of the tasks", "", metric.upper(), str(len(means)), *average, "", ""))
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  ", "| ") for cells in lines)


def _cells(scenario: str, task: str, metric: str, each: Values) -> tuple[str, ...]:
    averages = [f"**{_signed(value)}**" for value in each.mean(axis=0)]
    dates = [", ".join(_signed(value) for value in column) for column in each.T]
    return (scenario, task, metric.upper(), str(len(each)), *averages, *dates)


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")  # + 0.0: no negative zero


def planned_run(name: str, as_of: str, store: str, options: Options) -> Run:
    """Return a run of the plans."""
    return _run(name, as_of, _settings(name, options), store)


def _settings(name: str, options: Options) -> dict[str, Any]:
    return {**PLANS[name].settings, "boosting.threads": options.threads}


def _run(name: str, as_of: str, settings: Mapping[str, Any], store: str) -> Run:
    return make_run(name, AsOf.parse(as_of), settings, store, key=key_from(os.environ))


def _path(name: str, as_of: str) -> pathlib.Path:
    return FOLDER / f"{name}-{as_of}.json"


def _is_read(stage: str) -> bool:
    return stage in ("split", LAST_STAGE) or stage.startswith("member:")
