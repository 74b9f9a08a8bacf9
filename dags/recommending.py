"""Make recommendations for every active user with a scenario's champion.

**Purpose.** Recommendations from today's best models.

**Inputs.** Exactly the run that the champion event names. If triggered by hand: the run in the parameter `run`, else
today's champion. Trigger it by hand after `include/bin/mtl registry rollback` or `promote`.

**Outputs.** In the store (`MTL_STORE`), the recommendations as Parquet and the run's report, now with a sample of them.
If the scenario has a section `publish`, today's champion's recommendations are also written to its targets. A target
that fails is a warning in the log of the task `deliver`. With a section `tracking`, the task `track` updates the run on
its servers.

**When it fails.** The failed task's log ends with the cause and the next step; do that, then clear the task.

**May it be run again?** Yes: existing recommendations are reused.

**Owner.** The `owner` in the scenario file.
"""

import sys
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, dag

sys.path.insert(0, str(Path(__file__).parents[1]))  # the project of this file, before any on PYTHONPATH

from dags import resources
from dags.assets import ScenarioAssets
from dags.docs import owner_links, with_links
from dags.notifying import on_failure
from dags.scenario_files import build_all
from dags.stage_tasks import DEFAULT_ARGS, deliver, report, resolve_promoted, stage, track
from dags.tags import Tag
from mtl_tasks.scenario import Scenario


def make_dag(scenario: Scenario) -> DAG:
    """Make the scenario's recommendation DAG."""
    assets = ScenarioAssets.of(scenario)

    @dag(
        f"recommend_{scenario.name}",
        description=f"{scenario.title}: recommendations for every active user",
        dag_display_name=f"{scenario.title}: recommend",
        doc_md=with_links(__doc__, scenario),
        schedule=[assets.champion],
        max_active_runs=1,
        on_failure_callback=on_failure(scenario) or None,
        default_args={**DEFAULT_ARGS, "owner": scenario.owner},
        owner_links=owner_links(scenario),
        params={
            "run": Param(
                None,
                type=["null", "string"],
                title="Run",
                description="The key of a promoted run, or its first digits. Empty: today's champion.",
            )
        },
        tags=[Tag.RECOMMENDING.value, Tag.MULTI_TASK.value],
        auto_register=False,
    )
    def recommend() -> None:
        first: Any = resolve_promoted(scenario.name, assets.champion)
        results = first["results"]
        options = resources.for_stage("recommend", scenario)
        make = stage.override(task_id="recommend", outlets=assets.made_by("recommend"), **options)
        recommended = make("recommend", [results])
        shown = report([results, recommended])
        if scenario.publish.active:
            deliver([results, recommended])
        if scenario.tracking is not None:
            shown >> track([results])

    return recommend()


globals().update(build_all(make_dag)[0])
