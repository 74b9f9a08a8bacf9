"""The table of rankers in include/docs/results.md, from the newest run of each scenario in a store; nothing is run."""

from __future__ import annotations

import os
from typing import Final

from rich.console import Console
from rich.table import Table

from mtl_tasks.report import labels
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.documents.lists import Measures
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.output import make_table
from tests.benchmarks.scenarios import Finished, newest

METRICS: Final = ("ndcg", "recall", "map")
HEADINGS: Final = (
    *("scenario", "as of", "users", "ranker", "NDCG", "recall", "MAP"),
    *("NDCG − popularity's", "NDCG − ALS's", "CPU s rank / evaluate"),
)


def main(store: str, console: Console) -> None:
    """Print the table."""
    console.print(table(Store(store, key_from(os.environ))))


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
