"""The request for a scheduler's run, and the documents that pass between its processes."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.pipeline.tasks import member_stages, prepare_run
from tests.conftest import PROJECT

NOW = datetime(2013, 8, 26, 9, 15, tzinfo=UTC)
RUN_ID = "manual__2013-08-26T09:15:00+00:00"
DEFAULTS: dict[str, Any] = {
    "as_of": None,
    "members": ["popularity", "als", "independent", "cascade", "shared_tail"],
    "fusion": "auto",
    "force": False,
    "train_days": 56,
    "tune_days": 7,
    "blend_days": 7,
    "test_days": 28,
    "device": "cpu",
    "threads": 2,
    "gate_mode": "enforce",
    "approval": "none",
}


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)


def ask(interval_end: datetime | None = None, now: datetime = NOW, **conf: Any) -> RunSpec:
    params = {**DEFAULTS, **{key: value for key, value in conf.items() if key in DEFAULTS}}
    return prepare_run(
        "movies",
        params,
        conf,
        run_id=RUN_ID,
        interval_end=interval_end,
        run_after=now,
        now=now,
        store="s3://bucket/models",
    )


@pytest.mark.faults(9)
@pytest.mark.parametrize(
    ("interval_end", "conf", "as_of"),
    [
        (datetime(2013, 8, 25, tzinfo=UTC), {}, "2013-08-25"),
        (datetime(2013, 8, 25, 6, 30, tzinfo=UTC), {}, "2013-08-25"),
        (datetime(2013, 8, 25, 1, tzinfo=timezone(timedelta(hours=2))), {}, "2013-08-24"),
        (datetime(2013, 8, 25, tzinfo=UTC), {"as_of": None}, "2013-08-25"),
        (datetime(2013, 8, 25, tzinfo=UTC), {"as_of": "2013-07-01"}, "2013-07-01"),
        (None, {}, "2013-08-26"),
        (None, {"as_of": "2013-07-01"}, "2013-07-01"),
    ],
)
def test_as_of_is_what_was_asked_for_else_the_end_of_the_interval_else_the_day_of_the_run(
    interval_end: datetime | None, conf: dict[str, Any], as_of: str, caplog: pytest.LogCaptureFixture
) -> None:
    rule = "as it was asked for" if conf.get("as_of") else "the run's data interval ends" if interval_end else "no data"
    with caplog.at_level("INFO", "mtl_tasks"):
        assert ask(interval_end, **conf).as_of.iso == as_of
    (said,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("as_of ")]
    assert said.startswith(f"as_of {as_of}: ")
    assert rule in said


@pytest.mark.faults(10)
@pytest.mark.parametrize(
    ("interval_end", "now", "as_of"),
    [
        (None, datetime(2013, 9, 1, 23, tzinfo=UTC), "2013-09-01"),
        (None, datetime(2013, 9, 2, tzinfo=UTC), "2013-09-02"),
        (None, datetime(2026, 11, 28, tzinfo=UTC), "2013-09-02"),
        (datetime(2013, 9, 5, tzinfo=UTC), datetime(2026, 11, 28, tzinfo=UTC), "2013-09-05"),  # as asked for: stale
    ],
)
def test_without_a_date_a_run_of_a_log_that_has_ended_is_of_the_day_after_its_last(
    interval_end: datetime | None, now: datetime, as_of: str
) -> None:
    assert ask(interval_end, now=now).as_of.iso == as_of


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"as_off": "2013-08-25"}, r"unknown parameter 'as_off', did you mean 'as_of'\? \(known: as_of, members, fus"),
        ({"gpu": True}, r"unknown parameter 'gpu' \(known: "),
        ({"as_of": "2013-08-27"}, "2013-08-27 is in the future"),
        ({"as_of": "yesterday"}, "'yesterday' is not a date"),
        ({"members": ["als"]}, "'popularity' must be a member"),
        ({"members": ["popularity", "magic"]}, "magic"),
        ({"fusion": "median"}, "fusion.method"),
        ({"as_of": 20130825}, r"as_of: must be a day as YYYY-MM-DD, or null \(got 20130825\)"),
        ({"as_of": False}, "as_of: must be a day"),
        ({"as_of": "../../etc"}, r"as_of '../../etc' is not a date"),
        ({"as_of": "0001-01-01"}, "as_of 0001-01-01 is before 1900-01-01"),
        ({"members": "popularity"}, r"members: must be a list of names \(got 'popularity'\)"),
        ({"members": ["popularity", {"als": [[]]}]}, "members: must be a list of names"),
        ({"members": ["popularity", "../../etc"]}, r"configuration: members: members.1: .*\(got '../../etc'\)"),
        ({"members": ["popularity", "als;rm -rf /"]}, "configuration: members: members.1: "),
        ({"force": "no"}, r"force: must be true or false \(got 'no'\)"),
        ({"force": 1}, "force: must be true or false"),
        ({"fusion": {"method": "mean"}}, "configuration: fusion: fusion.method: "),
        ({"train_days": 10**12}, r"configuration: train_days: windows.train: .* to 10000 \(got 1000000000000\)"),
        ({"train_days": math.nan}, r"configuration: train_days: windows.train: .* \(got nan\)"),
        ({"train_days": "56"}, "configuration: train_days: windows.train: "),
        ({"train_days": 56.0}, "configuration: train_days: windows.train: "),
        ({"tune_days": [7]}, "configuration: tune_days: windows.tune: "),
        ({"threads": True}, "configuration: threads: boosting.threads: "),
        ({"device": "cpu;rm"}, r"configuration: device: boosting.device: .*\(got 'cpu;rm'\)"),
        ({"gate_mode": None}, "configuration: gate_mode: gate.mode: "),
        ({"approval": {"a": {"b": []}}}, "configuration: approval: gate.approval: "),
    ],
)
def test_a_run_that_cannot_be_is_refused(conf: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ask(**conf)
    assert "\n" not in str(caught.value)


def test_choices_that_are_the_files_own_change_nothing() -> None:
    asked = ask(
        members=["shared_tail", "als", "independent", "cascade", "popularity"], fusion="auto", as_of="2013-08-25"
    )
    by_command = make_run("movies", AsOf.parse("2013-08-25"), {}, "s3://bucket/models")
    assert asked == RunSpec.of(by_command)
    assert asked.to_json() == {**RunSpec.of(by_command).to_json(), "overrides": {}}


def test_other_choices_are_overrides_in_the_order_of_the_members() -> None:
    asked = ask(members=["als", "popularity"], fusion="mean")
    assert asked.overrides == {"members": ["popularity", "als"], "fusion.method": "mean"}
    assert member_stages(asked, accelerated=False) == ["member:popularity", "member:als"]
    assert member_stages(asked, accelerated=True) == []


def test_every_setting_reaches_the_scenario() -> None:
    asked = ask(train_days=28, device="gpu", threads=1, gate_mode="dry_run", approval="required")
    scenario = asked.open().scenario
    assert (scenario.windows.train, scenario.windows.test) == (28, 28)
    assert (scenario.boosting.device, scenario.boosting.threads) == ("gpu", 1)
    assert (scenario.gate.mode, scenario.gate.approval) == ("dry_run", "required")
    assert sorted(asked.overrides) == [
        "boosting.device",
        "boosting.threads",
        "gate.approval",
        "gate.mode",
        "windows.train",
    ]


def test_members_that_grow_trees_go_to_the_gpu_if_they_use_it() -> None:
    asked = ask(members=["popularity", "als", "shared"], device="cuda")
    assert member_stages(asked, accelerated=True) == ["member:shared"]
    assert member_stages(asked, accelerated=False) == ["member:popularity", "member:als"]
    automatic = ask(members=["popularity", "shared"], device="auto")
    assert member_stages(automatic, accelerated=True) == []


def test_a_deep_member_goes_to_the_gpu_if_it_uses_it() -> None:
    run_spec = ask(members=["popularity", "shared", "deep"], device="cuda")
    assert member_stages(run_spec, accelerated=True) == ["member:shared"]
    document = json.loads(run_spec.scenario)
    document["deep"]["device"] = "gpu"
    on_gpu = run_spec.model_copy(update={"scenario": json.dumps(document)})
    assert member_stages(on_gpu, accelerated=True) == ["member:shared", "member:deep"]


def test_a_forced_run_has_the_schedulers_name_of_the_run_as_its_token() -> None:
    assert ask(force=True).force == RUN_ID  # tasks that are tried again reuse what the forced run has made
    assert ask().force is None
