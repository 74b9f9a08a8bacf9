"""What Airflow sees of the DAG files: quick to parse, complete, and one bad scenario file stops no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PROJECT
from tests.dags.conftest import ParseDags
from tests.projects import write_past_runs, write_scenario

if TYPE_CHECKING:
    from airflow.sdk import DAG

HEAVY = ["great_expectations", "implicit", "lightgbm", "matplotlib", "numpy", "pandas", "pyarrow", "scipy", "sklearn"]
IMPORT = """
import importlib, json, sys, time
import airflow.sdk
before, started = set(sys.modules), time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps({"seconds": time.perf_counter() - started, "modules": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture
def movies(parse_dags: ParseDags) -> DAG:
    return parse_dags(PROJECT).dags["train_movies"]


def test_every_scenario_has_a_training_and_a_recommending_dag(parse_dags: ParseDags) -> None:
    bag = parse_dags(PROJECT)
    assert bag.import_errors == {}
    names = [path.stem for path in (PROJECT / "include" / "scenarios").glob("*.yaml")]
    assert sorted(bag.dags) == sorted(f"{kind}_{name}" for name in names for kind in ("train", "recommend"))


@pytest.mark.faults(33)
def test_the_dag_files_together_parse_in_less_than_a_second_and_import_nothing_heavy() -> None:
    files = [f"dags.{path.stem}" for path in (PROJECT / "dags").glob("*.py")]
    command = [sys.executable, "-c", IMPORT, *files]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    parsed = json.loads(done.stdout.splitlines()[-1])
    assert set(files) <= set(parsed["modules"])
    assert [module for module in HEAVY if module in parsed["modules"]] == []
    assert parsed["seconds"] < 1


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


def test_every_dag_serialises_alike_each_time(parse_dags: ParseDags) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    first, second = (
        {name: json.dumps(DagSerialization.to_dict(dag)) for name, dag in parse_dags(PROJECT).dags.items()}
        for _ in range(2)
    )
    assert first == second


def test_the_schedule_and_the_owner_are_the_scenarios(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    dag = parse_dags(tmp_path).dags["train_small"]
    assert dag.timetable.expression == "30 2 * * *"
    assert not dag.catchup
    assert {task.owner for task in dag.tasks} == {"film-team"}


def test_the_docs_and_the_form_say_what_past_runs_took(
    tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTL_STORE", "kept")  # named relative to the project, wherever the file is parsed
    write_scenario(tmp_path)
    dag = parse_dags(tmp_path).dags["train_small"]
    assert "What past runs took: no run yet." in dag.doc_md
    write_past_runs(tmp_path / "kept", ["2013-05-01"])
    dag = parse_dags(tmp_path).dags["train_small"]
    assert "| factors | 10 s | 100 MB |" in dag.doc_md
    told = "The newest run took 30 s in all stages, and at most 100 MB."
    assert dag.params.get_param("members").description.endswith(told)


def test_the_tasks_are_handed_what_the_stages_need(movies: DAG) -> None:
    from mtl_tasks.scenario import load_scenario
    from mtl_tasks.stages import build_stages

    scenario = load_scenario("movies", folder=PROJECT / "include" / "scenarios")
    tasks = {task.task_id.rpartition(".")[2]: task for task in movies.tasks}
    stages = build_stages(scenario)
    del stages["recommend"]  # in a DAG of its own
    for name, stage in stages.items():
        task = tasks[name.partition(":")[0]]
        upstream = {upstream.rpartition(".")[2] for upstream in task.upstream_task_ids}
        missing = {need.partition(":")[0] for need in stage.needs} - upstream
        assert missing == set(), name


@pytest.mark.faults(13)
def test_bad_input_fails_at_once_and_a_broken_connection_is_tried_again(movies: DAG) -> None:
    from airflow.sdk import RetryAction

    from mtl_tasks import errors

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


def test_a_file_that_is_no_text_is_a_faulty_scenario(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    write_scenario(tmp_path, "binary").write_bytes(b"title: \xff\xfe")
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_small", "train_small"]
    assert "binary.yaml: " in next(iter(bag.import_errors.values()))
