"""The API for notebooks gives what the product serves and explains."""

from __future__ import annotations

import doctest
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mtl_tasks
from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError
from mtl_tasks.notebook import LoadedRun, ids, load_run, loaded_run, loading, open_registry, run_registry
from mtl_tasks.pipeline.explore import explain_pair
from tests.conftest import PROJECT
from tests.support import board
from tests.support.projects import NAME, write_log, write_scenario

PROMOTED, REJECTED = "2013-05-08", "2013-05-10"
TASKS = ["prediction:purchase", "prediction:rating"]


@pytest.fixture(scope="module")
def run(board_project: Path) -> LoadedRun:
    return load_run(NAME, PROMOTED, root=board_project)


@pytest.fixture(scope="module")
def lists(board_project: Path) -> pd.DataFrame:
    """The stored recommendations of the promoted run."""
    [path] = (board_project / ".store" / NAME / PROMOTED / "recommend").rglob("*.parquet")
    return pd.read_parquet(path)


def test_importing_the_package_is_cheap_and_leads_to_the_api() -> None:
    program = (
        "import sys, mtl_tasks\n"
        "assert not {'numpy', 'pandas', 'pydantic', 'lightgbm', 'mtl_tasks.notebook'} & set(sys.modules)\n"
        "from mtl_tasks import load_run, open_registry\n"
        "print(load_run.__module__, open_registry.__module__)"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["mtl_tasks.notebook.loading"] * 2


def test_the_package_has_no_other_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'mtl_tasks' has no attribute 'load_runs'"):
        _ = mtl_tasks.load_runs


@pytest.mark.parametrize("module", [ids, loaded_run, loading, run_registry])
def test_examples_in_the_docstrings_hold(module: Any, board_project: Path, run: LoadedRun, lists: pd.DataFrame) -> None:
    registry = open_registry(NAME, root=board_project)
    result = doctest.testmod(module, extraglobs={"project": board_project, "run": run, "registry": registry})
    assert (result.failed, result.attempted > 0) == (0, True)


def test_predictions_are_those_of_the_recommendations(run: LoadedRun, lists: pd.DataFrame) -> None:
    pairs = lists[["user_id", "item_id"]].sample(frac=1, random_state=1)
    made = run.predict(pairs)
    assert made.index.equals(pairs.index)
    pd.testing.assert_frame_equal(made, lists.loc[pairs.index, ["user_id", "item_id", *TASKS]])


def test_a_prediction_does_not_depend_on_other_rows_or_columns(run: LoadedRun, lists: pd.DataFrame) -> None:
    pairs = lists[["user_id", "item_id"]].head(40)
    alone = run.predict(pairs.head(1).assign(day="x").astype({"user_id": "int32"}))
    pd.testing.assert_frame_equal(alone, run.predict(pairs).head(1))


def test_new_users_and_new_items_are_predicted(run: LoadedRun, lists: pd.DataFrame) -> None:
    user, item = int(lists["user_id"].iloc[0]), int(lists["item_id"].iloc[0])
    made = run.predict(pd.DataFrame({"user_id": [user, 99_999_999, user], "item_id": [item, item, 99_999_999]}))
    assert np.isfinite(made[TASKS].to_numpy()).all()
    assert made[TASKS].drop_duplicates().shape[0] == 3


def test_no_pairs_have_no_predictions(run: LoadedRun, lists: pd.DataFrame) -> None:
    made = run.predict(lists[["user_id", "item_id"]].head(0))
    assert made.dtypes.equals(run.predict(lists[["user_id", "item_id"]].head(1)).dtypes)
    assert made.empty


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"user": [1], "item_id": [1]}, r"frame: no column 'user_id' \(its columns are: user, item_id\)"),
        ({"user_id": [1.0, None], "item_id": [1, 1]}, "column 'user_id': 1 of 2 ids are null"),
        ({"user_id": [1], "item_id": ["one"]}, "column 'item_id': is .*, and the ids of this log are whole numbers"),
        ({"user_id": [1.0], "item_id": [1]}, "column 'user_id': is float64, and the ids of this log are whole numbers"),
        ({"user_id": [1, 2**63], "item_id": [1, 1]}, "user_id': 9223372036854775808 does not fit 64 signed bits"),
    ],
)
def test_pairs_that_are_none_of_the_logs_are_refused(run: LoadedRun, frame: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        run.predict(pd.DataFrame(frame))


def test_a_column_that_is_there_twice_is_refused(run: LoadedRun) -> None:
    twice = pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "user_id"])
    with pytest.raises(DataError, match=r"frame: 2 columns 'user_id' \(its columns are: user_id, item_id, user_id\)"):
        run.predict(twice)


@pytest.mark.parametrize("mixed", [[1, "a"], [b"a"], [["a"]]])
def test_ids_that_are_no_texts_are_not_made_texts(mixed: list[Any]) -> None:
    known = pd.Series(["a", "b"])
    with pytest.raises(DataError, match="users: is object, and the ids of this log are texts"):
        ids.ids_like(pd.Series(mixed), known, "users")
    assert ids.ids_like(pd.Series(["a"], dtype=object), known, "users").tolist() == ["a"]


@pytest.mark.parametrize("single", ["58", 58])
def test_a_single_id_is_not_taken_for_a_list(run: LoadedRun, single: Any) -> None:
    with pytest.raises(DataError, match=r"users: '?58'? is a single id: give a list of ids"):
        run.recommend(single)


def test_stored_recommendations_are_returned(run: LoadedRun, lists: pd.DataFrame) -> None:
    users = lists["user_id"].unique()[[3, 1]]
    expected = lists[lists["user_id"].isin(users)].reset_index(drop=True)
    pd.testing.assert_frame_equal(run.recommend([*users, users[0]]), expected)
    assert run.recommend([]).empty


def test_recommendations_that_are_not_stored_are_made_as_those_are(
    board_project: Path, lists: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(board_project / ".store", tmp_path / ".store")
    shutil.rmtree(tmp_path / ".store" / NAME / PROMOTED / "recommend")
    users = lists["user_id"].unique()[:20]
    made = load_run(NAME, PROMOTED, root=tmp_path).recommend(users)
    pd.testing.assert_frame_equal(made, lists[lists["user_id"].isin(users)].reset_index(drop=True))


def test_a_user_who_was_not_active_gets_recommendations_beside_one_who_was(
    run: LoadedRun, lists: pd.DataFrame, board_project: Path
) -> None:
    days = sorted(path for path in (board_project / "log").iterdir() if path.name < f"dt={PROMOTED}")
    earlier = pd.read_parquet(days[0])["user_id"]
    silent, active = int(earlier[~earlier.isin(lists["user_id"])].iloc[0]), int(lists["user_id"].iloc[0])
    made = run.recommend([silent, active])
    assert made.columns.equals(lists.columns)
    assert made.groupby("user_id")["rank"].apply(list).to_dict() == {user: [1, 2, 3, 4, 5] for user in (silent, active)}


def test_users_without_an_event_are_refused(run: LoadedRun) -> None:
    with pytest.raises(DataError, match=r"user 99999991, .*99999995 and 1 more: no event before 2013-05-08 in the"):
        run.recommend(range(99_999_991, 99_999_997))
    with pytest.raises(DataError, match=r"users: is .*, and the ids of this log are whole numbers"):
        run.recommend(["somebody"])


@pytest.fixture
def excluding(board_project: Path, tmp_path: Path) -> LoadedRun:
    """A run without stored recommendations, whose scenario has a table of exclusions."""
    past = board.run_of(board_project, REJECTED)
    recommend = past.entry.scenario_document["recommend"]
    rules = {**recommend["reranking"], "exclude_table": {"path": "excluded.csv", "item": "movie_id"}}
    document = {**past.entry.scenario_document, "recommend": {**recommend, "reranking": rules}}
    return LoadedRun(replace(past, entry=replace(past.entry, scenario_document=document)), tmp_path)


def test_the_table_of_exclusions_is_read_as_it_is_now(
    excluding: LoadedRun, board_project: Path, lists: pd.DataFrame, tmp_path: Path
) -> None:
    user = lists["user_id"].iloc[0]
    usual = load_run(NAME, REJECTED, root=board_project).recommend([user])["item_id"].tolist()
    (tmp_path / "excluded.csv").write_text(f"movie_id\n{usual[0]}\n")
    made = excluding.recommend([user])
    assert (made["item_id"].tolist()[:4], len(made)) == (usual[1:], 5)


def test_a_missing_table_of_exclusions_is_named(excluding: LoadedRun, lists: pd.DataFrame) -> None:
    with pytest.raises(
        DataError, match=r"exclude_table\.path 'excluded\.csv': no such file .*: correct the path or put"
    ):
        excluding.recommend([lists["user_id"].iloc[0]])


def test_explanations_are_those_of_the_command(run: LoadedRun, lists: pd.DataFrame, board_project: Path) -> None:
    user, item = lists["user_id"].iloc[0], lists["item_id"].iloc[0]
    entry = board.entry_of(board_project, PROMOTED)
    assert run.explain(user, item, top=3) == explain_pair(board.store(board_project), entry, str(user), str(item), 3)
    with pytest.raises(DataError, match="item 77: no event before 2013-05-08"):
        run.explain(user, 77)
    with pytest.raises(ConfigError, match="user 'x': ids of this log are whole numbers"):
        run.explain("x", item)
    with pytest.raises(ConfigError, match="top is 0, and at least 1 feature is named"):
        run.explain(user, item, top=0)


def test_metrics_are_those_of_the_registry(run: LoadedRun, board_project: Path) -> None:
    stored = board.run_of(board_project, PROMOTED).metrics["rating"]["rmse"]
    row = run.metrics.set_index(["task", "metric"]).loc[("rating", "rmse")]
    assert (row["value"], (row["low"], row["high"])) == (stored.value, stored.bounds)


def test_without_a_day_the_champion_is_loaded(board_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champion = board.entry_of(board_project, "2013-05-11")
    assert load_run(NAME, root=board_project).run_key == champion.run_key
    assert load_run(NAME, run=champion.run_key[:8], root=board_project).as_of == "2013-05-11"
    assert load_run(NAME, store=board_project / ".store", root="elsewhere").run_key == champion.run_key
    monkeypatch.setenv("MTL_STORE", str(board_project / ".store"))
    monkeypatch.chdir(board_project)
    assert repr(open_registry(NAME).champion()) == f"LoadedRun({NAME!r}, as_of='2013-05-11', status='forced')"


@pytest.mark.parametrize("day", [date(2013, 5, 8), datetime(2013, 5, 8), pd.Timestamp(PROMOTED, tz="UTC")])  # noqa: DTZ001
def test_a_run_is_loaded_by_a_day_that_is_no_text(board_project: Path, day: date) -> None:
    assert load_run(NAME, day, root=board_project).as_of == PROMOTED


def test_what_is_not_there_is_refused_by_name(board_project: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"scenario 'smal': no file .* did you mean 'small'"):
        load_run("smal", root=board_project)
    with pytest.raises(ConfigError, match="is not a date"):
        load_run(NAME, "yesterday", root=board_project)
    with pytest.raises(ConfigError, match="is not a date"):
        load_run(NAME, pd.Timestamp("2013-05-08 09:00"), root=board_project)
    with pytest.raises(ArtifactError, match="small as of 2013-05-01: no run in"):
        load_run(NAME, "2013-05-01", root=board_project)
    write_log(tmp_path)
    write_scenario(tmp_path)
    assert open_registry(NAME, root=tmp_path).champion() is None
    assert open_registry(NAME, root=tmp_path).runs().empty
    with pytest.raises(ArtifactError, match="small: no run is promoted: name a run"):
        load_run(NAME, root=tmp_path)
