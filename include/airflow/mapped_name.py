"""Print the name of a mapped task, which Airflow's API has and the scheduler's log has not; its index without one.

Usage: mapped_name.py DAG TASK RUN INDEX, with the API's address and the file of passwords in Airflow's settings
"""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

SECONDS = 5


def answer(url: str, token: str | None = None, body: dict[str, str] | None = None) -> dict[str, Any]:
    """Return what the API answers; a body is posted."""
    headers = {"Content-Type": "application/json", **({} if token is None else {"Authorization": f"Bearer {token}"})}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - ours
    with urllib.request.urlopen(request, timeout=SECONDS) as reply:  # noqa: S310
        found: dict[str, Any] = json.load(reply)
    return found


def mapped_name(airflow: str, password: str, dag: str, task: str, run: str, index: str) -> str:
    """Return the name of a mapped task; its index if the task has ended without one."""
    token = answer(f"{airflow}/auth/token", body={"username": "admin", "password": password})["access_token"]
    place = "/".join(["dags", quote(dag, ""), "dagRuns", quote(run, ""), "taskInstances", quote(task, ""), index])
    name: str = answer(f"{airflow}/api/v2/{place}", token)["rendered_map_index"] or index
    return name.rpartition(":")[2]  # of a stage such as member:als, whose kind the task's id has


if __name__ == "__main__":
    passwords = json.loads(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).read_text())
    try:
        name = mapped_name(f"http://127.0.0.1:{os.environ['AIRFLOW__API__PORT']}", passwords["admin"], *sys.argv[1:])
    except OSError as error:  # the task has ended all the same
        sys.stderr.write(f"warning: the API does not name {sys.argv[2]}[{sys.argv[4]}]: {error}\n")
        name = sys.argv[4]
    sys.stdout.write(name)
