"""Modules that a task's process has imported before the task starts: libraries, and none of the project."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.conftest import PROJECT
from tests.support.airflow import PRELOAD, PRELOADED_CODE, preloading
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario

LOCAL_EXECUTOR = "airflow.executors.local_executor"
# Imports what is preloaded, makes a run, and prints the modules of libraries that the run has imported in addition.
RUN = """
import importlib, json, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
before = set(sys.modules)
from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.local import make_run, run_pipeline
run_pipeline(make_run(sys.argv[2], AsOf.parse(sys.argv[3]), {}, ".store"), lambda stage, result: None)
libraries = {name for name in set(sys.modules) - before if name.split(".")[0] not in sys.stdlib_module_names}
print(json.dumps({"before": sorted(before), "later": sorted(libraries)}))
"""


def test_the_servers_workers_preload_what_those_of_make_up_do() -> None:
    services = yaml.safe_load((PROJECT / "docker-compose.yaml").read_text(encoding="utf-8"))["services"]
    for worker in ("worker", "gpu-worker"):
        settings = json.loads(services[worker]["environment"]["AIRFLOW__CELERY__EXTRA_CELERY_CONFIG"])
        assert [LOCAL_EXECUTOR, *settings["imports"]] == preloading()[PRELOAD].split(",")


def test_what_a_server_of_the_tests_preloads_in_addition_is_there() -> None:
    """A name that cannot be imported would be ignored, and every task would be slower."""
    assert [name for name in PRELOADED_CODE if importlib.util.find_spec(name) is None] == []


def test_a_run_imports_no_library_but_those_that_are_preloaded(tmp_path: Path) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path, boosting={**SCENARIO["boosting"], "rounds": 5})
    command = [sys.executable, "-c", RUN, preloading()[PRELOAD], NAME, AS_OF]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    modules = json.loads(done.stdout.splitlines()[-1])  # Airflow's log comes before it
    packages = {name.split(".")[0] for name in modules["before"]}
    assert not packages & {"dags", "mtl_tasks", "plugins"}
    later = [name for name in modules["later"] if not name.startswith("mtl_tasks")]
    assert {name.split(".")[0] for name in later} <= packages
    assert len(later) < 60, later
