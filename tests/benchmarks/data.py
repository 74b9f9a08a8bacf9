"""Cost of a run by size of log, stage by stage, beside the bare library calls that it cannot do without."""

from __future__ import annotations

import contextlib
import json
import pathlib
import subprocess
import sys
import unittest.mock
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow.dataset as pads
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import sparse
from threadpoolctl import threadpool_limits

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.features.als import ImplicitALS, ItemFactors, Solver, fit_item_factors
from mtl_tasks.features.builder import fit_factor_models
from mtl_tasks.models.boosting.binning import Encoder
from mtl_tasks.models.boosting.trees import parameters
from mtl_tasks.pipeline.days.features import read_days
from mtl_tasks.pipeline.days.log import read_events
from mtl_tasks.pipeline.engine import Inputs, Run, StageResult, find_stage, measured, run_stage
from mtl_tasks.pipeline.local import is_promoted, make_run, refs_of
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.scenario import parse_setting
from mtl_tasks.simulation import Settings, bayes_limits, simulate
from tests.benchmarks.windows import WAYS, Events

FOLDER: Final = pathlib.Path(".bench/data")
RESULTS: Final = pathlib.Path(".bench/data.json")
DAYS: Final = 63
AS_OF: Final = ("2024-03-03", "2024-03-04")  # the day before, and the day
SHOPS: Final = {100_000: (2_000, 1_000), 1_000_000: (20_000, 5_000), 10_000_000: (200_000, 20_000)}
MEMBERS: Final = "[popularity,als,independent]"  # of the others, no single library call is the like
LEARNING_RATES: Final = {10_000_000: 0.1}  # where it is not the default: half as many trees, for time's sake
PREDICTED: Final = 500_000  # rows on which prediction is timed; its time is in proportion


@dataclass(frozen=True)
class Cost:
    """CPU seconds (user + system), and peak memory in MiB."""

    cpu_seconds: float
    peak_rss_mb: float


def main(sizes: list[int], store: str, last: str, last_then: str, console: Console) -> None:
    """Measure every size, print the tables, write the JSON.

    Parameters
    ----------
    last, last_then
        The stages after which the first run and that of the next day end.
    """
    document: dict[str, Any] = {}
    for events in sizes:
        console.print(f"{events:,} events …")
        log = _simulated(events)
        lasts = zip(AS_OF, (last, last_then), strict=True)
        runs = {as_of: _run(log, as_of, f"{store}/{events}", end) for as_of, end in lasts}
        wanted = [name for name in FLOORS if name.partition(" + ")[0] in runs[AS_OF[0]]]
        floors = {name: _call("floor", name, str(log), f"{store}/{events}") for name in wanted}
        windows = {name: _window_costs(name, log, f"{store}/{events}") for name in WAYS}
        document[str(events)] = {"runs": runs, "floors": floors, "windows": windows}
        if "evaluate" in runs[AS_OF[0]]:
            document[str(events)]["quality"] = {"reached": _reached(log, f"{store}/{events}"), "limit": _limits(log)}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    console.print(_stages(document))
    console.print(_windows(document))
    console.print(_quality(document))
    console.print(f"Written to {RESULTS}")


def _simulated(events: int) -> pathlib.Path:
    folder = FOLDER / str(events)
    if not (folder / "items.parquet").exists():
        users, items = SHOPS[events]
        simulate(Settings(users=users, items=items, days=DAYS, events=events), folder)
    return folder


def _settings(log: pathlib.Path) -> list[str]:
    return [
        f"source.events={log}/events",
        f"source.items.path={log}/items.parquet",
        f"source.users.path={log}/users.parquet",
        f"members={MEMBERS}",
        "factors.refit_days=7",
        *(f"boosting.learning_rate={rate}" for events, rate in LEARNING_RATES.items() if log.name == str(events)),
    ]


def _run(log: pathlib.Path, as_of: str, store: str, last: str) -> dict[str, Any]:
    """Run the stages in a process of its own, and return what each took."""
    _call("run_stages", str(log), as_of, store, last)
    run, results = _finished(log, as_of, store)
    return {name: run.store.open(result.ref).manifest["usage"] for name, result in results.items()}


def run_stages(log: str, as_of: str, store: str, last: str) -> None:
    """Run the stages up to ``last``; the lists only if the candidate is promoted."""
    run, results = _asked(pathlib.Path(log), as_of, store), dict[str, StageResult]()
    for name, stage in build_stages(run.scenario).items():
        if name != "recommend" or is_promoted(run, results["publish"]):
            results[name] = run_stage(stage, run, refs_of(results))
        if name == last:
            break


def _call(function: str, *arguments: str, timeout: int | None = None) -> Any:
    """Call a function of this module in a process of its own, so that the memory it takes is its own."""
    code = f"import json, sys; from tests.benchmarks import data; print(json.dumps(data.{function}(*sys.argv[1:])))"
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=timeout)
    return json.loads(done.stdout.splitlines()[-1])


def _asked(log: pathlib.Path, as_of: str, store: str) -> Run:
    overrides = dict(parse_setting(setting) for setting in _settings(log))
    return make_run("ecommerce", AsOf.parse(as_of), overrides, store)


def _finished(log: pathlib.Path, as_of: str, store: str) -> tuple[Run, dict[str, StageResult]]:
    run, results = _asked(log, as_of, store), dict[str, StageResult]()
    for name, stage in build_stages(run.scenario).items():
        with contextlib.suppress(KeyError):  # a stage after one that was not run
            found = find_stage(stage, run, refs_of(results))
            if found is not None:
                results[name] = found
    return run, results


def _inputs(log: pathlib.Path, store: str) -> tuple[Run, Inputs]:
    run, results = _finished(log, AS_OF[0], store)
    return run, Inputs({name: run.store.open(result.ref) for name, result in results.items()})


def floor(name: str, log: str, store: str) -> dict[str, float]:
    """Return the cost of a bare library call on ready-made arrays."""
    return FLOORS[name](pathlib.Path(log), store)


def _read(log: pathlib.Path, store: str) -> dict[str, float]:
    with measured() as usage:
        wanted = ["user_id", "item_id", "time", "purchase", "rating"]
        pads.dataset(str(log / "events"), partitioning="hive").to_table(columns=wanted)
    return usage


def _als(log: pathlib.Path, store: str) -> dict[str, float]:
    """The calls of `implicit` that the stage makes, made again on the same arrays: the fit, and the folding in.

    ``stage_alone`` is what the stage takes for the same space, without reading and coding the log and without the
    factors of ratings.
    """
    from implicit.cpu.als import AlternatingLeastSquares

    run, inputs = _inputs(log, store)
    events, settings = read_events(run.store, inputs["validate"]), run.scenario.factors
    calls: list[tuple[sparse.csr_matrix, NDArray[np.float32] | None]] = []
    factor_models: dict[str, float] = {}

    def timed(solver: Solver, *arguments: Any) -> ItemFactors:
        with measured() as usage:
            item_factors = fit_item_factors(solver, *arguments)
        factor_models[solver.name] = usage["cpu_seconds"]
        return item_factors

    class Noted(ImplicitALS):
        def fit(self, user_items: sparse.csr_matrix, start: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
            calls.append((_summed(user_items), None))
            return super().fit(user_items, start)

        def fold_in(self, values: sparse.csr_matrix, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
            calls.append((_summed(values), np.ascontiguousarray(vectors)))
            return super().fold_in(values, vectors)

    span = inputs["factors"].summary["fitted_before"], run.as_of.day
    with unittest.mock.patch("mtl_tasks.features.builder.fit_item_factors", timed):
        fit_factor_models(events, run.scenario, *span)
    with unittest.mock.patch("mtl_tasks.features.builder.ImplicitALS", Noted):
        fit_factor_models(events, run.scenario, *span)
    took = {"fit": 0.0, "fold": 0.0}
    for matrix, vectors in calls:
        model = AlternatingLeastSquares(
            factors=settings.dimensions,
            iterations=settings.iterations,
            regularization=settings.regularization,
            random_state=run.scenario.seed,
            num_threads=run.scenario.boosting.threads,
        )
        with measured() as usage, threadpool_limits(1, "blas"):  # as implicit asks
            if vectors is None:
                model.fit(matrix, show_progress=False)
            else:
                model.item_factors = vectors
                model.recalculate_user(np.arange(matrix.shape[0]), matrix)
        took["fit" if vectors is None else "fold"] += usage["cpu_seconds"]
    return {"cpu_seconds": sum(took.values()), "fit_alone": took["fit"], "stage_alone": factor_models["taste"]}


def _summed(values: sparse.csr_matrix) -> sparse.csr_matrix:
    made = values.astype(np.float32)
    made.sum_duplicates()
    return made


def _boosted(log: pathlib.Path, store: str) -> dict[str, float]:
    run, inputs = _inputs(log, store)
    rows = inputs["split"].frame("rows")
    matrix = _matrix(run, inputs)
    window = rows[columns.WINDOW].to_numpy()
    described = inputs["member:independent"].json("describe")["tasks"]
    with measured() as usage:
        for task, settings in run.scenario.tasks.items():
            label = rows[columns.label(task)].to_numpy()
            given = parameters(run.scenario.boosting, settings.kind, "cpu", run.scenario.seed)
            rounds = described[task]["rounds"]
            patience = run.scenario.boosting.patience
            train, tune = ((window == name) & ~np.isnan(label) for name in ("train", "tune"))
            data = lgb.Dataset(matrix[train], label[train])
            held = lgb.Dataset(matrix[tune], label[tune], reference=data)
            lgb.train(given, data, rounds + patience, valid_sets=[data, held])
            both = (window != "test") & ~np.isnan(label)
            lgb.train(given, lgb.Dataset(matrix[both], label[both]), rounds)
    return usage


def _matrix(run: Run, inputs: Inputs, positions: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
    features = read_days(run.store, inputs["features"], None, positions)
    return Encoder.learn(features).matrix(features)


def _ranked(log: pathlib.Path, store: str) -> dict[str, float]:
    """The candidates by `implicit`, and LightGBM's prediction of as many rows as were scored."""
    from implicit.cpu.topk import topk

    run, inputs = _inputs(log, store)
    item_factors = inputs["factors"].arrays(
        "taste", {"item_ids": ("i", 1), "valid_from": ("i", 1), "vectors": ("f", 2)}
    )
    lists = inputs["recommend"].frame("recommendations") if "recommend" in inputs.artifacts else pd.DataFrame()
    ranking = inputs["evaluate"].json("evaluation")["ranking"]
    people = [ranking["users"], lists[columns.USER].nunique() if len(lists) else 0]
    scored = int(sum(people) * ranking["candidates_per_user"])
    users = np.random.default_rng(0).standard_normal((sum(people), item_factors["vectors"].shape[1])).astype(np.float32)
    matrix = _matrix(run, inputs, np.arange(min(PREDICTED, inputs["features"].manifest["rows"])))
    texts = [inputs["member:independent"].read(f"model.{task}.0.lightgbm.txt") for task in run.scenario.tasks]
    boosters = [lgb.Booster(model_str=text.decode()) for text in texts]
    with measured() as usage:
        topk(item_factors["vectors"], users, run.scenario.recommend.candidates)
    with measured() as predicting:
        for booster in boosters:
            booster.predict(matrix, num_threads=run.scenario.boosting.threads)
    usage["cpu_seconds"] += predicting["cpu_seconds"] / len(matrix) * scored
    return {**usage, "scored": scored}


def _aggregated(log: pathlib.Path, store: str) -> dict[str, float]:
    events, rows = _events(log, store)
    with measured() as usage:
        WAYS["numpy"](events, rows)
    return usage


FLOORS: Final[dict[str, Callable[[pathlib.Path, str], dict[str, float]]]] = {
    "validate": _read,
    "factors": _als,
    "features": _aggregated,
    "member:independent": _boosted,
    "evaluate + recommend": _ranked,
}


def _events(log: pathlib.Path, store: str) -> tuple[Events, Events]:
    run, inputs = _inputs(log, store)
    events, rows = read_events(run.store, inputs["validate"]), inputs["split"].frame("rows")
    return Events.of(events, columns.label("purchase")), Events.of(rows, columns.label("purchase"))


def _window_costs(name: str, log: pathlib.Path, store: str) -> dict[str, float] | None:
    """Return the cost of one implementation of windowed means; None if it does not finish in time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        made: dict[str, float] = _call("window", name, str(log), store, timeout=600)
        return made
    return None


def window(name: str, log: str, store: str) -> dict[str, float]:
    """Return one implementation's cost of counts and means of 7 and 28 days, per user and per item."""
    events, rows = _events(pathlib.Path(log), store)
    with measured() as usage:
        WAYS[name](events, rows)
    return usage


def _reached(log: pathlib.Path, store: str) -> dict[str, Any]:
    _, inputs = _inputs(log, store)
    tasks = inputs["evaluate"].json("evaluation")["tasks"]
    return {
        task: {
            name: {metric: measure["value"] for metric, measure in measures.items()}
            for name, measures in {**made["members"], "fusion": made["fusion"]}.items()
        }
        for task, made in tasks.items()
    }


def _limits(log: pathlib.Path) -> dict[str, Any]:
    """Return the metrics of the true probabilities on the test window."""
    last = np.datetime64(AS_OF[0])
    return dict(bayes_limits(log, str(last - 10), str(last - 1)))


def _quality(document: dict[str, Any]) -> Table:
    table = Table(title=f"On the test window of {AS_OF[0]}, and what a model that knows the truth would reach")
    for name in ("events", "task", "metric", "popularity", "fusion", "the truth", "of the way"):
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")
    for events, entry in document.items():
        if "quality" not in entry:
            continue
        for task, metric in (("purchase", "auc"), ("purchase", "log_loss"), ("rating", "rmse")):
            floor_, fused = (entry["quality"]["reached"][task][name][metric] for name in ("popularity", "fusion"))
            limit = entry["quality"]["limit"][task][metric]
            values = [f"{value:.4f}" for value in (floor_, fused, limit)]
            way = (fused - floor_) / (limit - floor_)
            table.add_row(f"{int(events):,}", task, metric, *values, f"{way:.0%}")
    return table


def _stages(document: dict[str, Any]) -> Table:
    table = Table(title="CPU seconds / peak MiB of a stage, the floor, and the run of the next day")
    table.add_column("stage")
    for events in document:
        for name in (f"{int(events):,}", "floor", "ratio", "next day"):
            table.add_column(name, justify="right")
    names = list(dict.fromkeys(name for entry in document.values() for name in entry["runs"][AS_OF[0]]))
    for name in names:
        table.add_row(name, *(cell for entry in document.values() for cell in _cells(entry, name)))
        if name == "features":
            table.add_row(
                "together",
                *(cell for entry in document.values() for cell in _total(entry, names[: 1 + names.index(name)])),
            )
    table.add_row("all", *(cell for entry in document.values() for cell in _total(entry, names)))
    return table


def _cells(entry: dict[str, Any], name: str) -> Iterator[str]:
    first, then = (entry["runs"][as_of].get(name) for as_of in AS_OF)
    floor_name = "evaluate + recommend" if name == "evaluate" else name
    least = entry["floors"].get(floor_name, {}).get("cpu_seconds")
    yield f"{first['cpu_seconds']:.1f} / {first['peak_rss_mb']:,.0f}" if first else "–"
    yield f"{least:.1f}" if least is not None else ""
    mine = sum(entry["runs"][AS_OF[0]].get(part, {}).get("cpu_seconds", 0) for part in floor_name.split(" + "))
    yield f"{mine / least:.2f}" if least else ""
    yield f"{then['cpu_seconds']:.1f}" if then else "–"


def _total(entry: dict[str, Any], names: list[str]) -> Iterator[str]:
    """Some stages together; the next day's run as a share of the first, if both have them all."""
    first, then = ([entry["runs"][as_of][name] for name in names if name in entry["runs"][as_of]] for as_of in AS_OF)
    cpu, cpu_then = (sum(usage["cpu_seconds"] for usage in usages) for usages in (first, then))
    least = sum(cost["cpu_seconds"] for name, cost in entry["floors"].items() if name.partition(" + ")[0] in names)
    yield f"{cpu:.1f} / {max(usage['peak_rss_mb'] for usage in first):,.0f}"
    yield from (f"{least:.1f}", f"{cpu / least:.2f}")
    yield f"{cpu_then:.1f} ({cpu_then / cpu:.0%})" if len(first) == len(then) else "–"


def _windows(document: dict[str, Any]) -> Table:
    table = Table(title="Counts and means of 7 and 28 days per user and item, for every row: CPU seconds / peak MiB")
    table.add_column("way")
    for events in document:
        table.add_column(f"{int(events):,}", justify="right")
    for name in WAYS:
        made = [entry["windows"][name] for entry in document.values()]
        table.add_row(name, *(f"{m['cpu_seconds']:.1f} / {m['peak_rss_mb']:,.0f}" if m else "> 600 s" for m in made))
    return table
