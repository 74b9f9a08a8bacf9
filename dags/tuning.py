"""Search for better settings of a scenario's boosted members, and propose a change of its file.

**Purpose.** Settings that lower the losses of the scenario's tasks by more than chance. Nothing is changed: a person
applies the proposed change.

**Inputs.** The scenario file in `include/scenarios`, with a section `tuning`, and the scenario's log of the days before
each `as_of`. A study sees the blend window as of each day and never its test window. It needs Optuna:
`make install EXTRAS="tuning"`.

**Outputs.** In the store (`MTL_STORE`), the study's folder with `result.json`; the task `conclude` returns the same,
with the proposed change as a unified diff. The run's note is the result in one line. Trials are stored in a journal
beside it, or in the database that `MTL_TUNING_STORAGE` names.

**When it fails.** The failed task's log ends with the cause and the next step; do that, then clear the task.

**May it be run again?** Yes: finished trials are kept, so a cleared task goes on where it ended, and a run with more
trials extends the study. Several workers together may finish a few trials more than were asked for.

**Owner.** The `owner` in the scenario file.
"""

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, dag

sys.path.insert(0, str(Path(__file__).parents[1]))  # the project of this file, before any on PYTHONPATH

from dags import resources
from dags.docs import owner_links, with_links
from dags.notifying import on_failure
from dags.scenario_files import build_all
from dags.stage_tasks import DEFAULT_ARGS
from dags.tags import Tag
from dags.tuning_tasks import conclude, list_workers, prepare, trials
from mtl_tasks.scenario import Scenario

MOST_WORKERS = 16


def make_dag(scenario: Scenario) -> DAG | None:
    """Make the tuning DAG of a scenario with a section `tuning`."""
    if scenario.tuning is None:
        return None

    @dag(
        f"tune_{scenario.name}",
        description=f"{scenario.title}: search for better settings",
        dag_display_name=f"{scenario.title}: tune",
        doc_md=with_links(__doc__, scenario),
        schedule=None,
        max_active_runs=1,
        on_failure_callback=on_failure(scenario) or None,
        default_args={**DEFAULT_ARGS, "owner": scenario.owner},
        owner_links=owner_links(scenario),
        params=_params(),
        tags=[Tag.TUNING.value, Tag.MULTI_TASK.value],
        auto_register=False,
    )
    def tune() -> None:
        heavy = resources.on_cpu(scenario.boosting.threads)
        spec: Any = prepare.override(**heavy)(scenario.name)
        numbers: Any = list_workers(spec)
        one = trials.override(map_index_template="worker {{ task.op_kwargs['worker'] }}", **heavy)
        done: Any = one.partial(spec=spec).expand(worker=numbers)
        conclude(spec, done)

    return tune()


def _params() -> dict[str, Param]:
    return {
        "as_of": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "format": "date"},
            title="As of",
            description="Days (UTC), as a JSON list. Several days keep the settings from fitting one of them. Empty: "
            "the day that a training run would take.",
        ),
        "trials": Param(
            25,
            type="integer",
            minimum=1,
            maximum=10_000,
            title="Trials",
            description="Total number of finished trials, including those of earlier runs.",
        ),
        "workers": Param(
            2,
            type="integer",
            minimum=1,
            maximum=MOST_WORKERS,
            title="Workers",
            description="Tasks that run trials at once, each with the threads of a boosted member.",
        ),
    }


globals().update(build_all(make_dag)[0])
