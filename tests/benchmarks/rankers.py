"""The tables of rankers in include/docs/results.md.

One is made from the newest run of each scenario in a store; nothing is run. The other is of the ranker that ``auto``
chooses on each of several dates, which are run as far as it needs.
"""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console
from rich.table import Table

from mtl_tasks.pipeline.engine import Run
from mtl_tasks.report import labels
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.lists import Measures
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.output import make_table
from tests.benchmarks.regret import Options, planned_run
from tests.benchmarks.scenarios import Finished, newest
from tests.benchmarks.stages import results_until

METRICS: Final = ("ndcg", "recall", "map")
CHOICES: Final = (
    *("scenario", "as of", "users", "chosen ranker", "NDCG", "popular, last 7 days", "ALS", "best ranker on test"),
    "chosen − best",
)
HEADINGS: Final = (
    *("scenario", "as of", "users", "ranker", "NDCG", "recall", "MAP"),
    *("NDCG − popularity's", "NDCG − ALS's", "CPU s rank / evaluate"),
)


def main(store: str, options: Options, console: Console) -> None:
    """Print the table of the newest runs, or of the dates that are named."""
    if not options.only:
        console.print(table(Store(store, key_from(os.environ))))
        return
    runs = (planned_run(name, as_of, store, options) for name, as_of in options.runs())
    console.print(make_table(CHOICES, ("users", *CHOICES[4:7], CHOICES[8]), [choice(run) for run in runs]))


def choice(run: Run) -> tuple[str, ...]:
    """Run the stages up to `evaluate`, and return the row of the ranker that was chosen before the test window."""
    evaluated = run.store.open(results_until(run, "evaluate")["evaluate"].ref)
    ranking = read_document(evaluated, "evaluation", Evaluation).ranking
    assert ranking.comparison is not None  # the run was made just now
    everyone = ranking.comparison.everyone
    ndcg = {name: measures.metrics["ndcg"] for name, measures in everyone.rankers.items()}
    best, *_ = labels.best_first(ranking.by_ranker, "ndcg")
    lost = (ndcg[ranking.published].value or 0.0) - (ndcg[best].value or 0.0)
    return (
        *(run.scenario.name, run.as_of.iso, f"{everyone.users:,}", labels.list_title(ranking.published)),
        with_interval(ndcg[ranking.published]),
        *(f"{ndcg[name].value:.4f}" for name in ("popularity", "als")),
        labels.list_title(best),
        f"{round(lost, 4) + 0.0:+.4f}".replace("-", "−"),  # + 0.0: no negative zero
    )


def table(store: Store) -> Table:
    """Return a row a ranker of every scenario that has a verdict in the store, the chosen one in bold."""
    names = sorted(folder.parent.name for folder in store.root.glob("*/registry"))
    rows = [cells for name in names for cells in _rows(newest(store, name))]
    return make_table(HEADINGS, ("users", *HEADINGS[4:]), rows)


def _rows(run: Finished) -> list[tuple[str, ...]]:
    ranking = read_document(run.artifacts["evaluate"], "evaluation", Evaluation).ranking
    if ranking.comparison is None:  # from before there were rankers
        return []
    everyone = ranking.comparison.everyone
    spent = " / ".join(f"{run.artifacts[name].manifest['usage']['cpu_seconds']:.0f}" for name in ("rank", "evaluate"))
    rows: list[tuple[str, ...]] = []
    for name in labels.best_first(ranking.by_ranker, "ndcg"):
        measures, title = everyone.rankers[name], labels.list_title(name)
        about = ("", "", "") if rows else (run.scenario.name, run.entry.as_of, f"{everyone.users:,}")
        rows.append(
            (
                *about,
                f"**{title}**" if name == ranking.published else title,
                *(with_interval(measures.metrics[metric]) for metric in METRICS),
                *(_versus(measures, reference) for reference in ("popularity", "als")),
                "" if rows else spent,
            )
        )
    return rows


def _versus(measures: Measures, reference: str) -> str:
    found = measures.versus.get(reference)
    return "–" if found is None else with_interval(found["ndcg"], signed=True)


def with_interval(measured: Measurement, *, signed: bool = False) -> str:
    """Return a cell: the value, and its interval if there is one."""
    if measured.value is None:
        return "–"
    form = "+.4f" if signed else ".4f"
    bounds = "" if measured.bounds is None else f" [{measured.bounds[0]:{form}}, {measured.bounds[1]:{form}}]"
    return f"{measured.value:{form}}{bounds}".replace("-", "−")
