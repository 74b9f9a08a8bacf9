"""Drafting a scenario from an unknown log: it loads, says what it guessed, and guesses nothing silently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.onboarding.draft import Chosen, draft, write_draft
from mtl_tasks.onboarding.yaml_text import key, quoted
from mtl_tasks.scenario import Scenario, load_scenario
from tests.support.logs import tiny_items, tiny_log, write_log


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drafted(
    rows: pd.DataFrame, items: str | None = None, chosen: Chosen | None = None, name: str = "log.csv"
) -> Scenario:
    if name.endswith("csv"):
        rows.to_csv(name, index=False)
    else:
        rows.to_parquet(name, index=False)
    Path("include/scenarios/shop.yaml").unlink(missing_ok=True)
    write_draft("shop", name, items, chosen or Chosen())
    return load_scenario("shop")


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_columns_are_told_by_name_and_content_in_either_format(name: str) -> None:
    rows = tiny_log().rename(columns={"seen_at": "when"})
    scenario = drafted(rows, name=name)
    assert (scenario.source.columns.user, scenario.source.columns.item) == ("person", "film")
    assert scenario.source.columns.time == "when"
    assert {task: (t.kind, t.label) for task, t in scenario.tasks.items()} == {
        "stars": ("regression", "stars"),
        "liked": ("binary", "liked"),
    }
    assert scenario.tasks["stars"].range == (0, 10)
    assert not scenario.gate.absolute


def test_a_partitioned_log_is_told_and_spans_its_partitions() -> None:
    write_log(Path())
    write_draft("shop", "log", "films.parquet", Chosen())
    scenario = load_scenario("shop")
    assert (scenario.source.events, scenario.source.format) == ("log", "parquet")
    items = scenario.source.items
    assert items is not None
    assert (items.id, items.title, items.numeric, items.multi) == (
        "film",
        "name",
        {"year": "year"},
        {"genres": "genres"},
    )
    windows = scenario.windows
    assert windows.train + windows.tune + windows.blend + windows.test + windows.min_history <= 6


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 1000), ("us", 1_000_000)])
def test_the_unit_of_integer_times_is_that_of_plausible_years(unit: str, per_second: int) -> None:
    seconds = tiny_log()["seen_at"].astype("int64") // 1_000_000
    assert drafted(tiny_log().assign(seen_at=seconds * per_second)).source.time_unit == unit


def test_times_without_a_zone_get_one_that_is_marked_as_a_guess() -> None:
    rows = tiny_log().assign(seen_at=tiny_log()["seen_at"].dt.tz_localize(None))
    assert drafted(rows).source.timezone == "UTC"
    assert "timezone: UTC # guess: the times carry no zone" in Path("include/scenarios/shop.yaml").read_text()
    assert drafted(tiny_log()).source.timezone is None


def test_a_log_of_events_of_several_types_is_read_as_one() -> None:
    rows = tiny_log().drop(columns=["stars", "liked"])
    kinds = np.array(["view", "view", "purchase", "rate"])[np.arange(len(rows)) % 4]
    value = np.where(kinds == "rate", np.arange(len(rows)) % 5 + 1.0, np.nan)
    scenario = drafted(rows.assign(event=kinds, value=value))
    assert scenario.source.long is not None
    assert (scenario.source.long.type, scenario.source.long.exposure, scenario.source.long.value) == (
        "event",
        "view",
        "value",
    )
    assert {name: task.kind for name, task in scenario.tasks.items()} == {"purchase": "binary", "rate": "regression"}


def test_without_a_label_every_row_is_a_positive() -> None:
    scenario = drafted(tiny_log()[["person", "film", "seen_at"]])
    assert {name: task.sampled for name, task in scenario.tasks.items()} == {"taken": True}


def test_a_label_that_is_always_one_has_its_negatives_drawn() -> None:
    rows = tiny_log().assign(liked=np.where(tiny_log()["liked"] == 1, 1.0, np.nan))
    assert drafted(rows).tasks["liked"].sampled


def test_ids_of_unknown_names_are_told_if_there_is_one_choice_only() -> None:
    many = pd.concat([tiny_log().assign(person=n) for n in range(50)], ignore_index=True)
    scenario = drafted(many.rename(columns={"person": "uuid"}).drop(columns="stars"))
    assert scenario.source.columns.user == "uuid"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"person": "a", "film": "b"}, "no column looks like the user: name it with --user"),
        ({"seen_at": None}, "no column looks like the time: name it with --time"),
    ],
)
def test_what_cannot_be_told_is_asked_for(columns: dict[str, Any], problem: str) -> None:
    gone = [name for name, new in columns.items() if new is None]
    rows = tiny_log().drop(columns=gone).rename(columns=columns)
    with pytest.raises(ConfigError, match=problem):
        drafted(rows)


def test_a_column_that_the_caller_names_is_taken_and_must_exist() -> None:
    rows = tiny_log().rename(columns={"person": "a", "film": "b"})
    columns = drafted(rows, chosen=Chosen(user="a", item="b")).source.columns
    assert (columns.user, columns.item) == ("a", "b")
    with pytest.raises(ConfigError, match=r"--user person: no such column in log\.csv .*it has a, b"):
        drafted(rows, chosen=Chosen(user="person"))


def test_an_existing_scenario_is_not_written_over() -> None:
    drafted(tiny_log())
    before = Path("include/scenarios/shop.yaml").read_text()
    with pytest.raises(ConfigError, match="exists already, and init does not write over it"):
        write_draft("shop", "log.csv", None, Chosen())
    assert Path("include/scenarios/shop.yaml").read_text() == before


def test_a_name_that_cannot_be_one_is_refused() -> None:
    tiny_log().to_csv("log.csv", index=False)
    with pytest.raises(ConfigError, match="name: String should match pattern"):
        write_draft("My Shop", "log.csv", None, Chosen())
    assert not Path("include/scenarios").exists()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere.csv", "--events nowhere.csv: no such file or folder"),
        ("films", "holds part-0.csv: give one file, or write the log so"),
        ("log.xlsx", "neither a .parquet nor a .csv"),
    ],
)
def test_a_log_that_cannot_be_read_is_named(path: str, problem: str) -> None:
    Path("films").mkdir()
    Path("films/part-0.csv").touch()
    Path("log.xlsx").touch()
    with pytest.raises(DataError, match=problem):
        draft("shop", path, None, Chosen())


def test_a_table_of_other_items_is_refused() -> None:
    tiny_items().assign(film=lambda table: table["film"] + 5000, year=2.5).to_csv("items.csv", index=False)
    with pytest.raises(ConfigError, match="no column holds an id of the log's column 'film'"):
        drafted(tiny_log(), items="items.csv")


def test_a_column_whose_name_no_task_can_have_is_drafted_under_another() -> None:
    scenario = drafted(tiny_log().rename(columns={"liked": "return", "stars": "ranking"}))
    assert {task: t.label for task, t in scenario.tasks.items()} == {"ranking_": "ranking", "return_": "return"}
    assert [key(name) for name in ("Return", "on", "null")] == ["return_", "on_", "null_"]


# ------------------------------------------------------------------------------------- logs from elsewhere


def _repeat_a_column() -> None:
    table = pa.Table.from_pandas(tiny_log(), preserve_index=False)
    pq.write_table(table.append_column("person", table["person"]), "log.parquet")


def _partition(name: str) -> None:
    Path(f"log.parquet/{name}").mkdir(parents=True)
    tiny_log().to_parquet(f"log.parquet/{name}/part-0.parquet")


def test_a_column_of_ids_goes_before_one_that_only_holds_the_word() -> None:
    rows = tiny_log().rename(columns={"person": "personId"}).assign(userRegion="north", user_agent="x")
    rows["userRegion"] = [f"region {n % 7}" if n % 5 else None for n in range(len(rows))]
    columns = drafted(rows.drop(columns="stars")).source.columns
    assert (columns.user, columns.item) == ("personId", "film")


def test_ids_of_which_one_was_written_as_a_float_are_compared_as_texts() -> None:
    many = pd.concat([tiny_log()] * 40, ignore_index=True)
    many["film"] = (900_000 + many["film"]).astype("str")
    many.loc[many.index[7], "film"] = "9e+05"
    items = tiny_items().assign(film=lambda table: table["film"] + 900_000)
    items.to_csv("items.csv", index=False)
    assert drafted(many, items="items.csv").source.items is not None


@pytest.mark.parametrize(
    ("name", "values", "separator"),
    [
        ("films.parquet", [["a", "b"], ["b"]] * 4, "|"),
        ("films.csv", ["red, round", "round"] * 4, ","),
        ("films.csv", ["red;round", "round"] * 4, ";"),
    ],
)
def test_lists_and_texts_with_separators_are_several_values(name: str, values: list[Any], separator: str) -> None:
    items = tiny_items().drop(columns="genres").assign(tags=values)
    _ = items.to_csv(name, index=False) if name.endswith("csv") else items.to_parquet(name, index=False)
    section = drafted(tiny_log(), items=name).source.items
    assert section is not None
    assert (section.multi, section.separator) == ({"tags": "tags"}, separator)


def test_a_stray_sign_makes_no_list_and_prose_is_none() -> None:
    brands = [f"brand {n % 4}" for n in range(300)]
    brands[3] = "M|LASH"
    prose = [f"A long sentence, number {n}, that nobody would take for a list of short values" for n in range(300)]
    items = pd.DataFrame({"film": np.arange(1, 301), "brand": brands, "blurb": prose})
    items.to_csv("films.csv", index=False)
    section = drafted(tiny_log(), items="films.csv").source.items
    assert section is not None
    assert (section.categorical, section.multi) == ({"brand": "brand"}, {})


def test_counts_and_means_of_all_time_are_left_out_with_the_reason() -> None:
    tiny_items().assign(avg_rating=3.5, num_ratings=7, num_fans=2, pages=100).to_csv("films.csv", index=False)
    section = drafted(tiny_log(), items="films.csv").source.items
    assert section is not None
    assert section.numeric == {"year": "year", "pages": "pages"}
    text = Path("include/scenarios/shop.yaml").read_text()
    assert "know what happens in the test window: avg_rating, num_ratings, num_fans" in text


def test_items_that_the_table_lacks_keep_their_rows() -> None:
    tiny_items().head(5).to_csv("films.csv", index=False)
    section = drafted(tiny_log(), items="films.csv").source.items
    assert section is not None
    assert section.missing == "allow"
    tiny_items().to_csv("films.csv", index=False)
    section = drafted(tiny_log(), items="films.csv").source.items
    assert section is not None
    assert section.missing == "quarantine"


def test_ids_of_other_things_are_no_labels_and_a_log_of_ratings_gets_a_task_of_choice() -> None:
    rows = tiny_log().drop(columns="liked").assign(rating_id=np.arange(len(tiny_log())) % 9)
    tasks = drafted(rows).tasks
    assert set(tasks) == {"stars", "taken"}
    assert tasks["taken"].sampled


def test_names_that_make_one_key_are_told_apart() -> None:
    rows = tiny_log().assign(Liked=tiny_log()["liked"], taken=np.arange(len(tiny_log())) % 5).drop(columns="stars")
    assert {task: t.label for task, t in drafted(rows).tasks.items()} == {
        "liked": "liked",
        "liked_2": "Liked",
        "taken_2": "taken",
    }
    tiny_items().assign(Year=1.5, user_id=7).to_csv("films.csv", index=False)
    section = drafted(tiny_log(), items="films.csv").source.items
    assert section is not None
    assert section.numeric == {"year": "year", "year_2": "Year", "user_id_2": "user_id"}


@pytest.mark.parametrize("values", ["31/12/2013", None])
def test_a_column_that_is_no_time_is_not_taken_for_one(values: str | None) -> None:
    rows = tiny_log().assign(when=values, person=lambda log: log["person"] + 1_000_000_000)
    with pytest.raises(
        ConfigError, match=r"--time when: the column (holds text and no times|has no value) in log\.csv"
    ):
        drafted(rows, chosen=Chosen(time="when"))


def test_a_flag_without_a_value_is_no_label() -> None:
    rows = tiny_log().assign(never=pd.array([None] * len(tiny_log()), dtype="boolean"))
    assert "never" not in drafted(rows, name="log.parquet").tasks


@pytest.mark.parametrize("burst", [0.0, 0.9])
def test_every_window_of_a_draft_holds_rows_however_they_lie_in_time(burst: float) -> None:
    rng = np.random.default_rng(3)
    days = np.where(rng.random(4000) < burst, rng.integers(0, 60, 4000), rng.integers(0, 900, 4000))
    rows = pd.DataFrame(
        {
            "person": rng.integers(0, 90, 4000),
            "film": rng.integers(0, 50, 4000),
            "seen_at": pd.Timestamp("2020-01-01", tz="UTC") + pd.to_timedelta(np.sort(days), unit="D"),
            "stars": rng.integers(1, 6, 4000),
        }
    )
    windows = drafted(rows).windows
    end = int(days.max()) + 1
    for name in ("test", "blend", "tune", "train"):
        start = end - getattr(windows, name)
        assert ((days >= start) & (days < end)).sum() >= 100, name
        end = start
    assert (days < end).sum() >= 400


def test_one_time_of_the_year_9999_does_not_stretch_the_windows() -> None:
    rows = tiny_log()
    rows["seen_at"] = rows["seen_at"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows.loc[0, "seen_at"] = "9999-12-31T00:00:00Z"
    windows = drafted(rows).windows
    assert windows.train + windows.tune + windows.blend + windows.test <= 6


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        (lambda: tiny_log().head(0).to_parquet("log.parquet"), r"no row in the 1 files that were read"),
        (_repeat_a_column, r"--events log\.parquet: the column 'person' is duplicated: give each column its own name"),
        (lambda: _partition("dt=20240105"), r"one folder a day named dt=YYYY-MM-DD, this one holds dt=20240105"),
        (lambda: _partition("dt=__HIVE_DEFAULT_PARTITION__"), r"this one holds dt=__HIVE_DEFAULT_PARTITION__"),
        (lambda: _partition("dt=2024-02-30"), r"this one holds dt=2024-02-30"),
    ],
)
def test_a_log_that_is_no_log_is_refused_in_one_line(prepare: Callable[[], None], problem: str) -> None:
    prepare()
    with pytest.raises(DataError, match=problem):
        draft("shop", "log.parquet", None, Chosen())


def test_a_zone_that_this_machine_does_not_know_is_no_obstacle() -> None:
    table = pa.Table.from_pandas(tiny_log(), preserve_index=False)
    at = table.column_names.index("seen_at")
    pq.write_table(
        table.set_column(at, "seen_at", table["seen_at"].cast(pa.timestamp("us", "Asia/Atlantis"))), "a.parquet"
    )
    write_draft("shop", "a.parquet", None, Chosen())
    assert load_scenario("shop").source.columns.time == "seen_at"


@pytest.mark.parametrize("word", ["NULL", "nan", "None", r"\N", " "])
def test_words_for_what_is_missing_and_blanks_hide_no_column_of_a_text_file(word: str) -> None:
    rows = tiny_log().astype("object").map(lambda value: f"{value} " if isinstance(value, int) else str(value))
    for place, name in enumerate(rows):
        rows.loc[place, name] = word
    scenario = drafted(rows)
    assert (scenario.source.columns.user, scenario.source.columns.time) == ("person", "seen_at")
    assert {task: t.kind for task, t in scenario.tasks.items()} == {"stars": "regression", "liked": "binary"}


def test_types_of_events_are_drafted_as_they_are_written() -> None:
    rows = tiny_log().drop(columns=["stars", "liked"])
    rows["event"] = np.array(["view ", "view ", "buy ", "NULL"])[np.arange(len(rows)) % 4]
    scenario = drafted(rows)
    assert scenario.source.long is not None
    assert (scenario.source.long.exposure, [task.label for task in scenario.tasks.values()]) == ("view ", ["buy "])


@pytest.mark.parametrize("odd", [0, -1, 253_402_214_400_000, 2**62])
def test_a_few_odd_integers_do_not_hide_the_unit_of_times(odd: int) -> None:
    rows = tiny_log().assign(seen_at=tiny_log()["seen_at"].astype("int64") // 1_000)
    rows.loc[[3, 4], "seen_at"] = odd
    assert drafted(rows).source.time_unit == "ms"
    assert "in this unit 1367409600000 to 1367842140000 are" in Path("include/scenarios/shop.yaml").read_text()


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan])
def test_a_label_that_is_no_finite_number_is_no_end_of_a_range(name: str, odd: float) -> None:
    rows = tiny_log().astype({"stars": "float64", "liked": "float64"})
    rows.loc[3, ["stars", "liked"]] = odd
    tasks = drafted(rows, name=name).tasks
    if name == "log.parquet" or np.isnan(odd):  # in a text file infinity is a text
        assert (tasks["stars"].range, tasks["liked"].kind) == ((0, 10), "binary")


@pytest.mark.parametrize("values", [[1.5, np.nan], [1.5, np.inf], [1e16, -1e16], [2**63, 1], [2.0, 2.0 + 5e-16]])
def test_numbers_that_make_no_range_are_no_label(values: list[float]) -> None:
    rows = tiny_log().assign(score=np.array(values)[np.arange(len(tiny_log())) % 2])
    assert set(drafted(rows, name="log.parquet").tasks) == {"stars", "liked"}


def test_ids_that_are_but_0_and_1_are_ids() -> None:
    assert drafted(tiny_log().assign(person=tiny_log()["person"] % 2)).source.columns.user == "person"
    assert drafted(tiny_log().assign(user_liked=1 - tiny_log()["liked"])).tasks["user_liked"].kind == "binary"


def test_a_text_file_that_is_not_utf_8_is_refused_in_one_line() -> None:
    Path("log.csv").write_bytes(tiny_log().rename(columns={"film": "stück"}).to_csv(index=False).encode("latin-1"))
    with pytest.raises(DataError, match=r"^log\.csv: the names of its columns are not UTF-8 .*: save the file"):
        draft("shop", "log.csv", None, Chosen())


def test_names_and_texts_survive_yaml() -> None:
    import yaml

    for text in ("user", "no", "a: b", "1", "été", "x # y", "null", 'say "yes"', "- a", "dt=2013", "C:\\log"):
        assert yaml.safe_load(f"a: {quoted(text)} # guess") == {"a": text}
    assert [key(name) for name in ("isClick", "Bewertung (1-5)", "2nd", "__x")] == [
        "is_click",
        "bewertung_1_5",
        "column_2nd",
        "x",
    ]


def test_free_text_and_vectors_are_proposed_in_comments() -> None:
    plots = [f"a story of {n} people on a train in winter" for n in range(len(tiny_items()))]
    vectors = [[0.5, float(n)] for n in range(len(plots))]
    tiny_items().assign(plot=plots, embedding=vectors).to_parquet("films.parquet", index=False)
    section = drafted(tiny_log(), items="films.parquet").source.items
    assert section is not None
    assert (section.text, section.vectors, list(section.multi)) == ((), None, ["genres"])
    text = Path("include/scenarios/shop.yaml").read_text()
    assert "    # text: [plot] # guess: free text" in text
    assert "    # vectors: embedding # guess: lists of fractions" in text
