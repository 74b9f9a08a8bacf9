"""Messages on the outcome of a run, received by a real mail server and a real HTTP server."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.engine import Run, StageResult
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.registry import Registry
from tests.dags.conftest import ParseDags
from tests.support.projects import AS_OF, NAME, write_log, write_scenario
from tests.support.receivers import HookServer, MailServer, serving

EARLIER = "2013-05-10"
TARGETS: list[dict[str, Any]] = [
    {"smtp": {"to": ["ops@example.com", "ml@example.com"], "connection": "mail"}},
    {"webhook": {"connection": "hook"}},
]
EVERY = ["rejected", "promoted", "awaits_approval", "failed", "stale_champion"]
NOTIFY = {"outcomes": EVERY, "to": TARGETS}
HOLDS = {"absolute": [{"task": "rating", "metric": "rmse", "max": 3}], "beat_floor": False, "replicates": 100}
FAILS = {**HOLDS, "absolute": [{"task": "rating", "metric": "rmse", "max": 0.01}]}
Finished = tuple[Run, dict[str, StageResult]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("notified")
    write_log(root)
    return root


def finish(project: Path, monkeypatch: pytest.MonkeyPatch, as_of: str, gate: dict[str, Any], **notify: Any) -> Finished:
    """Run all stages of a day; those before the gate are reused by the next test."""
    write_scenario(project, members=["popularity"], gate={**gate, "lists": []}, notify={**NOTIFY, **notify})
    monkeypatch.chdir(project)
    run = make_run(NAME, AsOf.parse(as_of), {}, str(project / ".store"))
    results: dict[str, StageResult] = {}
    run_pipeline(run, lambda name, result: results.update({} if result is None else {name: result}))
    return run, results


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with serving(MailServer()) as server:
        yield server


@pytest.fixture
def hook() -> Iterator[HookServer]:
    with serving(HookServer()) as server:
        yield server


@pytest.fixture(autouse=True)
def connections(mail: MailServer, hook: HookServer, monkeypatch: pytest.MonkeyPatch, airflow_database: None) -> None:
    sender = {"from_email": "airflow@example.com", "disable_ssl": True, "disable_tls": True, "retry_limit": 0}
    connect(monkeypatch, "MAIL", conn_type="smtp", host="127.0.0.1", port=mail.port, extra=sender)
    token = {"headers": {"X-Token": "a-secret-token"}}
    connect(monkeypatch, "HOOK", conn_type="http", host=f"{hook.url}/services/a-secret-path", extra=token)


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **parts: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(parts))


@pytest.fixture
def tell(parse_dags: ParseDags, project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that calls the callbacks of the task `report`, as Airflow does when it has succeeded."""
    from dags import notifying

    def call(finished: Finished, run_type: str = "scheduled") -> None:
        run, results = finished
        monkeypatch.setattr(notifying, "run_spec", lambda: RunSpec.of(run))
        dag = parse_dags(project).dags[f"train_{NAME}"]
        made = [result.to_json() for result in results.values()]
        task = SimpleNamespace(op_args=[made], results=made)
        context = {"dag": dag, "task": task, "dag_run": SimpleNamespace(run_type=run_type)}
        waits = results["publish"] and Registry(run.store, NAME).entries()[-1].decision == "awaits_approval"
        callbacks: Any = dag.get_task("publish.approve").notifiers if waits else dag.get_task("report").on_success_callback
        for callback in callbacks:
            callback(context)

    return call


def test_a_rejected_run_is_told_by_mail_and_webhook_with_the_first_failed_rule_and_the_boards_page(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    tell: Callable[..., None],
    mail: MailServer,
    hook: HookServer,
) -> None:
    from airflow.sdk.configuration import conf

    run, results = finish(project, monkeypatch, AS_OF, FAILS)
    tell((run, results))
    ((path, headers, document),) = hook.posted
    assert (path, headers["X-Token"]) == ("/services/a-secret-path", "a-secret-token")
    assert document["outcomes"] == ["rejected"]
    assert document["subject"] == f"A slice of the films: rejected as of {AS_OF}"
    (reason,) = document["lines"]
    assert reason.startswith("rating rmse <= 0.01: fails, it is ") or "rating" in reason
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    assert document["link"] == f"{base}/plugin/models/model-board/scenarios/{NAME}/runs/{document['run_key']}"
    assert document["text"] == "\n".join([document["subject"], reason, document["link"]])
    (message,) = mail.messages
    assert (message["Subject"], message["From"]) == (document["subject"], "airflow@example.com")
    assert [line.partition(":")[2] for line in mail.recipients] == ["<ops@example.com>", "<ml@example.com>"]
    body = message.get_payload()[0].get_payload(decode=True).decode()  # type: ignore[union-attr,index]
    assert document["link"] in body
    assert "fails" in body
