"""A scenario file is read as it is meant, with its keys changed as asked for, or refused with the remedy."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.scenario import load_scenario, parse_scenario, parse_setting, scenario_names
from tests.support.logs import DOCUMENT


def write(folder: Path, text: str | None = None, **changes: Any) -> Path:
    document = {name: value for name, value in {**DOCUMENT, **changes}.items() if name != "name"}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document) if text is None else text)
    return folder


def test_the_shipped_scenarios_load() -> None:
    for name in scenario_names():
        scenario = load_scenario(name)
        assert scenario.name == name
        assert parse_scenario(json.loads(scenario.model_dump_json()), where="a registry entry") == scenario


def test_a_stored_document_with_a_date_in_it_loads() -> None:
    sql = {"url": "sqlite:///log.db", "query": "SELECT :start, :end", "start": datetime.date(2013, 5, 1)}
    source = {"sql": sql, "columns": DOCUMENT["source"]["columns"]}
    scenario = parse_scenario({**DOCUMENT, "source": source}, where="x")
    assert parse_scenario(json.loads(scenario.model_dump_json()), where="a registry entry") == scenario


def test_a_file_is_read_with_overrides_checked_like_the_file(tmp_path: Path) -> None:
    folder = write(tmp_path)
    scenario = load_scenario("tiny", {"windows.train": 28, "boosting.learning_rate": 0.1}, folder)
    assert (scenario.windows.train, scenario.boosting.learning_rate) == (28, 0.1)
    assert load_scenario("tiny", {}, folder).windows.train == DOCUMENT["windows"]["train"]
    assert scenario.file == "include/scenarios/tiny.yaml"
    with pytest.raises(ConfigError, match=r"tiny.yaml: unknown key 'windows.trian', did you mean 'train'\?"):
        load_scenario("tiny", {"windows.trian": 28}, folder)
    with pytest.raises(ConfigError, match=r"--set windows\.train\.days: 'train' is not a section"):
        load_scenario("tiny", {"windows.train.days": 28}, folder)


def test_an_unknown_scenario_names_the_nearest_and_the_known(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with pytest.raises(ConfigError, match=r"scenario 'tinny': no file .*, did you mean 'tiny'\? \(known: tiny\)"):
        load_scenario("tinny", folder=folder)
    with pytest.raises(ConfigError, match=r"\(known: none\)"):
        load_scenario("tiny", folder=tmp_path / "nowhere")


def test_a_copy_that_kept_the_name_of_its_original_is_refused(tmp_path: Path) -> None:
    write(tmp_path, yaml.safe_dump({**DOCUMENT, "name": "movies"}))
    with pytest.raises(ConfigError, match=r"tiny\.yaml: name: is 'movies' but must be the file's, 'tiny'"):
        load_scenario("tiny", folder=tmp_path)


SHOP = {"url_env": "SHOP"}


@pytest.mark.parametrize(
    ("given", "others", "key", "shown"),
    [
        ({"sql": SHOP}, {"sql": {**SHOP, "table": "recommendations", "keep": 3}}, "table", "recommendations"),
        ({"redis": {"url": "redis://a"}}, {"sql": SHOP, "redis": {"url": "redis://a"}}, "prefix", "recommendations:"),
        ({"parquet": {"path": "made/today"}}, {"parquet": {"path": "./made//today"}}, "path", "made/today"),
    ],
)
def test_two_scenarios_that_deliver_to_one_place_are_refused(
    given: dict[str, Any], others: dict[str, Any], key: str, shown: str, tmp_path: Path
) -> None:
    write(tmp_path, publish=others).joinpath("tiny.yaml").rename(tmp_path / "other.yaml")
    message = (
        rf"tiny.yaml: publish\.\w+\.{key}: scenarios 'tiny' and 'other' both deliver to '{shown}', and would replace "
        rf"each other's recommendations: give one of them another `{key}`$"
    )
    with pytest.raises(ConfigError, match=message):
        load_scenario("tiny", folder=write(tmp_path, publish=given))
    with pytest.raises(ConfigError, match="scenarios 'other' and 'tiny' both deliver"):
        load_scenario("other", folder=tmp_path)
    with pytest.raises(ConfigError, match="both deliver"):
        load_scenario("tiny", {"publish": given}, folder=write(tmp_path))


@pytest.mark.parametrize(
    "others",
    [
        {"publish": {"sql": {**SHOP, "table": "others"}, "redis": SHOP}},
        {"publish": {"sql": {**SHOP, "schema_name": "others"}}},
        {"publish": {"sql": {"url_env": "OTHER"}}},
        {"publish": {"sql": {**SHOP, "tabel": "recommendations"}}},  # loading that one says so
        {"publish": None},
        {"title": "publish"},
    ],
)
def test_scenarios_that_deliver_to_places_of_their_own_load(others: dict[str, Any], tmp_path: Path) -> None:
    write(tmp_path, **others).joinpath("tiny.yaml").rename(tmp_path / "other.yaml")
    assert load_scenario("tiny", folder=write(tmp_path, publish={"sql": SHOP})).publish.active


def test_a_key_may_replace_one_that_is_merged_into_its_section(tmp_path: Path) -> None:
    others = yaml.safe_dump({name: value for name, value in DOCUMENT.items() if name not in ("name", "windows")})
    written = "windows: {train: 8, tune: 2, blend: 2, test: 4}"
    merged = "windows: {<<: &inner {<<: {train: 9, tune: 2}, train: 7, blend: 2}, train: 8, test: 4}"
    plain, made = (load_scenario("tiny", folder=write(tmp_path, f"{others}{text}\n")) for text in (written, merged))
    assert made == plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML: while parsing"),
        ("a: {b: 1, c: 2, b: 3}", "not YAML: the key 'b' is duplicated in its section in .*, line 1, column 17"),
        ("? [1, 2]\n: 3", "not YAML: while constructing a mapping in .*found unhashable key"),
        ("- a\n- b\n", "expected a mapping of keys at the top, found list"),
        ("", "expected a mapping of keys at the top, found NoneType"),
        ("3", "expected a mapping of keys at the top, found int"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"tiny.yaml: {message}") as caught:
        load_scenario("tiny", folder=write(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"tiny\.yaml: not YAML"):
        load_scenario("tiny", folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("windows.train=28", ("windows.train", 28)),
        ("members=[popularity, als]", ("members", ["popularity", "als"])),
        ("title=a=b", ("title", "a=b")),
        ("source.timezone=", ("source.timezone", None)),
        ("gate.beat_floor=false", ("gate.beat_floor", False)),
    ],
)
def test_a_setting_is_a_key_and_a_value_in_yaml(text: str, expected: tuple[str, Any]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["windows.train", "=3", ""])
def test_a_setting_without_key_or_value_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected key=value, for example --set windows\.train=28"):
        parse_setting(text)


def test_a_setting_whose_value_is_no_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match="the value is not YAML"):
        parse_setting("members=[popularity")


def test_a_former_name_of_a_key_is_accepted_with_a_warning_that_names_the_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write(tmp_path, yaml.safe_dump({**DOCUMENT, "boosting": {"transfer": "champion"}}))
    assert load_scenario("tiny", folder=folder).boosting.warm_start == "champion"
    assert "tiny.yaml: boosting.transfer is now boosting.warm_start, and the old name is accepted until" in caplog.text
    caplog.clear()
    stored = {**DOCUMENT, "boosting": {"transfer": "champion"}}
    assert parse_scenario(stored, where="registry entry").boosting.warm_start == "champion"  # of a run of before
    assert not caplog.records
    assert load_scenario("tiny", {"boosting.warm_start": "none"}, folder).boosting.warm_start == "none"
    both = write(tmp_path, yaml.safe_dump({**DOCUMENT, "boosting": {"transfer": "champion", "warm_start": "none"}}))
    with pytest.raises(ConfigError, match=r"boosting\.transfer is the former name of boosting\.warm_start: remove"):
        load_scenario("tiny", folder=both)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validation.max_unjoined", {"like": 0.25}),
        ("validation.max_unjoined.like", 0.25),
        ("validation", {"max_unjoined": {"like": 0.25}}),
    ],
)
def test_a_warning_of_a_former_name_in_a_setting_names_the_setting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str, value: Any
) -> None:
    folder = write(tmp_path, yaml.safe_dump(DOCUMENT))
    assert load_scenario("tiny", {key: value}, folder).validation.max_unattributed == {"like": 0.25}
    (record,) = caplog.records
    assert record.getMessage().startswith(f"--set {key}: validation.max_unjoined is now validation.max_unattributed,")


def test_a_key_without_effect_is_accepted_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = load_scenario("tiny", folder=write(tmp_path, yaml.safe_dump(DOCUMENT)))
    old = {**DOCUMENT, "recommend": {"shortlist_factor": 8}}
    assert load_scenario("tiny", {"recommend.shortlist_factor": 4}, tmp_path).recommend == plain.recommend
    assert parse_scenario({"name": "tiny", **old}, where="registry entry").recommend == plain.recommend
    assert load_scenario("tiny", folder=write(tmp_path, yaml.safe_dump(old))).recommend == plain.recommend
    warnings = [record.getMessage() for record in caplog.records]
    ending = "recommend.shortlist_factor has no effect, and is accepted until the next release: remove it"
    assert warnings == [f"--set recommend.shortlist_factor: {ending}", f"{tmp_path / 'tiny.yaml'}: {ending}"]


def test_a_former_name_and_the_new_one_in_settings_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, yaml.safe_dump(DOCUMENT))
    settings = {"boosting.transfer": "none", "boosting.warm_start": "champion"}
    with pytest.raises(
        ConfigError, match=r"^--set boosting\.transfer: is the former name of boosting\.warm_start, which"
    ):
        load_scenario("tiny", settings, folder)
