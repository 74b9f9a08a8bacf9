"""DAG files as Airflow parses them: quickly and completely, and one bad scenario file stops no other."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pendulum
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import Scenario
from tests.conftest import PROJECT
from tests.dags.conftest import ParseDags
from tests.support.projects import SCENARIO, write_past_runs, write_scenario

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import DagBag
    from airflow.sdk import DAG

LAUGHS = "a0: &a0 [x]" + "".join(f"\na{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]" for n in range(12))
HEAVY = [
    *("great_expectations", "implicit", "lightgbm", "matplotlib", "numpy", "optuna", "pandas", "pyarrow", "scipy"),
    "sklearn",
]
IMPORT = """
import importlib, json, os, sys
import airflow.sdk
before, opened = set(sys.modules), []
sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" else None)
for name in sys.argv[1:]:
    importlib.import_module(name)
files = sorted({os.path.abspath(path) for path in opened if isinstance(path, str)})
print(json.dumps({"modules": sorted(set(sys.modules) - before), "files": files}))
"""

WATCHED = """
import importlib, json, sys
opened = []

def note(event, arguments):
    if event in ("open", "os.scandir", "os.listdir"):
        opened.append(str(arguments[0]))

sys.addaudithook(note)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(opened))
"""
LAST_BUT_ONE = pendulum.datetime(2013, 5, 9, 12)


@pytest.fixture
def movies(parse_dags: ParseDags) -> DAG:
    return parse_dags(PROJECT).dags["train_movies"]


def test_every_scenario_has_a_training_and_a_recommending_dag(parse_dags: ParseDags) -> None:
    bag = parse_dags(PROJECT)
    assert bag.import_errors == {}
    names = [path.stem for path in (PROJECT / "include" / "scenarios").glob("*.yaml")]
    made = [f"{kind}_{name}" for name in names for kind in ("train", "recommend")]
    assert sorted(bag.dags) == sorted([*made, "tune_ecommerce", "tune_movies"])


def test_a_scenario_with_a_section_tuning_has_a_tuning_dag(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "tuned", tuning={"space": {}}, boosting={"threads": 2})
    dags = parse_dags(tmp_path).dags
    assert [name for name in sorted(dags) if name.startswith("tune_")] == ["tune_tuned"]
    dag = dags["tune_tuned"]
    assert dag.schedule is None
    assert {task.task_id: task.downstream_task_ids for task in dag.tasks} == {
        "prepare": {"list_workers", "trials", "conclude"},
        "list_workers": {"trials"},
        "trials": {"conclude"},
        "conclude": set(),
    }
    pools = {task.task_id: (task.pool, task.pool_slots) for task in dag.tasks}
    assert pools["prepare"] == pools["trials"] == ("cpu_heavy", 2)
    assert pools["conclude"] == ("default_pool", 1)


def test_a_fault_of_the_section_tuning_is_an_import_error_of_its_own(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "odd", tuning={"space": {"windows.train": {"low": 7, "high": 28}}})
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_small", "train_small"]
    assert "odd.yaml: tuning.space: 'windows.train' cannot be tuned" in next(iter(bag.import_errors.values()))


def test_only_a_scenario_with_targets_has_a_task_that_delivers(parse_dags: ParseDags, tmp_path: Path) -> None:
    write_scenario(tmp_path, publish={"redis": {"url_env": "CACHE_URL"}})
    write_scenario(tmp_path, "plain")
    bag = parse_dags(tmp_path)
    assert bag.import_errors == {}
    assert sorted(bag.dags["recommend_small"].task_ids) == ["deliver", "recommend", "report", "resolve"]
    assert sorted(bag.dags["recommend_plain"].task_ids) == ["recommend", "report", "resolve"]


@pytest.mark.faults(33)
def test_the_dag_files_import_nothing_heavy_and_read_nothing_but_the_scenarios(tmp_path: Path) -> None:
    files = [f"dags.{path.stem}" for path in (PROJECT / "dags").glob("*.py")]
    command = [sys.executable, "-c", IMPORT, *files]
    environment = {**os.environ, "MTL_STORE": str(tmp_path)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert set(files) <= set(parsed["modules"])
    assert [module for module in HEAVY if module in parsed["modules"]] == []
    ours = [Path(path) for path in parsed["files"] if Path(path).is_relative_to(PROJECT)]
    code = (".py", ".pyc", ".so")
    read = [path for path in ours if path.suffix not in code and not path.is_relative_to(PROJECT / ".venv")]
    assert read
    assert {path.parent for path in read} == {PROJECT / "include" / "scenarios"}


PARSE = """
import importlib, json, sys
import airflow.sdk, croniter  # Airflow's own, which looks at the machine when it is imported
reached = []
def watch(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.exec", "sqlite3.connect"):
        reached.append([event, str(arguments)])
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        reached.append([event, str(arguments)])
    if event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        reached.append([event, str(arguments)])
sys.addaudithook(watch)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(reached))
"""


@pytest.mark.faults(33)
@pytest.mark.parametrize("store", [".store", "s3://nobody/knows", "postgresql://nobody:knows@host.invalid/it"])
def test_the_dag_files_parse_without_a_connection_a_process_or_a_write(store: str) -> None:
    files = [f"dags.{path.stem}" for path in (PROJECT / "dags").glob("*.py")]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "MTL_STORE": store, "SHOP_DATABASE": store}
    command = [sys.executable, "-c", PARSE, *files]
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_every_dag_says_what_it_is_for_and_whose_it_is(parse_dags: ParseDags) -> None:
    from dags.tags import Tag

    for dag in parse_dags(PROJECT).dags.values():
        topics = ["Purpose", "Inputs", "Outputs", "When it fails", "May it be run again?", "Owner"]
        assert [topic for topic in topics if f"**{topic}" not in (dag.doc_md or "")] == []
        assert {task.owner for task in dag.tasks} == {"ml-platform"}
        assert dag.tags
        assert dag.tags <= {tag.value for tag in Tag}


def serialized(bag: DagBag) -> dict[str, str]:
    from airflow.serialization.serialized_objects import DagSerialization

    assert bag.import_errors == {}
    return {name: json.dumps(DagSerialization.to_dict(dag)) for name, dag in bag.dags.items()}


def test_every_dag_serializes_alike_each_time(parse_dags: ParseDags) -> None:
    assert serialized(parse_dags(PROJECT)) == serialized(parse_dags(PROJECT))


def test_the_schedule_and_the_owner_are_the_scenarios(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    dag = parse_dags(tmp_path).dags["train_small"]
    assert dag.timetable.expression == "30 2 * * *"
    assert not dag.catchup
    assert {task.owner for task in dag.tasks} == {"film-team"}


def test_a_run_in_the_store_makes_no_new_version_of_a_dag(
    tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_STORE", str(tmp_path / ".store"))
    write_scenario(tmp_path)
    before = serialized(parse_dags(tmp_path))
    write_past_runs(tmp_path / ".store", ["2013-05-01"])
    assert serialized(parse_dags(tmp_path)) == before


def test_parsing_opens_no_file_of_the_store(tmp_path: Path) -> None:
    write_past_runs(tmp_path, ["2013-05-01"])
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *(f"dags.{path.stem}" for path in (PROJECT / "dags").glob("*.py"))],
        cwd=PROJECT,
        env={**os.environ, "MTL_STORE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    opened = json.loads(done.stdout.splitlines()[-1])
    assert [path for path in opened if path.endswith("movies.yaml")]
    assert [path for path in opened if path.startswith((str(tmp_path), str(PROJECT / ".store")))] == []


def test_a_log_that_has_ended_is_scheduled_no_more_but_can_be_backfilled_and_run_by_hand(
    tmp_path: Path, parse_dags: ParseDags
) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    write_scenario(tmp_path, end_date=date(2013, 5, 10))
    dag = DagSerialization.from_dict(DagSerialization.to_dict(parse_dags(tmp_path).dags["train_small"]))
    assert dag.next_dagrun_info(last_automated_run_info=None) is None
    infos = dag.iter_dagrun_infos_between(datetime(2013, 5, 8, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC))
    ends = [f"{info.data_interval.end:%Y-%m-%d %H:%M}" for info in infos]
    assert ends == ["2013-05-09 02:30", "2013-05-10 02:30", "2013-05-11 02:30"]
    by_hand = [dag.timetable.infer_manual_data_interval(run_after=day) for day in (pendulum.now("UTC"), LAST_BUT_ONE)]
    assert [f"{interval.end:%Y-%m-%d %H:%M}" for interval in by_hand] == ["2013-05-11 02:30", "2013-05-09 02:30"]
    # Where tasks have an end date, Airflow makes a run by hand of a later logical date without them.
    assert [task.task_id for task in dag.tasks if task.end_date is not None] == []


def test_a_log_that_goes_on_is_scheduled(tmp_path: Path, parse_dags: ParseDags) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    write_scenario(tmp_path)
    dag = DagSerialization.from_dict(DagSerialization.to_dict(parse_dags(tmp_path).dags["train_small"]))
    assert dag.next_dagrun_info(last_automated_run_info=None).logical_date > pendulum.now("UTC").subtract(days=3)


def test_the_shipped_samples_schedule_nothing(parse_dags: ParseDags) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    training = [dag for name, dag in parse_dags(PROJECT).dags.items() if name.startswith("train_")]
    assert training
    for dag in training:
        read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert read.next_dagrun_info(last_automated_run_info=None) is None, dag.dag_id


def test_the_tasks_are_handed_what_the_stages_need(movies: DAG) -> None:
    from mtl_tasks.pipeline.stages import build_stages
    from mtl_tasks.scenario import load_scenario

    scenario = load_scenario("movies", folder=PROJECT / "include" / "scenarios")
    tasks = {task.task_id.rpartition(".")[2]: task for task in movies.tasks}
    stages = build_stages(scenario)
    del stages["recommend"]  # in a DAG of its own
    for name, stage in stages.items():
        task = tasks[name.partition(":")[0]]
        upstream = {upstream.rpartition(".")[2] for upstream in task.upstream_task_ids}
        missing = {need.partition(":")[0] for need in stage.needs} - upstream
        assert missing == set(), name


def test_the_tasks_of_the_stages_are_in_the_groups_and_on_the_pools_of_their_table(movies: DAG) -> None:
    from mtl_tasks.core.stages import STAGES

    placed = {name: f"{traits.group}.{name}" for name, traits in STAGES.items() if traits.group}
    others = {"resolve", "decide.earlier_runs", "publish.approve", "publish.announce", "report"}
    of_members = {"learn.members", "learn.members_gpu", "learn.member_gpu"}
    assert set(movies.task_ids) == {*placed.values(), *others, *of_members}
    heavy = {task.task_id for task in movies.tasks if task.pool == "cpu_heavy"}
    assert heavy == {task for name, task in placed.items() if STAGES[name].heavy}


@pytest.mark.faults(13)
def test_bad_input_fails_at_once_and_a_broken_connection_is_tried_again(movies: DAG) -> None:
    from airflow.sdk import RetryAction

    from mtl_tasks.core import errors

    for task in movies.tasks:
        assert task.execution_timeout is not None
        assert task.on_failure_callback
        assert task.retry_exponential_backoff == 2.0
    policy = movies.task_dict["validate.validate"].retry_policy
    for error in (errors.ConfigError, errors.DataError, errors.ArtifactError):
        assert policy.evaluate(error("no"), try_number=1, max_tries=3).action is RetryAction.FAIL
    for broken in (ConnectionError, TimeoutError, OSError, errors.DeviceError):
        assert policy.evaluate(broken("gone"), try_number=1, max_tries=3).action is RetryAction.RETRY


@pytest.mark.parametrize(
    ("spoilt", "fault"),
    [
        ({"windoes": {}}, r"spoilt.yaml: unknown key 'windoes', did you mean 'windows'\?"),
        ({"schedule": "at dawn"}, r"spoilt.yaml: schedule: 'at dawn' is not a cron expression"),
        ({"name": "other"}, r"spoilt.yaml: name: is 'other' but must be the file's, 'spoilt'"),
        ({"schedule": "0 0 31 2 *"}, r"spoilt.yaml: schedule: '0 0 31 2 \*' names a day that never comes"),
        ({"schedule": "0 0 * * * *"}, r"spoilt.yaml: schedule: '0 0 \* \* \* \*' has 6 fields: give five"),
        ({"schedule": "R 0 * * *"}, "spoilt.yaml: schedule: 'R 0 .*' is random each time"),
        ({"gate": {"approval_hours": math.inf}}, "spoilt.yaml: gate.approval_hours: Input should be a finite number"),
        ({"gate": {"approval_hours": 1e12}}, "spoilt.yaml: gate.approval_hours: Input should be less than or equal to"),
        ({"tasks": {"return": SCENARIO["tasks"]["rating"]}}, "spoilt.yaml: tasks: 'return' is a Python keyword"),
    ],
)
def test_a_faulty_scenario_is_an_import_error_of_its_own_and_the_others_keep_their_dags(
    spoilt: dict[str, object], fault: str, tmp_path: Path, parse_dags: ParseDags
) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "spoilt", **spoilt)
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_small", "train_small"]
    (where,) = bag.import_errors
    assert Path(where).name == "scenario_faults.py"
    assert re.search(fault, bag.import_errors[where])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (f"title: {'[' * 5000}", "odd.yaml: line 1: sections within each other"),
        (LAUGHS, "odd.yaml: line 6: more than 20,000 values"),
        ("title: !!python/name:os.system", "odd.yaml: line 1: the tag"),
        ("", "odd.yaml: expected a mapping of keys at the top"),
    ],
    ids=["deep", "aliases", "tag", "empty"],
)
def test_a_document_out_of_bounds_is_a_faulty_scenario(
    text: str, fault: str, tmp_path: Path, parse_dags: ParseDags
) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "odd").write_text(text)
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_small", "train_small"]
    ((where, said),) = bag.import_errors.items()
    assert Path(where).name == "scenario_faults.py"
    assert fault in said


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path)])
def test_what_is_no_file_stops_no_scenario(make: Callable[[Path], None], tmp_path: Path, parse_dags: ParseDags) -> None:
    make(write_scenario(tmp_path).with_name("odd.yaml"))
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_small", "train_small"]
    folder = (tmp_path / "include/scenarios/odd.yaml").is_dir()  # that is no scenario, so not a faulty one either
    assert ["odd.yaml: " in said for said in bag.import_errors.values()] == ([] if folder else [True])


def test_whatever_making_a_dag_raises_is_a_fault_of_its_scenario(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "broken")
    from dags import scenario_files

    def fails_half_way(scenario: Scenario) -> DAG:
        from airflow.sdk import dag
        from airflow.sdk.bases.operator import BaseOperator

        @dag(f"half_{scenario.name}", auto_register=False)
        def half() -> None:
            BaseOperator(task_id="first")
            BaseOperator(task_id="first" if scenario.name == "broken" else "second")

        return half()

    monkeypatch.setattr(scenario_files, "ROOT", tmp_path)
    made, faults = scenario_files.build_all(fails_half_way)
    assert list(made) == ["half_small"]
    (fault,) = faults
    assert re.search(r"broken.yaml: no DAG can be made of it \(DuplicateTaskIdFound: ", fault)


@pytest.mark.parametrize("kind", ["train", "recommend"])
def test_a_task_reads_its_own_scenario_and_no_other(
    kind: str, tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.definitions._internal import dag_parsing_context as parsing

    from dags import scenario_files

    for name in ("films", "old_films", "small"):
        write_scenario(tmp_path, name)
    read: list[str] = []
    load = scenario_files.load_scenario

    def noted(name: str, folder: Path) -> Scenario:
        read.append(name)
        return load(name, folder=folder)

    monkeypatch.setattr(scenario_files, "load_scenario", noted)
    assert f"{kind}_small" in parse_dags(tmp_path).dags
    assert set(read) == {"films", "old_films", "small"}
    read.clear()
    for variable in (parsing._AIRFLOW_PARSING_CONTEXT_DAG_ID, parsing._AIRFLOW_PARSING_CONTEXT_TASK_ID):
        monkeypatch.setenv(variable, "")  # what Airflow sets now is gone after the test
    with parsing._airflow_parsing_context_manager(dag_id=f"{kind}_old_films", task_id="resolve"):
        bag = parse_dags(tmp_path)  # as in a task's process
    assert bag.import_errors == {}
    assert sorted(bag.dags) == ["recommend_old_films", "train_old_films"]
    assert set(read) == {"old_films"}


def test_the_form_has_the_bounds_of_the_scenario(movies: DAG) -> None:
    from mtl_tasks.scenario import load_scenario

    for key, param in {
        "windows.train": "train_days",
        "windows.test": "test_days",
        "boosting.threads": "threads",
    }.items():
        schema = movies.params.get_param(param).schema
        for limit, beyond in (("minimum", -1), ("maximum", 1)):
            if (param, limit) == ("threads", "maximum"):
                continue  # what the task reserves, and no more
            for value, refused in ((schema[limit], False), (schema[limit] + beyond, True)):
                with pytest.raises(ConfigError, match=key) if refused else contextlib.nullcontext():
                    load_scenario("movies", {key: value}, PROJECT / "include" / "scenarios")


def test_a_file_that_is_no_text_is_a_faulty_scenario(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "binary").write_bytes(b"title: \xff\xfe")
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_small", "train_small"]
    assert "binary.yaml: " in next(iter(bag.import_errors.values()))
