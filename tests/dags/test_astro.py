"""The layout of the Astro CLI: a project in Airflow's home, with the files that the page on deployment shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import PROJECT
from tests.support.projects import NAME, write_log, write_scenario

FILES = (".astro/config.yaml", "packages.txt", "airflow_settings.yaml", "Dockerfile")  # in the page's order
IMAGE_HOME = "/usr/local/airflow"
# The DAGs and the plugins that Airflow finds in its home.
PARSE = """
import json
from airflow import plugins_manager
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
plugins = [plugin.name for plugin in plugins_manager._get_plugins()[0]]
faults = {**bag.import_errors, **plugins_manager.get_import_errors()}
from dags.stage_tasks import store_uri
print(json.dumps({"dags": sorted(bag.dags), "faults": faults, "plugins": plugins, "store": store_uri()}))
"""


@pytest.fixture(scope="module")
def shown() -> dict[str, str]:
    """The files that the page shows, by name."""
    page = (PROJECT / "include" / "docs" / "deploy.md").read_text(encoding="utf-8")
    section = page.partition("## Astro\n")[2].partition("\n## ")[0]
    return dict(zip(FILES, re.findall(r"```\w+\n(.*?)```", section, re.DOTALL), strict=True))


def test_dags_and_plugins_load_in_airflows_home_with_the_settings_of_the_image(
    shown: dict[str, str], tmp_path: Path
) -> None:
    for code in ("dags", "mtl_tasks", "plugins"):
        (tmp_path / code).symlink_to(PROJECT / code)
    write_scenario(tmp_path)
    write_log(tmp_path)
    settings = dict(
        re.findall(r"^ENV (\w+)=(.*)$", shown["Dockerfile"].replace(IMAGE_HOME, str(tmp_path)), re.MULTILINE)
    )
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MTL_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", PARSE],
        cwd=tmp_path,
        env={**plain, **settings, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "600"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["faults"] == {}
    assert found["dags"] == [f"recommend_{NAME}", f"train_{NAME}"]
    assert {"timetables", "model_board"} <= set(found["plugins"])
    assert found["store"] == str(tmp_path / "include" / ".store")


def test_the_settings_file_has_the_pools_of_the_tasks(shown: dict[str, str]) -> None:
    from dags.resources import CPU_POOL, GPU_POOL

    pools = yaml.safe_load(shown["airflow_settings.yaml"])["airflow"]["pools"]
    assert {pool["pool_name"] for pool in pools} == {CPU_POOL, GPU_POOL}
    assert {key for pool in pools for key in pool} == {"pool_name", "pool_slot", "pool_description"}
