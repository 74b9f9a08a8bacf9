"""The scenario ``movies`` as a benchmark: the rows and features that its own stages make."""

from __future__ import annotations

from typing import Final

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.scenario import Boosting
from tests.benchmarks.films import REFERENCE_DATE
from tests.benchmarks.problems import BOOSTING, Problem
from tests.benchmarks.stages import results_until

LAST_STAGE: Final = "features"


def movies(as_of: str = REFERENCE_DATE, store: str = ".bench/store") -> Problem:
    """Return the rows of a run; stages that the store holds are not run again."""
    run = make_run("movies", AsOf.parse(as_of), {}, store)
    results = results_until(run, LAST_STAGE)
    rows = run.store.open(results["split"].ref).frame("rows")
    return Problem(
        name="films",
        scenario=run.scenario.model_copy(update={"boosting": Boosting(**BOOSTING)}),
        features=run.store.open(results[LAST_STAGE].ref).frame("features"),
        labels={task: rows[columns.label(task)].to_numpy() for task in run.scenario.tasks},
        users=rows[columns.USER].to_numpy(),
        window=rows[columns.WINDOW].to_numpy(dtype=object).astype(str),
    )
