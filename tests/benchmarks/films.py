"""Quality and cost of the scenario ``movies`` on several dates, beside the reference it has to beat."""

from __future__ import annotations

import json
import math
import pathlib

from rich.console import Console
from rich.table import Table

from mtl_tasks.core.days import AsOf
from mtl_tasks.metrics.catalog import primary
from mtl_tasks.metrics.lists import PER_USER
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.report.document import RunDocument
from mtl_tasks.store.documents.data import StageUsage
from mtl_tasks.store.documents.measurements import Measurement

DATES = ("2013-08-11", "2013-08-25", "2013-09-02")
REFERENCE_DATE = "2013-09-02"
RESULTS = pathlib.Path(".bench/films.json")

# A hand-written script under the same leak-free rules and on the same windows (test = 5 August to 1 September 2013);
# it was measured once and is not part of this project.
REFERENCE = {
    ("rating", "rmse"): 1.584,
    ("purchase", "auc"): 0.6896,
    ("ranking", "ndcg"): 0.111,
    ("ranking", "recall"): 0.160,
    ("ranking", "map"): 0.067,
}


def main(dates: list[str], store: str, console: Console) -> None:
    """Run every date, print the tables, write the JSON."""
    documents = {date: _run(date, store, console) for date in dates}
    console.print(_members(documents))
    console.print(_lists(documents))
    if REFERENCE_DATE in documents:
        console.print(_against_reference(documents[REFERENCE_DATE]))
    console.print(_cost(documents))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({date: made.to_json() for date, made in documents.items()}, indent=1) + "\n")
    console.print(f"Written to {RESULTS}")


def _run(date: str, store: str, console: Console) -> RunDocument:
    console.print(f"movies as of {date} …")
    run = make_run("movies", AsOf.parse(date), {}, store)
    return run_pipeline(run, lambda stage, result: None)


def _members(documents: dict[str, RunDocument]) -> Table:
    table = Table(title="Members and fusion on the test window (lower is better for rmse, higher for auc)")
    texts = ("as of", "task", "metric", "how")
    members = next(iter(documents.values())).scenario.members
    for name in (*texts[:3], *members, "fusion", "how", "95 % interval"):
        table.add_column(name, justify="left" if name in texts else "right", no_wrap=True)
    for date, document in documents.items():
        for task, entry in document.evaluation.tasks.items():
            metric = primary(entry.kind)
            fused = entry.fusion[metric]
            values = [_number(entry.members[name][metric].value) for name in members]
            table.add_row(
                date,
                task,
                metric,
                *values,
                _number(fused.value),
                document.fusion[task].candidate.removeprefix("single:"),
                f"{_number(fused.low)} … {_number(fused.high)}",
            )
    return table


def _lists(documents: dict[str, RunDocument]) -> Table:
    table = Table(title="Top-10 lists made at the start of the test window, against what people took in it")
    for name in ("as of", "list", *PER_USER, "ndcg 95 % interval", "people"):
        table.add_column(name, justify="left" if name in ("as of", "list") else "right")
    for date, document in documents.items():
        ranking = document.evaluation.ranking
        for name, metrics in ranking.lists.items():
            interval = f"{_number(metrics['ndcg'].low)} … {_number(metrics['ndcg'].high)}"
            values = [_number(metrics[metric].value) for metric in PER_USER]
            table.add_row(date, name, *values, interval, f"{ranking.users:,}")
    return table


def _against_reference(document: RunDocument) -> Table:
    table = Table(title=f"Against the reference script, as of {REFERENCE_DATE}")
    for name in ("what", "metric", "reference", "ours", "95 % interval", "ahead"):
        table.add_column(name, justify="left" if name in ("what", "metric") else "right")
    for (what, metric), reference in REFERENCE.items():
        ours = _found(document, what, metric)
        value = math.nan if ours.value is None else ours.value
        ahead = value < reference if metric in ("rmse",) else value > reference
        interval = f"{_number(ours.low)} … {_number(ours.high)}"
        table.add_row(what, metric, f"{reference:g}", _number(ours.value), interval, "yes" if ahead else "no")
    return table


def _found(document: RunDocument, what: str, metric: str) -> Measurement:
    if what == "ranking":
        return document.evaluation.ranking.lists["fusion"][metric]
    return document.evaluation.tasks[what].fusion[metric]


def _cost(documents: dict[str, RunDocument]) -> Table:
    table = Table(title="Cost of a stage: wall seconds / CPU seconds / peak MiB (reused: nothing was computed)")
    table.add_column("stage")
    for date in documents:
        table.add_column(date, justify="right")
    names = list(dict.fromkeys(stage.name for made in documents.values() for stage in made.stages))
    for name in names:
        cells = []
        for made in documents.values():
            stage = next((s for s in made.stages if s.name == name), None)
            cells.append(_cell(stage))
        table.add_row(name, *cells)
    return table


def _cell(stage: StageUsage | None) -> str:
    if stage is None:
        return "–"
    if stage.reused:
        return "reused"
    return f"{stage.seconds:.1f} / {stage.cpu_seconds:.1f} / {stage.peak_rss_mb:.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
