"""The project as a DAG bundle of Airflow's provider for git, with a version for each commit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.engine import code_version
from tests.conftest import PROJECT
from tests.support.projects import write_log, write_scenario

DEPLOY = PROJECT / "include" / "docs" / "deploy.md"
# What the DAG processor and a worker do with a bundle; each parses in a process of its own.
PARSE = """
import json, sys
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
bundle = DagBundlesManager().get_bundle("recommenders", version=sys.argv[1] or None)
bundle.initialize()
bag = BundleDagBag(dag_folder=str(bundle.path), bundle_path=bundle.path, bundle_name=bundle.name)
from dags import scenario_files
from mtl_tasks.pipeline.engine import code_version
from mtl_tasks.pipeline.origin import find_commit
titles = sorted(dag.dag_display_name for dag in bag.dags.values())
root, code, commit = str(scenario_files.ROOT), code_version(), find_commit()
print(json.dumps({"titles": titles, "faults": bag.import_errors, "root": root, "code": code, "commit": commit}))
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare clone of a repository whose second commit changes a scenario and the library."""
    folder = tmp_path_factory.mktemp("git")
    work = folder / "work"
    for code in ("dags", "mtl_tasks"):
        shutil.copytree(PROJECT / code, work / code, ignore=shutil.ignore_patterns("__pycache__"))
    write_log(work)
    write_scenario(work, title="First")
    git(work, "init", "--initial-branch=main")
    commit(work)
    write_scenario(work, title="Second")
    (work / "mtl_tasks" / "new.py").write_text("", encoding="utf-8")
    commit(work)
    git(folder, "clone", "--bare", str(work), "bare.git")
    return folder / "bare.git"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(work: Path) -> None:
    git(work, "add", "--all")
    git(work, "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "--message", "a version")


def documented_bundle() -> Any:
    """Return the configuration of the bundle that the page shows."""
    (shown,) = re.findall(r"DAG_BUNDLE_CONFIG_LIST='(.*?)'", DEPLOY.read_text(encoding="utf-8"), re.DOTALL)
    return json.loads(shown)


@pytest.mark.parametrize(("version", "title"), [("main~1", "First"), ("main", "Second"), (None, "Second")])
def test_a_version_has_its_own_scenarios_and_library_whatever_is_on_the_path(
    version: str | None, title: str, repository: Path, tmp_path: Path
) -> None:
    (bundle,) = documented_bundle()
    bundle["kwargs"]["repo_url"] = str(repository)
    sha = "" if version is None else git(repository, "rev-parse", version)
    settings = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(tmp_path / "bundles"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
        "PYTHONPATH": str(PROJECT),  # another copy of the project
    }
    command, environment = [sys.executable, "-c", PARSE, sha], {**os.environ, **settings}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == {}
    assert found["titles"] == [f"{title}: recommend", f"{title}: train"]
    assert Path(found["root"]).is_relative_to(tmp_path / "bundles" / "recommenders")
    assert sha in found["root"]
    assert found["commit"] == [sha or git(repository, "rev-parse", "main"), False]
    assert (found["code"] == code_version()) == (title == "First")


@pytest.mark.parametrize(
    ("store", "refused"), [("", True), ("artifacts", True), ("/srv/store", False), ("s3://bucket/store", False)]
)
def test_a_store_inside_a_version_is_refused(
    store: str, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dags import scenario_files
    from dags.stage_tasks import store_uri

    monkeypatch.setenv("MTL_STORE", store)
    assert store_uri() == (store or ".store")  # outside of a bundle
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH", str(tmp_path))
    monkeypatch.setattr(scenario_files, "ROOT", tmp_path / "recommenders" / "versions" / "c0de")
    if refused:
        with pytest.raises(ConfigError, match=r"MTL_STORE: .* would be a folder in .*c0de.* set MTL_STORE to an absol"):
            store_uri()
    else:
        assert store_uri() == store
