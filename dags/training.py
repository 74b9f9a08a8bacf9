"""Train, judge and publish the models of a scenario.

**Purpose.** Learn from the log up to a day, `as_of`, and publish the models if they pass the scenario's gate.

**Inputs.** The scenario's file in `include/scenarios`, and its log of the days before `as_of`. That is the day on which
the run's data interval ends, unless a parameter says otherwise; without an interval it is the day of the run.

**Outputs.** In the store (`MTL_STORE`) an artefact of every stage, an entry in the registry, and the report; the result
of the task `report` says where. If the gate rejects the models, `recommend` is skipped and the report says why.

**When it fails.** The failed task's log ends with what is wrong and what to do. Bad data and bad settings fail at once;
input and output are tried again. Mend the cause, then clear the failed task.

**May it be run again?** Yes: any part, any day, any time. What was made is reused; the registry is only added to.

**Owner.** Whom the scenario's file names as `owner`.
"""

from datetime import UTC, datetime
from typing import Any, get_args

from airflow.sdk import CronDataIntervalTimetable, Param, TaskGroup, dag

from dags.scenario_files import read_scenarios
from dags.stage_tasks import DEFAULT_ARGS, members, promoted, report, resolve, stage
from dags.tags import Tag
from mtl_tasks.scenario import FusionMethod, MemberKind, Scenario


def make_params(scenario: Scenario) -> dict[str, Param]:
    """Return what a run can be asked for; the defaults are the scenario's own choices."""
    kinds, methods = list(get_args(MemberKind)), list(get_args(FusionMethod))
    return {
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            title="As of",
            description="The run knows nothing at or after this day (UTC). Empty: the end of the data interval.",
        ),
        "members": Param(
            list(scenario.members),
            type="array",
            items={"type": "string", "enum": kinds},
            examples=kinds,
            title="Members",
            description="The models to fit. Popularity must be among them: it is the floor for the others.",
        ),
        "fusion": Param(
            scenario.fusion.method,
            enum=methods,
            title="Fusion",
            description="How the members' predictions are combined; auto takes what does best on the blend window.",
        ),
        "force": Param(False, type="boolean", title="Force", description="Make again even what could be reused."),
    }


def make_dag(scenario: Scenario) -> None:
    """Register the scenario's training DAG; the arguments of its tasks are the `needs` of `mtl_tasks.stages`."""

    @dag(
        f"train_{scenario.name}",
        description=scenario.title,
        doc_md=__doc__,
        schedule=CronDataIntervalTimetable(scenario.schedule, timezone="UTC"),
        start_date=datetime(2000, 1, 1, tzinfo=UTC),  # before any log, so that every day of it can be backfilled
        catchup=False,
        max_active_runs=1,
        default_args={**DEFAULT_ARGS, "owner": scenario.owner},
        params=make_params(scenario),
        tags=[Tag.TRAINING.value, Tag.MULTI_TASK.value],
    )
    def train() -> None:
        first: Any = resolve(scenario.name)
        resolved = first["resolved"]
        with TaskGroup("validate"):
            events = run("validate", resolved)
            rows = run("split", events)
        with TaskGroup("learn"):
            factors = run("factors", events, rows)
            features = run("features", events, rows, factors)
            fit = stage.override(
                task_id="member", queue=queue(scenario), map_index_template="{{ task.op_kwargs['name'] }}"
            )
            fitted = fit.partial(handed=[rows, features]).expand(name=members(resolved))
            fusion = run("fuse", rows, fitted)
        models = [factors, fitted, fusion]
        with TaskGroup("decide"):
            evaluation = run("evaluate", events, rows, features, *models)
            verdict = run("gate", events, rows, features, *models, evaluation)
        with TaskGroup("publish"):
            entry = run("publish", resolved, *models, verdict)
            lists = run("recommend", events, *models, entry)
            promoted([verdict, entry]) >> lists
        report([resolved, events, rows, features, *models, evaluation, verdict, entry, lists])

    train()


def run(name: str, *handed: Any) -> Any:
    """Return the task that runs a stage on the results of others."""
    return stage.override(task_id=name)(name, list(handed))


def queue(scenario: Scenario) -> str:
    """Return the queue of the workers that fit members: those with a GPU take nothing else."""
    return "gpu" if scenario.boosting.device in ("gpu", "cuda") else "default"


for sound in read_scenarios()[0]:  # what is wrong with the others, scenario_faults.py says
    make_dag(sound)
