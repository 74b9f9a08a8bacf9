"""Make the lists of a scenario's champion for every active user.

**Purpose.** Recommendations by the models that are best today.

**Inputs.** The run that the champion's event names, exactly that one; triggered by hand, the parameter `run`, or else
today's champion. Trigger it by hand after `include/bin/mtl registry rollback` or `promote`.

**Outputs.** In the store (`MTL_STORE`) the lists as Parquet, and the run's report, now with some of them.

**When it fails.** The failed task's log ends with what is wrong and the next step; then clear it.

**May it be run again?** Yes: lists that were made are reused.

**Owner.** Whom the scenario's file names as `owner`.
"""

from typing import Any

from airflow.sdk import DAG, Param, dag

from dags import resources
from dags.assets import ScenarioAssets
from dags.scenario_files import build_all
from dags.stage_tasks import DEFAULT_ARGS, report, resolve_promoted, stage
from dags.tags import Tag
from mtl_tasks.scenario import Scenario


def make_dag(scenario: Scenario) -> DAG:
    """Make the scenario's recommending DAG."""
    assets = ScenarioAssets.of(scenario.name)

    @dag(
        f"recommend_{scenario.name}",
        description=f"{scenario.title}: lists for every active user",
        doc_md=__doc__,
        schedule=[assets.champion],
        max_active_runs=1,
        default_args={**DEFAULT_ARGS, "owner": scenario.owner},
        params={
            "run": Param(
                None,
                type=["null", "string"],
                title="Run",
                description="The key of a promoted run, or enough of its beginning. Empty: today's champion.",
            )
        },
        tags=[Tag.RECOMMENDING.value, Tag.MULTI_TASK.value],
        auto_register=False,
    )
    def recommend() -> None:
        first: Any = resolve_promoted(scenario.name, assets.champion)
        results = first["results"]
        make = stage.override(task_id="recommend", outlets=[assets.recommendations], **resources.on_cpu())
        report([results, make("recommend", [results])])

    return recommend()


globals().update(build_all(make_dag)[0])
