"""Train, judge and publish the models of a scenario.

**Purpose.** Train on the log up to a day, `as_of`, and publish the models if they pass the scenario's gate.

**Inputs.** The scenario file in `include/scenarios`, and the scenario's log of the days before `as_of`. By default,
`as_of` is the day on which the run's data interval ends; without an interval it is the day of the run. A parameter
overrides it. If the log has ended (`end_date` in the scenario file), nothing is scheduled after its last day, and a
manual run without `as_of` is as of the day after it. With `source.ready`, the task `ready` first waits for the marker
of the last day.

**Outputs.** In the store (`MTL_STORE`), an artifact of every stage, an entry in the registry, and the report; the
result of the task `report` says where. The run's note is the verdict in one line. If the run is promoted and is today's
champion, `announce` triggers the DAG that makes recommendations; otherwise it is skipped.

If the scenario has a section `tracking`, the task `track` writes the run to its servers after the report. A server that
fails is a warning in the task's log.

**Approval.** If the parameter or the scenario requires it, `approve` waits under *Required actions* with the verdict's
table. A no, or no answer in time, promotes nothing; the registry records who answered.

**When it fails.** The failed task's log ends with the cause and the next step. Bad data and bad settings fail at once;
input and output errors are retried. Fix the cause, then clear the failed task. `include/docs/operations.md` covers the
cases.

**May it be run again?** Yes: any part, any day, any time. Existing artifacts are reused; the registry is append-only.

**What a backfill does.** Each date is judged against the champion of its time, so a run waits for the verdicts of
running runs of earlier dates (`earlier_runs`): several active runs give the same results as one after the other. A date
that has failed, or that awaits approval, is not waited for. No date displaces a newer champion, and no event is sent
unless today's champion changes. A backfill that runs backwards is refused: none of its dates would have a champion to
be compared with. A finished date is reused; with other parameters, a new run is added beside it. A run that an asset
has started waits for running runs with an earlier `as_of`.

**What past runs took.** `include/bin/mtl registry costs SCENARIO` shows it by stage; the tab *Model* shows it for one
run.

**Owner.** The `owner` in the scenario file.
"""

import math
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TaskGroup, dag

sys.path.insert(0, str(Path(__file__).parents[1]))  # the project of this file, before any on PYTHONPATH

from dags import resources
from dags.alerts import deadline
from dags.approval import PromotionApproval
from dags.assets import ScenarioAssets
from dags.docs import owner_links, with_links
from dags.notifying import on_failure, on_question, on_verdict
from dags.params import make_params
from dags.readiness import SourceReady
from dags.scenario_files import build_all
from dags.stage_tasks import DEFAULT_ARGS, announce, members, report, resolve, stage, track
from dags.tags import Tag
from dags.timetables import make_schedule
from dags.waiting import EarlierRuns
from mtl_tasks.core.stages import MEMBER, STAGES
from mtl_tasks.scenario import Scenario

PUBLISH = "publish"
RUN_HOURS = 6  # how long a run may take, without the wait for approval
RUNS_AT_WORK = 4
RUN_SPEC = "ti.xcom_pull(task_ids='resolve', key='run_spec')"  # in Jinja
GO_ON = "none_failed"  # members of the other queue are skipped, which is no reason to stop
Tasks = dict[str, list[Any]]  # the tasks of each stage; a member's are two, for GPUs and for the CPU


def make_dag(scenario: Scenario) -> DAG:
    """Make the scenario's training DAG; its tasks and edges are those of the table `mtl_tasks/core/stages.py`."""
    assets = ScenarioAssets.of(scenario)
    ready = scenario.source.ready
    hours = RUN_HOURS + (0 if ready is None else ready.timeout_hours)
    # One run a day waits for its approval; none of them holds up the next day's.
    runs = RUNS_AT_WORK + math.ceil(scenario.gate.approval_hours / 24)

    @dag(
        f"train_{scenario.name}",
        dag_display_name=f"{scenario.title}: train",
        description=scenario.title,
        doc_md=with_links(__doc__, scenario),
        schedule=make_schedule(scenario),
        start_date=datetime(2000, 1, 1, tzinfo=UTC),  # before any log, so that every day of it can be backfilled
        catchup=False,
        max_active_runs=runs,
        default_args={**DEFAULT_ARGS, "owner": scenario.owner},
        owner_links=owner_links(scenario),
        params=make_params(scenario),
        on_failure_callback=on_failure(scenario) or None,
        deadline=deadline(hours=hours + scenario.gate.approval_hours),
        tags=[Tag.TRAINING.value, Tag.MULTI_TASK.value],
        auto_register=False,
    )
    def train() -> None:
        first: Any = resolve.override(inlets=[assets.source])(scenario.name)
        if ready is not None:
            SourceReady(task_id="ready", scenario=scenario) >> first
        tasks: Tasks = {"resolve": [first["resolved"]]}
        for group in ("validate", "learn"):
            with TaskGroup(group):
                add_stages(group, scenario, tasks)
        with TaskGroup("decide"):
            add_stages("decide", scenario, tasks)
            put_before_champions(scenario, wait_for_earlier_runs(hours * runs), tasks)
        with TaskGroup(PUBLISH):
            add_stages(PUBLISH, scenario, tasks)
            announced = add_announcement(scenario, [*tasks["gate"], *tasks[PUBLISH]])
        show = report.override(on_success_callback=on_verdict(scenario))
        shown = show(list(chain(*tasks.values())))
        announced >> shown  # not after `approve` itself: a no skips its successors
        if scenario.tracking is not None:
            shown >> track(tasks["gate"])

    return train()


def add_stages(group: str, scenario: Scenario, tasks: Tasks) -> None:
    """Add the tasks of a group's stages, each after the tasks of the stages that it reads."""
    for name, traits in STAGES.items():
        if traits.group != group:
            continue
        upstream = list(chain(*(tasks[read] for read in traits.inputs)))
        if name == MEMBER:
            tasks[name] = [fit(scenario, tasks["resolve"][0], upstream, gpu) for gpu in (False, True)]
        else:
            options = resources.for_stage(name, scenario) | ({"trigger_rule": GO_ON} if MEMBER in traits.inputs else {})
            tasks[name] = [run(name, upstream, outlets=ScenarioAssets.of(scenario).made_by(name), **options)]


def wait_for_earlier_runs(hours: float) -> EarlierRuns:
    """Return the task that waits at most so long for the verdicts of running runs of earlier dates."""
    return EarlierRuns(task_id="earlier_runs", publish=f"{PUBLISH}.{PUBLISH}", timeout=timedelta(hours=hours))


def put_before_champions(scenario: Scenario, waited: EarlierRuns, tasks: Tasks) -> None:
    """Put the wait for earlier dates right before the first stage that looks up a champion; the gate always does."""
    if scenario.factors.warm_start == "champion":
        before, after = "split", "factors"
    elif scenario.boosting.warm_start != "none":
        before, after = "features", MEMBER
    else:
        before, after = "fuse", "gate"
    tasks[before] >> waited >> tasks[after]


def add_announcement(scenario: Scenario, results: list[Any]) -> Any:
    """Add the tasks after a verdict, given it and the run's record: the approval, and the champion event it allows."""
    champion = ScenarioAssets.of(scenario).champion
    approved = PromotionApproval(
        task_id="approve",
        subject=f"Promote {scenario.name} as of {{{{ {RUN_SPEC}.as_of }}}}?",
        results=results,
        response_timeout=timedelta(hours=scenario.gate.approval_hours),
        notifiers=on_question(scenario),
    )
    announced = announce.override(inlets=[champion], outlets=[champion], trigger_rule=GO_ON)(results, champion)
    approved >> announced
    return announced


def run(name: str, upstream: list[Any], **options: Any) -> Any:
    """Return the task that runs a stage on the results of others."""
    return stage.override(task_id=name, **options)(name, upstream)


def fit(scenario: Scenario, resolved: Any, upstream: list[Any], gpu: bool) -> Any:
    """Return the mapped task that fits the members that train on a GPU, or those that do not."""
    suffix, where = ("_gpu", resources.on_gpu()) if gpu else ("", resources.on_cpu(scenario.boosting.threads))
    chosen = members.override(task_id=f"members{suffix}")(resolved, accelerated=gpu)
    one = stage.override(task_id=f"member{suffix}", map_index_template="{{ task.op_kwargs['name'] }}", **where)
    return one.partial(upstream=upstream).expand(name=chosen)


globals().update(build_all(make_dag)[0])  # scenario_faults.py reports the faults of the others
