"""Messages on the outcome of a run, received by a real mail server and a real HTTP server."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.engine import StageResult
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.pipeline.stages import run_key
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Payload, Store
from mtl_tasks.store.promotion import record_approval
from mtl_tasks.store.registry import Registry, RunRecord
from tests.dags.conftest import ParseDags
from tests.support.airflow import as_a_task
from tests.support.databases import free_port
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario
from tests.support.receivers import HookServer, MailServer, mute_server, serving

SCHEDULED = datetime(2013, 5, 11, 2, 30, tzinfo=UTC)
TARGETS: list[dict[str, Any]] = [
    {"smtp": {"to": ["ops@example.com", "ml@example.com"], "connection": "mail"}},
    {"webhook": {"connection": "hook"}},
]
EVERY = ["rejected", "promoted", "awaits_approval", "failed", "stale_champion"]
NOTIFY = {"outcomes": EVERY, "to": TARGETS}
STRICT = {**SCENARIO["gate"], "absolute": [{"task": "rating", "metric": "rmse", "max": 0.01}]}
FAILED = "rating rmse <= 0.01: fails, it is 2"
Tell = Callable[..., None]


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
    connect_mail(monkeypatch, mail.port)
    token = {"headers": {"X-Token": "secret-header"}}
    connect(monkeypatch, "HOOK", conn_type="http", host=f"{hook.url}/services/secret-path", extra=token)
    monkeypatch.delenv("MTL_STORE", raising=False)


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **parts: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(parts))


def connect_mail(monkeypatch: pytest.MonkeyPatch, port: int, **parts: Any) -> None:
    sender = {"from_email": "airflow@example.com", "disable_ssl": True, "disable_tls": True, "retry_limit": 1}
    mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": {**sender, "timeout": 1}}
    connect(monkeypatch, "MAIL", **mail, **parts)


@pytest.fixture
def mute() -> Iterator[int]:
    with mute_server() as port:
        yield port


def run_dag(root: Path, parse_dags: ParseDags, name: str) -> str:
    """Run the DAG of a scenario, of a name that no other test of this file has: Airflow warns of two versions."""
    dag = parse_dags(root).dags[f"train_{name}"]
    dag.deadline = None  # Airflow 3.3 cannot look deadlines up in `dag.test`
    for task in dag.tasks:
        task.retries = 0
    with as_a_task():  # as in the DAG processor, callbacks of the DAG may ask for results
        return str(dag.test(logical_date=SCHEDULED).state)


def test_a_rejected_run_is_told_by_mail_and_webhook_with_the_first_failed_rule_and_the_boards_page(
    tmp_path: Path, parse_dags: ParseDags, mail: MailServer, hook: HookServer
) -> None:
    from airflow.sdk.configuration import conf

    write_log(tmp_path)
    write_scenario(tmp_path, "strict", members=["popularity"], gate=STRICT, notify=NOTIFY)
    assert run_dag(tmp_path, parse_dags, "strict") == "success"
    (entry,) = Registry(Store(str(tmp_path / ".store")), "strict").entries()
    assert "notify" not in entry.scenario_document
    ((path, headers, document),) = hook.posted
    assert (path, headers["X-Token"]) == ("/services/secret-path", "secret-header")
    assert document["outcomes"] == ["rejected"]
    assert (document["scenario"], document["as_of"], document["run_key"]) == ("strict", AS_OF, entry.run_key)
    assert document["subject"] == f"A slice of the films: rejected as of {AS_OF}"
    (reason,) = document["lines"]
    assert reason == entry.reasons[0]
    assert ": fails, " in reason
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    assert document["link"] == f"{base}/plugin/models/model-board/scenarios/strict/runs/{entry.run_key}"
    assert document["text"] == "\n".join([document["subject"], reason, document["link"]])
    (message,) = mail.messages
    assert (message["Subject"], message["From"]) == (document["subject"], "airflow@example.com")
    assert [line.partition(":")[2] for line in mail.recipients] == ["<ops@example.com>", "<ml@example.com>"]
    assert document["link"] in body_of(message)


def body_of(message: Any) -> str:
    return str(message.get_payload()[0].get_payload(decode=True).decode())


def test_a_failed_run_is_told_once_with_its_fault_next_step_and_page(
    tmp_path: Path, parse_dags: ParseDags, mail: MailServer, hook: HookServer
) -> None:
    write_scenario(tmp_path, "lost", notify=NOTIFY)  # and there is no log
    champion(tmp_path, "2013-05-01", "lost")
    assert run_dag(tmp_path, parse_dags, "lost") == "failed"
    ((_, _, document),) = hook.posted
    assert document["outcomes"] == ["failed", "stale_champion"]
    assert document["subject"] == f"A slice of the films: failed as of {AS_OF}"
    fault, stale = document["lines"]
    assert fault.startswith("resolve: ")
    assert "; next step: " in fault
    assert stale.startswith("the champion is stale, as of 2013-05-01: it is 10 days older than this run")
    assert "/dags/train_lost/runs/manual__20" in document["link"]
    assert len(mail.messages) == 1


# ------------------------------------------------------------------------ the callbacks, called as Airflow calls them


def champion(root: Path, as_of: str, name: str = NAME) -> None:
    record = RunRecord("f" * 64, as_of, "promote", ["a <= 1: holds, it is 0"], {"name": name}, {}, "c0de")
    Registry(Store(str(root / ".store")), name).append(record)


@pytest.fixture
def tell(tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Return a function that records a verdict and calls the callbacks of a task that comes after it."""
    from dags import notifying

    def call(
        decision: str, *, task: str = "report", answer: bool | None = None, run_type: str = "scheduled", **sections: Any
    ) -> None:
        write_scenario(tmp_path, **{"notify": NOTIFY, **sections})
        monkeypatch.chdir(tmp_path)
        run = make_run(NAME, AsOf.parse(AS_OF), {}, str(tmp_path / ".store"))
        gate = run.store.publish(run.store.folder(NAME, AS_OF, "gate", "a" * 64), "a" * 64, Payload(), {}).ref
        registry, key = Registry(run.store, NAME), run_key(run, gate)
        document = run.scenario.model_dump(mode="json")
        registry.append(
            RunRecord(key, AS_OF, decision, [FAILED, "a <= 1: holds, it is 0"], document, {"gate": gate}, "c0de")
        )
        if answer is not None:
            record_approval(registry, key, approved=answer, by="ada", reason="answered", at="2013-05-11")
        monkeypatch.setattr(notifying, "run_spec", lambda context: RunSpec.of(run))
        made = [StageResult("gate", gate, False, 0.0, 0.0, 0.0).to_json()]
        dag = parse_dags(tmp_path).dags[f"train_{NAME}"]
        after: Any = dag.get_task(task)
        ran = SimpleNamespace(op_args=[made], results=made)
        for callback in after.on_success_callback if task == "report" else after.notifiers:
            callback({"dag": dag, "task": ran, "dag_run": SimpleNamespace(run_type=run_type)})

    return call


@pytest.mark.parametrize(
    ("decision", "options", "outcomes", "subject", "line"),
    [
        ("reject", {}, ["rejected"], "rejected as of 2013-05-11", FAILED),
        ("promote", {}, ["promoted"], "promoted as of 2013-05-11", FAILED),
        ("awaits_approval", {"answer": False}, ["rejected"], "not approved as of 2013-05-11", "ada"),
        ("awaits_approval", {"answer": True}, ["promoted"], "approved as of 2013-05-11", "ada"),
        (
            "awaits_approval",
            {"task": "publish.approve"},
            ["awaits_approval"],
            "awaits approval as of 2013-05-11",
            FAILED,
        ),
    ],
)
def test_each_outcome_has_its_subject_and_reason(
    decision: str,
    options: dict[str, Any],
    outcomes: list[str],
    subject: str,
    line: str,
    tell: Tell,
    hook: HookServer,
) -> None:
    tell(decision, **options)
    ((_, _, document),) = hook.posted
    assert document["outcomes"] == outcomes
    assert document["subject"] == f"A slice of the films: {subject}"
    assert line in document["lines"][0]


@pytest.mark.parametrize(
    ("decision", "options"),
    [
        ("dry_run:promote", {}),
        ("reject", {"run_type": "backfill"}),
        ("reject", {"notify": {"outcomes": ["promoted", "failed"], "to": TARGETS}}),
    ],
    ids=["dry run", "backfill", "not asked for"],
)
def test_nobody_is_told_of_other_outcomes(
    decision: str, options: dict[str, Any], tell: Tell, mail: MailServer, hook: HookServer
) -> None:
    tell(decision, **options)
    assert (mail.messages, hook.posted) == ([], [])


def test_a_run_that_leaves_a_newer_champion_says_so(tmp_path: Path, tell: Tell, hook: HookServer) -> None:
    champion(tmp_path, "2013-05-12")
    tell("promote")
    assert hook.posted[0][2]["subject"].endswith("promoted as of 2013-05-11; a newer run stays today's champion")


def test_a_stale_champion_is_told_in_the_message_of_the_run_or_in_one_of_its_own(
    tmp_path: Path, tell: Tell, hook: HookServer
) -> None:
    champion(tmp_path, "2013-05-04")
    tell("reject", notify={**NOTIFY, "stale_days": 8})
    tell("reject", notify={**NOTIFY, "stale_days": 7})
    tell("reject", notify={**NOTIFY, "outcomes": ["stale_champion"]})
    assert [document["outcomes"] for _, _, document in hook.posted] == [
        ["rejected"],
        ["rejected", "stale_champion"],
        ["stale_champion"],
    ]
    assert hook.posted[2][2]["subject"] == "A slice of the films: the champion is stale, as of 2013-05-04"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("closed", "webhook by the connection hook: the request failed (ConnectError)"),
        ("error", "webhook by the connection hook: the server answered 500"),
        ("absent", "webhook by the connection hook: there is no such connection"),
        ("no URL", "webhook by the connection hook: it has no URL: put the whole URL into its host"),
        ("mute", "webhook by the connection hook: the request failed (ReadTimeout)"),
        ("wrong token", "webhook by the connection hook: the server answered 401"),
        ("cut off", "webhook by the connection hook: the request failed (RemoteProtocolError)"),
        ("closed mail", "smtp by the connection mail: ConnectionRefusedError"),
        ("mute mail", "smtp by the connection mail: AirflowException"),
        ("wrong password", "smtp by the connection mail: SMTPAuthenticationError"),
        ("full mailbox", "smtp by the connection mail: SMTPDataError"),
    ],
)
def test_a_target_that_fails_is_one_warning_without_secrets_and_the_other_is_told(
    broken: str,
    told: str,
    tell: Tell,
    mail: MailServer,
    hook: HookServer,
    mute: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("dags.webhooks.SECONDS", 0.5)
    if broken == "mute":
        connect(monkeypatch, "HOOK", conn_type="http", host=f"http://127.0.0.1:{mute}/secret-path")
    elif broken in ("closed mail", "mute mail"):
        connect_mail(monkeypatch, mute if broken == "mute mail" else free_port())
    elif broken == "wrong password":
        login = {"login": "airflow", "password": "secret-password"}
        connect_mail(monkeypatch, mail.port, **login)
    elif broken == "closed":
        connect(monkeypatch, "HOOK", conn_type="http", host="http://127.0.0.1:9/secret-path")
    elif broken == "absent":
        monkeypatch.delenv("AIRFLOW_CONN_HOOK")
    elif broken == "no URL":
        connect(monkeypatch, "HOOK", conn_type="http", host="127.0.0.1", schema="secret-path")
    hook.status = {"error": 500, "wrong token": 401}.get(broken, 200)
    hook.cut = broken == "cut off"
    mail.full, mail.locked = broken == "full mailbox", broken == "wrong password"
    with caplog.at_level(logging.WARNING):
        tell("reject")
    (warning,) = [record.getMessage() for record in caplog.records if "notify" in record.getMessage()]
    assert told in warning
    assert "secret" not in caplog.text
    gc.collect()  # the mail client leaves a socket to a mute server open
    assert len(mail.messages) == ("mail" not in broken and broken != "wrong password")
    assert len(hook.posted) == (broken not in ("closed", "absent", "no URL", "mute"))


def test_what_cannot_be_read_is_one_warning(
    tell: Tell, hook: HookServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def damaged(*_: Any) -> None:
        raise ConfigError("the registry cannot be read")

    monkeypatch.setattr("dags.notifying._verdict", damaged)
    tell("reject")
    assert hook.posted == []
    assert caplog.text.count("no message is sent, as the outcome cannot be read (the registry cannot be read)") == 1


def test_a_message_is_no_template_and_no_markup(tell: Tell, mail: MailServer, hook: HookServer) -> None:
    title = "<b>Films</b> {{ conn.mail.host }} {{ 7 * 7 }}"
    tell("reject", title=title)
    assert hook.posted[0][2]["subject"] == f"{title}: rejected as of {AS_OF}"
    assert mail.messages[0]["Subject"] == f"{title}: rejected as of {AS_OF}"
    assert "&lt;b&gt;Films&lt;/b&gt; {{ conn.mail.host }}" in body_of(mail.messages[0])


# -------------------------------------------------------------------------------------------------------- the section


def test_a_scenario_without_the_section_has_no_callback_of_its_own(tmp_path: Path, parse_dags: ParseDags) -> None:
    write_scenario(tmp_path)
    dags = parse_dags(tmp_path).dags
    assert not any(dag.on_failure_callback for dag in dags.values())
    assert not dags[f"train_{NAME}"].get_task("report").on_success_callback


def test_a_target_whose_provider_is_missing_is_refused_with_the_command_and_stops_no_other_scenario(
    tmp_path: Path, parse_dags: ParseDags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtl_tasks.scenario.notify.SLACK_PACKAGE", "apache-airflow-providers-of-nobody")
    write_scenario(tmp_path, notify={"outcomes": ["failed"], "to": [{"slack": {"channel": "#models"}}]})
    write_scenario(tmp_path, "other")
    bag = parse_dags(tmp_path)
    assert sorted(bag.dags) == ["recommend_other", "train_other"]
    (fault,) = bag.import_errors.values()
    assert "small.yaml: notify.to.0.slack needs apache-airflow-providers-of-nobody, which is not installed" in fault
    assert "pip install apache-airflow-providers-of-nobody" in fault


def test_slack_is_told(tell: Tell, hook: HookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server = {"base_url": f"{hook.url}/api/"}
    secret = {"password": "xoxb-secret"}
    connect(monkeypatch, "CHAT", conn_type="slack", extra=server, **secret)
    slack = {"channel": "#models", "connection": "chat"}
    tell("reject", notify={"outcomes": ["rejected"], "to": [{"slack": slack}]}, title="Films <!channel>")
    ((path, headers, form),) = hook.posted
    assert path == "/api/chat.postMessage"
    assert headers["Authorization"] == "Bearer xoxb-secret"
    assert "Films &lt;!channel&gt;: rejected" in form["text"]


@pytest.mark.parametrize("broken", ["closed", "mute", "wrong token", "cut off"])
def test_slack_that_fails_is_one_warning_without_secrets(
    broken: str,
    tell: Tell,
    hook: HookServer,
    mute: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("airflow.providers.slack", reason="apache-airflow-providers-slack is not installed")
    ports, secret = {"closed": free_port(), "mute": mute}, {"password": "xoxb-secret"}
    server = f"http://127.0.0.1:{ports[broken]}/api/" if broken in ports else f"{hook.url}/api/"
    connect(monkeypatch, "CHAT", conn_type="slack", extra={"base_url": server, "timeout": 1}, **secret)
    hook.cut = broken == "cut off"
    if broken == "wrong token":
        hook.answer = b'{"ok": false, "error": "invalid_auth", "token": "xoxb-secret"}'
    slack = {"channel": "#models", "connection": "chat"}
    with caplog.at_level(logging.WARNING):
        tell("reject", notify={"outcomes": ["rejected"], "to": [{"slack": slack}]})
    (warning,) = [record.getMessage() for record in caplog.records if "notify" in record.getMessage()]
    assert "no message to slack by the connection chat: " in warning
    assert "secret" not in caplog.text
    assert len(hook.posted) == (broken not in ports)


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ({"outcomes": ["lost"]}, "notify.outcomes.0: Input should be 'rejected'"),
        ({"outcomes": ["failed", "failed"]}, "'failed' is duplicated: list each outcome once"),
        ({"to": []}, "notify.to: "),
        ({"to": [{}]}, "give exactly one of `smtp`, `webhook` and `slack`"),
        ({"to": [{**TARGETS[0], **TARGETS[1]}]}, "give exactly one of `smtp`, `webhook` and `slack`"),
        ({"to": [{"webhook": {"connection": "https://example.com/secret"}}]}, "notify.to.0.webhook.connection: "),
        ({"to": [{"smtp": {"to": "secret, ops@example.com"}}]}, "each entry must be one plain address"),
    ],
)
def test_a_section_that_cannot_be_used_is_refused_without_quoting_it(
    section: dict[str, Any], fault: str, tmp_path: Path
) -> None:
    path = write_scenario(tmp_path, notify={**NOTIFY, **section})
    with pytest.raises(ConfigError) as refused:
        load_scenario(NAME, folder=path.parent)
    assert fault in str(refused.value)
    assert "secret" not in str(refused.value)
