"""A scenario is what its document says, or it is refused in one line that names the key and the remedy."""

from __future__ import annotations

import copy
import datetime
import math
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import Scenario, parse_scenario
from mtl_tasks.scenario.base import Model
from tests.support.logs import DOCUMENT, tiny_scenario

SQL = {"url": "sqlite:///log.db", "query": "SELECT * FROM log WHERE at >= :start AND at < :end", "start": "2013-05-01"}
SQL_SOURCE = {"sql": SQL, "columns": {"user": "person", "item": "film", "time": "at"}}

LONG: dict[str, Any] = {
    "events": "log",
    "columns": {"user": "person", "item": "film", "time": "at"},
    "layout": "long",
    "long": {"type": "what", "value": "how_much", "exposure": "view"},
}


@pytest.mark.faults(35)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret-word@host/log",
        "postgresql://me:s3cret/word@host/log",
        "mysql://host/log?password=s3cret-word",
        "mysql://host/log?ssl_PassPhrase=s3cret-word",
    ],
)
def test_a_url_with_a_password_is_refused_without_showing_it(url: str) -> None:
    document = spoilt("source", {**SQL_SOURCE, "sql": {**SQL, "url": url}})
    with pytest.raises(ConfigError, match=r"source\.sql: `url` holds a password: put the URL into") as caught:
        parse_scenario(document, where="include/scenarios/tiny.yaml")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://me@host:5432/log", "sqlite:////data/at:home@work.db", "redis://host:1/0"]
)
def test_a_url_without_a_password_is_accepted(url: str) -> None:
    document = spoilt("source", {**SQL_SOURCE, "sql": {**SQL, "url": url}})
    assert parse_scenario(document, where="include/scenarios/tiny.yaml").source.sql is not None


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("tracking", {"mlflow": {"uri": "https://ann:s3cret-word@mlflow.example.com"}}),
        ("tracking", "https://ann:s3cret-word@mlflow.example.com"),
        ("publish", {"sql": {"url": "postgresql://me:s3cret-word@host/log\n"}}),
        ("publish", {"redis": {"url": ["redis://:s3cret-word@host"]}}),
        ("publish", {"redis": "redis://:s3cret-word@host"}),
    ],
)
def test_a_refused_address_of_a_server_is_not_shown(section: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"tiny\.yaml: {section}") as caught:
        parse_scenario({**DOCUMENT, section: value}, where="include/scenarios/tiny.yaml")
    assert "s3cret-word" not in str(caught.value)


def spoilt(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    *parents, leaf = path.split("/")
    section: Any = document
    for parent in parents:
        section = section[int(parent) if isinstance(section, list) else parent]
    if value is KeyError:
        del section[leaf]
    else:
        section[leaf] = value
    return document


@pytest.mark.faults(10)
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        # misspelled keys
        ("taskz", {}, r"unknown key 'taskz', did you mean 'tasks'\?"),
        ("windows/tets", 3, r"unknown key 'windows.tets', did you mean 'test'\?"),
        ("source/columns/usr", "x", r"unknown key 'source.columns.usr', did you mean 'user'\?"),
        ("source/items/tittle", "x", r"unknown key 'source.items.tittle', did you mean 'title'\?"),
        ("tasks/rating/lable", "x", r"unknown key 'tasks.rating.lable', did you mean 'label'\?"),
        ("tasks/like/negatives/hwo", "x", r"unknown key 'tasks.like.negatives.hwo', did you mean 'how'\?"),
        ("gate/absolute/0/metrc", "x", r"unknown key 'gate.absolute.0.metrc', did you mean 'metric'\?"),
        ("zzz", 1, "unknown key 'zzz'"),
        # settings of LightGBM that do not go with leaves of each task's own
        ("boosting", {"boosting_type": "dart"}, r"boosting: 'boosting_type' is not offered: .* dart rescales earlier"),
        ("boosting", {"linear_tree": True}, r"boosting: 'linear_tree' is not offered: .* must be constants$"),
        ("boosting", {"use_quantized_grad": True}, "boosting: 'use_quantized_grad' is not offered: it was slower"),
        ("boosting", {"extra_trees": True}, "unknown key 'boosting.extra_trees'"),
        (
            "boosting",
            {"device": "tpu"},
            r"boosting.device: Input should be 'auto', 'cpu', 'gpu' or 'cuda' \(got 'tpu'\)",
        ),
        ("boosting", [1], "boosting: Input should be a valid dictionary"),
        ("tasks/like/scale", "log", r"`scale: log` is for a regression whose range begins at 0 or above"),
        ("tasks/like/loss", "log_loss", "tasks.like: `loss` is for a regression: a binary task is learned by log loss"),
        ("tasks/rating/above", 3, "tasks.rating: `above` is for a binary task with a `label` column"),
        ("tasks/purchase/above", 3, "tasks.purchase: `above` is for a binary task with a `label` column"),
        ("source/signals", {"cart": {"above": 3}}, "source.signals.cart.column: Field required"),
        ("source/signals", {"like": "x"}, "source.signals: 'like' is a task already: leave it out"),
        (
            "factors",
            {"signals": {"lke": 1}},
            r"factors.signals: 'lke' is not a binary task or signal, did you mean 'like'",
        ),
        ("factors", {"signals": {"like": 0}}, "factors.signals: no signal has a weight above 0"),
        ("source/context", {"serve": {"tab": "user"}}, "source.context: `serve` names 'tab', which is not a context"),
        (
            "source/context",
            {"numeric": {"hour": "h"}, "calendar": True},
            "source.context: 'hour' is duplicated",
        ),
        # missing and mistyped values
        ("windows/train", KeyError, "windows.train: Field required"),
        ("source", KeyError, "source: Field required"),
        ("windows/train", "long", r"windows.train: Input should be a valid integer.* \(got 'long'\)"),
        ("windows/train", 0, r"windows.train: Input should be greater than or equal to 1 \(got 0\)"),
        ("windows", [1, 2], "windows: Input should be a valid dictionary"),
        ("source/format", "xml", r"source.format: Input should be 'parquet' or 'csv' \(got 'xml'\)"),
        ("name", "My Log", r"name: String should match pattern .* \(got 'My Log'\)"),
        ("tasks", {}, "tasks: Dictionary should have at least 1 item"),
        ("tasks", {"Rating!": {"kind": "binary"}}, "tasks.Rating!"),
        ("tasks/rating/kind", "ranking", "tasks.rating.kind: Input should be 'regression' or 'binary'"),
        ("validation", {"max_bad_fraction": -1}, r"validation.max_bad_fraction: Input .* equal to 0 \(got -1\)"),
        ("tasks/rating/range", [0], "tasks.rating.range"),
        # conflicts
        ("source/events", KeyError, "source: give exactly one of `events` and `sql`"),
        ("source/layout", "long", "source: the section `long` and `layout: long` go together"),
        ("source/long", {"type": "what", "exposure": "view"}, "source: the section `long` and `layout: long` go"),
        ("source", {**LONG, "long": {"type": "what", "exposure": "view"}}, "tasks.rating predicts an event's value"),
        (
            "source",
            {**LONG, "signals": {"cart": {"column": "cart", "above": 3}}},
            "source.signals.cart: `above` compares",
        ),
        ("source", {**LONG, "long": {**LONG["long"], "exposure": "liked"}}, "tasks.like.label is the type of the exp"),
        ("source/sql", SQL, "source: give exactly one of `events` and `sql`"),
        ("source", {**SQL_SOURCE, "format": "csv"}, "source: `format` belongs to `events` only"),
        ("source", {**SQL_SOURCE, "sql": {**SQL, "url_env": "SHOP"}}, "source.sql: give exactly one of `url` and"),
        ("source", {**SQL_SOURCE, "sql": {**SQL, "query": "SELECT 1 WHERE :start"}}, "`query` must hold :end"),
        ("source", {**SQL_SOURCE, "sql": {**SQL, "query": "SELECT x::start, :end"}}, "`query` must hold :start"),
        ("tasks/rating/label", KeyError, r"tasks.rating: a regression task needs `label` and `range: \[low, high\]`"),
        ("tasks/rating/range", KeyError, "tasks.rating: a regression task needs `label` and `range"),
        ("tasks/rating/range", [5, 5], r"tasks.rating: `range` must be \[low, high\] with low < high"),
        ("tasks/rating/negatives", {"how": "sampled"}, "tasks.rating: `negatives` belongs to binary tasks only"),
        ("tasks/purchase/negatives", KeyError, "tasks.purchase: a binary task without a `label` column needs"),
        ("tasks/purchase/negatives", {"how": "logged"}, "tasks.purchase: a binary task without a `label` column"),
        (
            "tasks/like/negatives",
            {"how": "sampled", "per_positive": 9},
            "must set `negatives` to the same value, as they share the rows",
        ),
        ("members", ["als", "als", "popularity"], "members: 'als' is duplicated"),
        ("members", ["als"], "members: 'popularity' must be a member"),
        (
            "members",
            ["popularity", "xgboost"],
            "members.1: Input should be 'popularity', 'als', 'linear', 'independent', 'cascade', 'shared', "
            "'shared_tail', 'distilled' or 'deep'",
        ),
        ("features", {"windows": [14]}, "features.windows: 7 must be one of the lengths"),
        ("features", {"windows": []}, "features.windows: 7 must be one of the lengths"),
        ("features", {"windows": [7, 7]}, "features.windows: lengths must be different whole days of 1 or more"),
        (
            "features",
            {"windows": [7, -1]},
            r"features.windows.1: Input should be greater than or equal to 1 \(got -1\)",
        ),
        ("gate", {"absolute": [{"task": "ratng", "metric": "rmse", "max": 1}]}, r"gate: unknown task 'ratng', did you"),
        ("gate", {"relative": [{"task": "x", "metric": "rmse", "margin": 1}]}, "gate: unknown task 'x'"),
        ("gate", {"relative": [{"task": "rating", "metric": "rmse", "margin": -1}]}, "gate.relative.0.margin"),
        ("gate/absolute/0/min", 1, "gate.absolute.0: give exactly one of `min` and `max`"),
        ("gate/absolute/0/max", KeyError, "gate.absolute.0: give exactly one of `min` and `max`"),
        ("gate", {"mode": "off"}, "gate.mode: Input should be 'enforce' or 'dry_run'"),
        ("recommend", {"top_k": 0}, "recommend.top_k: Input should be greater than or equal to 1"),
        # numbers out of bounds, or none
        ("windows/train", 10**12, r"windows.train: Input should be less than or equal to 10000 \(got 1000000000000\)"),
        ("windows/train", True, r"windows.train: Input should be a valid integer \(got True\)"),
        ("windows/train", 28.0, r"windows.train: Input should be a valid integer \(got 28.0\)"),
        ("gate", {"approval_hours": math.inf}, r"gate.approval_hours: Input should be a finite number \(got inf\)"),
        ("gate", {"approval_hours": 1e12}, "gate.approval_hours: Input should be less than or equal to 8760"),
        ("gate", {"beat_floor": "yes"}, r"gate.beat_floor: Input should be a valid boolean \(got 'yes'\)"),
        ("tasks/rating/range", [0, math.nan], r"tasks.rating.range.1: Input should be a finite number \(got nan\)"),
        ("boosting", {"shared": {"leaf_l2": -1}}, r"boosting.shared.leaf_l2: Input .* equal to 0 \(got -1\)$"),
        ("boosting", {"shared": {"leaf_l2": {"like": "1"}}}, "boosting.shared.leaf_l2.like: Input .* valid number"),
        ("source", {**SQL_SOURCE, "sql": {**SQL, "start": 20130501}}, "source.sql.start: write the day as YYYY-MM-DD$"),
        ("source", {**SQL_SOURCE, "sql": {**SQL, "start": "0001-01-01"}}, "source.sql.start: .* equal to 1900-01-01"),
        # names and texts
        ("name", "champion", "name: is a choice of boosting.warm_start, which names scenarios"),
        ("tasks", {"return": {"kind": "binary"}, **DOCUMENT["tasks"]}, "tasks.return: a binary task without"),
        ("tasks", {"return": DOCUMENT["tasks"]["like"]}, "tasks: 'return' is a Python keyword, so that no formula"),
        (
            "tasks",
            {"ranking": DOCUMENT["tasks"]["like"]},
            "tasks: 'ranking' is reserved for recommendations in",
        ),
        ("tasks", {"a" * 41: DOCUMENT["tasks"]["like"]}, "tasks.a+: String should match pattern"),
        ("title", datetime.date(2013, 5, 1), r"title: .* valid string \(got datetime.date.*; put text .* in quotes"),
        ("title", "", "title: String should have at least 1 character"),
        ("owner", "a" * 101, r"owner: String should have at most 100 characters"),
        ("schedule", "0 " * 100, r"schedule: String should have at most 100 characters"),
        ("source/items/categorical", {"\n": 1}, r"'source\.items\.categorical\.\\n"),
        ("owner_link", "wiki/films", r"owner_link: must be an address without a password"),
        ("owner_link", "https://me:hunter@wiki.example.com", r"owner_link: must be an address without a password"),
        ("owner_link", "javascript:alert(1)", r"owner_link: must be an address without a password"),
        ("owner", "a\nb", r"owner: must be one line, without control characters \(got 'a\\nb'\)"),
        ("source/columns/user", "x" * 1001, "source.columns.user: String should have at most 1000 characters"),
        ("x" * 500, 1, "unknown key 'x{80}…'$"),
    ],
)
def test_a_wrong_document_is_refused_in_one_line(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_scenario(spoilt(path, value), where="include/scenarios/tiny.yaml")
    assert str(caught.value).startswith("include/scenarios/tiny.yaml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["url", "url_env"])
def test_what_may_hold_a_password_is_not_shown(key: str) -> None:
    wrong = {**SQL, "url": None, key: "postgresql://me:s3cret-word@host\n/log"}
    with pytest.raises(ConfigError, match=rf"source\.sql\.{key}: ") as caught:
        parse_scenario(spoilt("source", {**SQL_SOURCE, "sql": wrong}), where="x")
    assert "s3cret-word" not in str(caught.value)


def _sections(section: Any = Scenario) -> Iterator[type[Model]]:
    """A section with those in it, found as the annotations name them."""
    if isinstance(section, type) and issubclass(section, Model):
        yield section
        for field in section.model_fields.values():
            yield from _sections(field.annotation)
    for part in get_args(section):
        yield from _sections(part)


def _numbers(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") in ("integer", "number"):
            yield schema
        schema = list(schema.values())
    for part in schema if isinstance(schema, list) else ():
        yield from _numbers(part)


NUMERIC = sorted(
    {
        (section.__name__, key): (section, key)
        for section in _sections()
        for key, schema in section.model_json_schema(ref_template="{model}")["properties"].items()
        if any(_numbers(schema))
    }.items()
)


def test_all_sections_are_found() -> None:
    assert len(set(_sections())) > 20
    assert len(NUMERIC) > 50


@pytest.mark.parametrize(
    ("section", "key"), [place for _, place in NUMERIC], ids=[".".join(name) for name, _ in NUMERIC]
)
def test_every_number_has_bounds_and_is_a_finite_number(section: Any, key: str) -> None:
    for schema in _numbers(section.model_json_schema()["properties"][key]):
        assert schema.keys() & {"minimum", "exclusiveMinimum"}
        assert schema.keys() & {"maximum", "exclusiveMaximum"}
    for wrong in (True, "1", math.nan, math.inf, -1e300, 1e300, 10**400):
        for value in (wrong, [wrong], [1, wrong], {"like": wrong}):
            with pytest.raises(ValidationError) as caught:
                section.model_validate({key: value})
            assert key in {error["loc"][0] for error in caught.value.errors()}


def test_of_many_errors_the_first_are_told() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'k0'; .*; unknown key 'k9'; and 30 more$"):
        parse_scenario({**DOCUMENT, **{f"k{n}": n for n in range(40)}}, where="x")


def test_words_that_only_look_reserved_may_name_tasks() -> None:
    names = ["match", "case", "type", "inf", "list", "sin", "utility", "label", "gate", "als"]
    tasks = dict.fromkeys(names, DOCUMENT["tasks"]["like"])
    document = {**DOCUMENT, "tasks": tasks, "gate": {}, "recommend": {"utility": " + ".join(names)}}
    scenario = parse_scenario(document, where="x")
    assert scenario.formula.evaluate(dict.fromkeys(names, 2.0)) == 20


def test_every_error_of_a_document_is_told_at_once() -> None:
    document = spoilt("windows/trian", 3)
    document["seed"] = -1
    with pytest.raises(ConfigError, match=r"seed: .* \(got -1\); .*|unknown key .*; seed") as caught:
        parse_scenario(document, where="x")
    assert "did you mean 'train'?" in str(caught.value)


def test_a_scenario_cannot_be_changed_and_survives_json() -> None:
    scenario = tiny_scenario()
    with pytest.raises(ValueError, match="frozen"):
        scenario.windows.train = 3  # type: ignore[misc]
    assert parse_scenario(scenario.model_dump(mode="json"), where="x") == scenario


def test_tasks_by_kind_stand_in_the_order_of_the_file() -> None:
    scenario = tiny_scenario()
    assert scenario.tasks_of("regression") == ["rating"]
    assert scenario.tasks_of("binary") == ["like", "purchase"]
    assert [scenario.tasks[name].sampled for name in ("rating", "like", "purchase")] == [False, False, True]


@pytest.mark.parametrize(
    ("recommend", "target"),
    [
        ({"utility": "like"}, ("like",)),
        ({"utility": "purchase * rating"}, ("purchase",)),
        ({"utility": "like + 2 * purchase"}, ("like", "purchase")),
        ({"utility": "rating"}, ("rating",)),
        ({"utility": "like", "target": ["rating", "purchase"]}, ("rating", "purchase")),
        ({}, ("like",)),
    ],
)
def test_lists_are_judged_by_the_binary_tasks_of_the_utility_unless_others_are_named(
    recommend: dict[str, Any], target: tuple[str, ...]
) -> None:
    assert tiny_scenario(recommend=recommend).target == target


@pytest.mark.parametrize(
    ("recommend", "message"),
    [
        ({"target": ["lik"]}, "recommend.target: unknown task 'lik', did you mean 'like'"),
        (
            {"utility": "like", "gains": {"rating": 2.0}},
            r"recommend.gains: 'rating' is not a target.* \(targets: like\)",
        ),
        ({"gains": {"like": 0.0}}, "recommend.gains.like: Input should be greater than 0"),
        ({"ranker": "softmx"}, "recommend.ranker"),
        ({"reranking": {"at_most": {"brand": 2}}}, "recommend.reranking.at_most.brand: 'brand' is not a categorical"),
    ],
)
def test_what_recommendations_cannot_be_made_by_is_refused(recommend: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_scenario(recommend=recommend)
