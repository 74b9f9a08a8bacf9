"""Lineage in real runs of the DAGs: what Airflow's provider openlineage writes to a file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.sealing import key_from
from tests.conftest import PROJECT, copy_database
from tests.support.databases import free_port
from tests.support.forwarding import Forwarder
from tests.support.projects import AS_OF, SCENARIO, SHORT, write_log, write_scenario
from tests.support.receivers import HookServer, mute_server, serving

NAME = "traced"
SECRETS = {"MTL_STORE_KEY": "5e" * 32, "SERVED_URL": "hunter2"}
HIDDEN = "s3cret-token"
ON = "AIRFLOW__OPENLINEAGE__TRANSPORT"
# Runs the script once for each list of arguments, in one process, which imports Airflow once; writes the exit codes.
RUN_EACH = """
import json, pathlib, runpy, sys
script, codes, *runs = sys.argv[1:]
ended = []
for arguments in map(json.loads, runs):
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exit:
        ended.append(int(exit.code))
pathlib.Path(codes).write_text(json.dumps(ended))
"""


class Traced(NamedTuple):
    """A project whose DAGs ran with lineage on."""

    root: Path
    environment: dict[str, str]

    def run(self, transport: dict[str, Any], *runs: Sequence[str]) -> tuple[list[int], str]:
        """Run DAGs in another process, as the provider's plugin reads its configuration when it is imported.

        Returns
        -------
        tuple
            The exit code of each DAG's script, and all that was printed.
        """
        script, codes = PROJECT / "include/airflow/run_dag.py", self.root / "codes.json"
        codes.write_text("[]", encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", RUN_EACH, str(script), str(codes), *map(json.dumps, runs)],
            cwd=self.root,
            env={**self.environment, ON: json.dumps(transport)},
            capture_output=True,
            text=True,
            check=False,
        )
        return json.loads(codes.read_text(encoding="utf-8")), done.stdout + done.stderr

    @property
    def file(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def store(self) -> Store:
        return Store(str(self.root / ".store"), key_from(SECRETS))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, airflow_template: Path) -> Traced:
    root = tmp_path_factory.mktemp("traced")
    write_log(root)
    served = {"sql": {"url_env": "SERVED_URL", "table": "served"}, "parquet": {"path": "served.parquet"}}
    write_scenario(root, NAME, publish=served, recommend=SHORT["recommend"])
    write_scenario(root, "lost", source={**SCENARIO["source"], "events": "nowhere"})
    for folder in ("dags", "plugins"):
        shutil.copytree(PROJECT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "home").mkdir()
    copy_database(airflow_template, root / "home" / "airflow.db")
    environment = {
        **os.environ,
        **SECRETS,
        "SERVED_URL": f"sqlite:///file:{root}/shop.db?mode=rwc&uri=true&password={SECRETS['SERVED_URL']}",
        "AIRFLOW_HOME": str(root / "home"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "PYTHONPATH": f"{root}:{PROJECT}",
        "MTL_STORE": str(root / ".store"),
    }
    made = Traced(root, environment)
    to_file = {"type": "file", "log_file_path": str(made.file), "append": True}
    as_of = json.dumps({"as_of": AS_OF})
    ended, printed = made.run(to_file, (f"train_{NAME}", as_of), (f"recommend_{NAME}",), ("train_lost", as_of))
    assert ended == [0, 0, 1], printed[-4000:]
    assert "are not emitted" not in printed
    return made


@pytest.fixture(scope="module")
def events(traced: Traced) -> list[dict[str, Any]]:
    return [json.loads(line) for line in traced.file.read_text(encoding="utf-8").splitlines()]


def datasets(events: list[dict[str, Any]], side: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield job and dataset of each event."""
    for event in events:
        for dataset in event[side]:
            yield event["job"]["name"], dataset


def place(root: Path, name: str) -> tuple[str, str]:
    return "file", str(root / name)


def test_the_events_are_those_of_openlineage_and_of_the_tasks_own_runs(events: list[dict[str, Any]]) -> None:
    from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

    kinds = defaultdict(set)
    for event in events:
        run, job = Run(event["run"]["runId"]), Job(event["job"]["namespace"], event["job"]["name"])
        RunEvent(
            eventTime=event["eventTime"],
            eventType=RunState(event["eventType"]),
            run=run,
            job=job,
            producer=event["producer"],
        )
        kinds[job.name, run.runId].add(event["eventType"])
        for side in ("inputs", "outputs"):
            for _, dataset in datasets([event], side):
                assert set(dataset) <= {"namespace", "name", "facets", f"{side[:-1]}Facets"}
                for key, facet in {**dataset["facets"], **dataset.get(f"{side[:-1]}Facets", {})}.items():
                    parse(side, key, facet)
    of_stages = {job: seen for (job, _), seen in kinds.items() if "RUNNING" in seen}
    assert set(map(frozenset, of_stages.values())) == {frozenset({"START", "RUNNING", "COMPLETE"})}
    assert {f"train_{NAME}.validate.validate", f"train_{NAME}.report", f"recommend_{NAME}.deliver"} <= set(of_stages)
    assert {frozenset(seen) for (job, _), seen in kinds.items() if job == "train_lost.resolve"} == {
        frozenset({"START", "FAIL"})
    }


def parse(side: str, key: str, facet: dict[str, Any]) -> None:
    """Make the client's own object of a facet: it refuses unknown keys."""
    from openlineage.client import facet_v2 as facets

    subsets = facets.base_subset_dataset
    classes: dict[str, Any] = {
        "schema": facets.schema_dataset.SchemaDatasetFacet,
        "version": facets.dataset_version_dataset.DatasetVersionDatasetFacet,
        "inputStatistics": facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
        "outputStatistics": facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
        "dataQualityAssertions": facets.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
        "subset": subsets.InputSubsetInputDatasetFacet if side == "inputs" else subsets.OutputSubsetOutputDatasetFacet,
    }
    made = classes[key](**{name: value for name, value in facet.items() if name not in ("_producer", "_schemaURL")})
    assert made._schemaURL == facet["_schemaURL"]
    for field in facet.get("fields", []):
        facets.schema_dataset.SchemaDatasetFacetFields(**field)
    for assertion in facet.get("assertions", []):
        facets.data_quality_assertions_dataset.Assertion(**assertion)


def test_the_recommendations_are_traced_to_the_days_of_the_log(traced: Traced, events: list[dict[str, Any]]) -> None:
    made_from: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for event in events:
        for written in event["outputs"]:
            read = {(each["namespace"], each["name"]) for each in event["inputs"]}
            made_from[written["namespace"], written["name"]] |= read
    for served in (("sqlite", f"{traced.root}/shop.db.served"), place(traced.root, "served.parquet")):
        reached, ahead = set(), {served}
        while ahead:
            reached |= ahead
            ahead = set().union(*(made_from[each] for each in ahead)) - reached
        assert place(traced.root, "log") in reached
        assert place(traced.root, "films.parquet") in reached
        assert place(traced.root, f".store/{NAME}/recommend") in reached
        assert place(traced.root, f".store/{NAME}/member-independent") in reached
    assert place(traced.root, f".store/{NAME}/registry") in made_from
    days = {day.name for day in (traced.root / "log").iterdir()}
    of_log = [
        dataset
        for _, dataset in datasets(events, "inputs")
        if dataset["name"] == str(traced.root / "log") and dataset["facets"]  # as an asset of the DAG it has none
    ]
    assert len(of_log) == 2
    for log in of_log:
        partitions = log["inputFacets"]["subset"]["inputCondition"]["partitions"]
        assert {f"dt={partition['dimensions']['dt']}" for partition in partitions} == days
        assert log["inputFacets"]["inputStatistics"]["fileCount"] == len(days)
        assert {"user_id", "movie_id", "rated_at", "rating"} <= {
            field["name"] for field in log["facets"]["schema"]["fields"]
        }


def test_rows_and_columns_are_those_of_the_artifacts(traced: Traced, events: list[dict[str, Any]]) -> None:
    seen = set()
    for _, written in datasets(events, "outputs"):
        if "version" not in written["facets"]:
            continue
        (address,) = written["outputFacets"]["subset"]["outputCondition"]["locations"]
        artifact = traced.store.find(traced.store.root / Path(address).relative_to(traced.root / ".store"))
        assert artifact is not None
        assert written["facets"]["version"]["datasetVersion"] == artifact.ref.key
        assert written["outputFacets"].get("outputStatistics", {}).get("rowCount", 0) == artifact.ref.rows
        tables = [name.removesuffix(".parquet") for name in artifact.names if name.endswith(".parquet")]
        fields = {field["name"]: field for field in written["facets"].get("schema", {}).get("fields", [])}
        if len(tables) == 1 and artifact.manifest["stage"] not in ("validate", "features"):
            assert list(fields) == list(artifact.frame(tables[0]).columns)
        else:
            assert set(tables) <= set(fields) or not tables
        seen.add(artifact.manifest["stage"])
        if artifact.manifest["stage"] == "validate":
            assert {"user_id", "label:rating"} <= {field["name"] for field in fields["events"]["fields"]}
    assert len(seen) == 15


def test_the_checks_of_great_expectations_are_assertions_about_the_log(
    traced: Traced, events: list[dict[str, Any]]
) -> None:
    (log,) = (
        each
        for job, each in datasets(events, "inputs")
        if job.endswith("validate.validate") and each["name"] == str(traced.root / "log")
    )
    (path,) = (traced.root / ".store" / NAME / AS_OF / "validate").glob("*/*/validation.json")
    report = json.loads(path.read_text(encoding="utf-8"))
    assertions = log["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(each["assertion"], each["success"]) for each in assertions] == [
        (each["expectation"], each["success"]) for each in report["expectations"]
    ]
    assert {each["column"] for each in assertions if "column" in each} == {"user_id", "movie_id", "rated_at", "rating"}
    assert {each["severity"] for each in assertions} == {"error", "warn"}
    assert log["inputFacets"]["inputStatistics"]["rowCount"] == report["rows_read"]


def test_no_secret_is_in_the_events(traced: Traced, events: list[dict[str, Any]]) -> None:
    assert events
    assert [name for name, secret in SECRETS.items() if secret in traced.file.read_text(encoding="utf-8")] == []


FAULTS = {
    "unreachable": "Connection refused",
    "mute": "Read timed out",
    "wrong token": "401 Client Error: Unauthorized for url",
    "cut off": "Connection aborted",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_leaves_the_run_as_it_is_and_each_event_is_one_warning(fault: str, traced: Traced) -> None:
    with mute_server() as mute, serving(HookServer()) as closed, serving(Forwarder(closed.url)) as cut:
        closed.status, cut.left = 401 if fault == "wrong token" else 200, 5
        url = {
            "unreachable": f"http://127.0.0.1:{free_port()}",
            "mute": f"http://127.0.0.1:{mute}",
            "wrong token": closed.url,
            "cut off": cut.url,
        }[fault]
        auth = {"type": "api_key", "apiKey": HIDDEN}
        # By default the client tries each event six times, and waits for 5 seconds each time.
        impatient = {"timeout": 0.3, "retry": {"total": 0}}
        transport = {"type": "http", "url": url, "auth": auth, **impatient}
        ended, printed = traced.run(transport, (f"recommend_{NAME}",))
    assert ended == [0], printed[-4000:]
    warnings = re.findall(r"Failed to emit OpenLineage `(\w+)` event of id `([\w-]+)` with .* `(.*)`", printed)
    assert warnings
    assert len({(kind, run) for kind, run, _ in warnings}) == len(warnings)
    for _, _, told in warnings:
        assert FAULTS[fault] in told
        assert fault == "cut off" or url.rpartition(":")[2] in told
    if fault == "cut off":
        assert len(closed.posted) == 5
    sent = "".join(json.dumps(body) for _, _, body in closed.posted)
    for secret in (HIDDEN, *SECRETS.values()):
        assert secret not in printed
        assert secret not in sent
    assert all(headers["Authorization"] == f"Bearer {HIDDEN}" for _, headers, _ in closed.posted)


def test_nothing_is_read_or_imported_unless_the_provider_is_configured() -> None:
    code = """
import sys
import dags.training
from dags.lineage import emit_lineage
emit_lineage(lambda: 1 / 0)
assert "openlineage.client" not in sys.modules
assert "mtl_tasks.pipeline.lineage" not in sys.modules
"""
    environment = {name: value for name, value in os.environ.items() if name != ON}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env={**environment, "PYTHONPATH": "."}, check=True)
