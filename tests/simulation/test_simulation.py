"""The simulated shop: the same again, longer, as requested, and with a truth that nothing beats."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.data.attribute_tables import read_items
from mtl_tasks.data.interactions import read_log
from mtl_tasks.data.splits import Windows, make_rows
from mtl_tasks.data.validation import validate_interactions
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.scenario import load_scenario
from mtl_tasks.simulation import Settings, bayes_limits, simulate
from mtl_tasks.simulation import files as files_module
from tests.conftest import PROJECT
from tests.support.logs import list_sources

SMALL = {"users": 300, "items": 120, "days": 14, "events": 4_200, "seed": 3}
LARGE = {"users": 3_000, "items": 600, "days": 42, "events": 120_000, "seed": 5}
PEAKS = """
import sys
from pathlib import Path
from mtl_tasks.simulation import Settings, files, simulate
files.BLOCK = int(sys.argv[2])
for events in (250_000, 2_000_000):
    simulate(Settings(users=100_000, items=20_000, days=1, events=events), Path(sys.argv[1]) / str(events))
    status = Path("/proc/self/status").read_text().split()
    print(int(status[status.index("VmHWM:") + 1]) / 1024)
"""


def made(folder: Path, **settings: Any) -> dict[str, Any]:
    return simulate(Settings(**{**SMALL, **settings}), folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def read(folder: Path, kind: str) -> pd.DataFrame:
    paths = sorted((folder / kind).rglob("*.parquet"))
    return pd.concat([pq.ParquetFile(path).read().to_pandas() for path in paths], ignore_index=True)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "shop"
    simulate(Settings(**LARGE), folder)
    return folder


@pytest.fixture(scope="module")
def events(shop: Path) -> pd.DataFrame:
    return read(shop, "events")


@pytest.fixture(scope="module")
def truth(shop: Path) -> pd.DataFrame:
    return read(shop, "truth")


# ------------------------------------------------------------------------------------------ the same again


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        made(tmp_path / name, seed=seed)
    first, again, other = (contents(tmp_path / name) for name in ("first", "again", "other"))
    assert len(first) == 2 * SMALL["days"] + 3
    assert first == again
    assert {name for name in first if other[name] == first[name]} == set()


def test_more_days_at_the_same_pace_continue_a_shorter_simulation(tmp_path: Path) -> None:
    made(tmp_path / "short", days=10, events=3_000)
    made(tmp_path / "long", days=30, events=9_000)
    short, long = contents(tmp_path / "short"), contents(tmp_path / "long")
    partitions = [name for name in short if "dt=" in name]
    assert len(partitions) == 20
    assert [name for name in partitions if long[name] != short[name]] == []
    for name in ("users.parquet", "items.parquet"):
        there, later = (pd.read_parquet(tmp_path / folder / name) for folder in ("short", "long"))
        assert len(later) > len(there)
        pd.testing.assert_frame_equal(later.head(len(there)), there)


# ------------------------------------------------------------------------------------------ as asked for


def test_the_layout_is_that_of_a_log_and_its_counts_are_told(shop: Path, events: pd.DataFrame) -> None:
    document = json.loads((shop / "simulation.json").read_text())
    assert document["settings"] == {**LARGE, "correlation": 0.5, "noise": 1.0}
    assert document["counts"] == {
        "users": len(pd.read_parquet(shop / "users.parquet")),
        "items": len(pd.read_parquet(shop / "items.parquet")),
        "events": LARGE["events"],
        "carts": int(events["cart"].sum()),
        "purchases": int(events["purchase"].sum()),
        "ratings": int(events["rating"].notna().sum()),
    }
    assert len(events) == LARGE["events"]
    assert list(events) == ["user_id", "item_id", "time", "cart", "purchase", "rating", "price", "promotion"]
    assert (document["first_day"], document["last_day"]) == ("2024-01-01", "2024-02-11")


def test_times_ascend_within_the_day_of_their_partition(shop: Path) -> None:
    for path in (shop / "events").rglob("*.parquet"):
        time = pq.ParquetFile(path).read(["time"]).to_pandas()["time"]
        assert time.is_monotonic_increasing
        assert set(time.dt.strftime("dt=%Y-%m-%d")) == {path.parent.name}
        assert str(time.dtype) == "datetime64[us, UTC]"


def test_blocks_of_a_day_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "BLOCK", 100)
    made(tmp_path / "blocks", days=1, events=1_111)
    (path,) = (tmp_path / "blocks" / "events").rglob("*.parquet")
    assert pq.ParquetFile(path).num_row_groups == 10  # a Monday has nine tenths of the mean
    assert len(read(tmp_path / "blocks", "truth")) == 999
    assert read(tmp_path / "blocks", "events")["time"].is_monotonic_increasing


def test_weekends_are_busier_and_some_articles_are_shown_far_more_often(events: pd.DataFrame) -> None:
    per_weekday = events["time"].dt.day_of_week.value_counts()
    assert per_weekday[5] > 1.3 * per_weekday[1]
    shown = events["item_id"].value_counts()
    assert shown.head(len(shown) // 20).sum() > 0.25 * len(events)


def test_what_is_shown_drifts(events: pd.DataFrame) -> None:
    day = events["time"].dt.day_of_year
    first, second, last = (
        events.loc[day.between(low, low + 6), "item_id"].value_counts(normalize=True) for low in (1, 8, 36)
    )
    known = first.index[:200]
    change = [(later.reindex(known, fill_value=0) - first[known]).abs().sum() for later in (second, last)]
    assert change[1] > 1.2 * change[0]


def test_carts_come_before_purchases_and_promotions_are_cheaper_and_sell_more(shop: Path, events: pd.DataFrame) -> None:
    assert (events["cart"] >= events["purchase"]).all()
    assert events["cart"].sum() > 1.5 * events["purchase"].sum() > 0
    listed = pd.read_parquet(shop / "items.parquet").set_index("item_id")["list_price"]
    relative = events["price"] / listed[events["item_id"]].to_numpy()
    promoted = events["promotion"] == 1
    assert relative[promoted].mean() == pytest.approx(0.8 * relative[~promoted].mean(), rel=0.02)
    assert events.loc[promoted, "purchase"].mean() > 1.2 * events.loc[~promoted, "purchase"].mean()


def test_ratings_are_stars_and_mostly_of_what_was_bought(events: pd.DataFrame) -> None:
    rated = events.dropna(subset="rating")
    assert set(rated["rating"].unique()) == {1, 2, 3, 4, 5}
    assert 0.8 < rated["purchase"].mean() < 1
    assert 0.3 < events.loc[events["purchase"] == 1, "rating"].notna().mean() < 0.95


def test_people_and_articles_keep_arriving_and_nobody_is_there_before(shop: Path, events: pd.DataFrame) -> None:
    for table, key, date in (("users", "user_id", "joined_on"), ("items", "item_id", "listed_on")):
        frame = pd.read_parquet(shop / f"{table}.parquet")
        since = pd.to_datetime(frame[date]).dt.tz_localize("UTC")
        late = since > pd.Timestamp("2024-01-15", tz="UTC")
        assert 0.05 < late.mean() < 0.3
        assert frame[key].tolist() == list(range(len(frame)))
        met = events.groupby(key)["time"].min()
        assert (met >= since.to_numpy()[met.index]).all()
        assert late.to_numpy()[met.index].sum() > 0.8 * late.sum() * len(met) / len(frame)


def test_attributes_show_a_part_of_the_tastes(shop: Path, events: pd.DataFrame, truth: pd.DataFrame) -> None:
    users = pd.read_parquet(shop / "users.parquet")["segment"].to_numpy()[events["user_id"]]
    items = pd.read_parquet(shop / "items.parquet")["category"].to_numpy()[events["item_id"]]
    log_odds = np.log(truth["purchase_probability"] / (1 - truth["purchase_probability"]))
    main = log_odds.groupby(users).transform("mean") + log_odds.groupby(items).transform("mean") - log_odds.mean()
    together = log_odds.groupby([users, items]).transform("mean")
    assert (together - main).var() > 0.05 * log_odds.var()


# ------------------------------------------------------------------------------------------ the truth


def test_the_truth_is_calibrated_overall_and_where_it_is_high_or_low(events: pd.DataFrame, truth: pd.DataFrame) -> None:
    probability, purchase = truth["purchase_probability"].astype(float), events["purchase"].astype(float)
    for part in [slice(None), *(pd.qcut(probability, 5, labels=False) == fifth for fifth in range(5))]:
        p, y = probability[part], purchase[part]
        assert abs(y.mean() - p.mean()) < 4 * np.sqrt((p * (1 - p)).sum()) / len(p)
    rated = events["rating"].notna()
    error = (events["rating"] - truth["expected_rating"])[rated]
    for part in [slice(None), *(pd.qcut(truth["expected_rating"][rated], 5, labels=False) == n for n in range(5))]:
        assert abs(error[part].mean()) < 4 * error[part].std() / np.sqrt(len(error[part]))


def test_nothing_that_the_log_can_tell_beats_the_truth(shop: Path, events: pd.DataFrame, truth: pd.DataFrame) -> None:
    limits = bayes_limits(shop, "2024-01-01", "2024-02-11")
    purchase = events["purchase"].to_numpy(dtype=float)
    # Means of the very labels that are judged: more than an honest model could know.
    overall = events["purchase"].mean()
    score = np.zeros(len(events))
    for key in ("user_id", "item_id"):
        grouped = events.groupby(key)["purchase"]
        damped = (grouped.transform("sum") + 20 * overall) / (grouped.transform("size") + 20)
        score += np.log(damped.to_numpy())
    assert 0.6 < compute("auc", purchase, score) < limits["purchase"]["auc"] < 0.95
    rating = events["rating"].dropna().to_numpy(dtype=float)
    assert limits["rating"]["rmse"] < rating.std()
    assert limits["rating"]["rows"] == len(rating)


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
def test_what_is_bought_contents_or_disappoints_as_asked(tmp_path: Path, correlation: float) -> None:
    made(tmp_path / "shop", correlation=correlation, events=20_000)
    truth = read(tmp_path / "shop", "truth")
    log_odds = np.log(truth["purchase_probability"] / (1 - truth["purchase_probability"]))
    # Prices bear on purchases alone, and 120 articles are a small sample.
    assert np.corrcoef(log_odds, truth["expected_rating"])[0, 1] == pytest.approx(correlation, abs=0.25)


def test_more_noise_leaves_less_to_know(tmp_path: Path) -> None:
    limits = {}
    for noise in (0.5, 1.0, 2.0):
        made(tmp_path / str(noise), noise=noise, events=20_000)
        limits[noise] = bayes_limits(tmp_path / str(noise), "2024-01-01", "2024-01-14")
    assert limits[0.5]["purchase"]["auc"] > limits[1.0]["purchase"]["auc"] > limits[2.0]["purchase"]["auc"] > 0.6
    assert limits[0.5]["rating"]["rmse"] < limits[1.0]["rating"]["rmse"] < limits[2.0]["rating"]["rmse"]


def test_limits_are_those_of_the_days_asked_for(shop: Path, events: pd.DataFrame, truth: pd.DataFrame) -> None:
    limits = bayes_limits(shop, "2024-01-10", "2024-01-12")
    days = events["time"].dt.strftime("%Y-%m-%d").between("2024-01-10", "2024-01-12")
    assert limits["purchase"]["rows"] == days.sum()
    p, y = truth["purchase_probability"][days].astype(float), events["purchase"][days]
    assert limits["purchase"]["log_loss"] == pytest.approx(-np.log(np.where(y == 1, p, 1 - p)).mean())


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        ("2024-02-10", "2024-02-13", "events: not in the simulation: 2 of 4 days, the first 2024-02-12: choose days"),
        ("2024-02-10", "2024-02-09", "not in the simulation: no day was asked for: choose days"),
    ],
)
def test_limits_of_days_that_were_not_simulated_are_refused(shop: Path, first: str, last: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        bayes_limits(shop, first, last)


# ------------------------------------------------------------------------------------------ bounds and bad input


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_events_of_a_day(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PEAKS, str(tmp_path), str(files_module.BLOCK)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    few, many = (float(line) for line in done.stdout.split())
    assert many < few + 100  # MiB; drawn in one block, the day takes 190 more
    assert many < 600


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("users", 0, r"--users is 0, it must be from 10 to 100,000,000: change it"),
        ("items", 9, "--items is 9, it must be from 10 to"),
        ("days", 0, "--days is 0, it must be from 1 to 3,650"),
        ("days", 3_651, "--days is 3,651, it must be"),
        ("events", 0, "--events is 0, it must be from 1 to"),
        ("events", 299, "--events is 299, fewer than --users, 300: raise --events or lower --users"),
        ("seed", -1, "--seed is -1, it must be from 0 to 4,294,967,295"),
        ("seed", 2**32, "--seed is 4,294,967,296, it must be"),
        ("correlation", 1.01, "--correlation is 1.01, it must be from -1 to 1"),
        ("correlation", float("nan"), "--correlation is nan, it must be"),
        ("noise", 0.0, "--noise is 0.0, it must be from 0.1 to 10"),
        ("noise", float("inf"), "--noise is inf, it must be"),
    ],
)
def test_a_number_out_of_its_limits_is_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Settings(**{**SMALL, name: value})
    assert "\n" not in str(caught.value)


def test_fewer_events_than_days_are_refused() -> None:
    with pytest.raises(ConfigError, match="--events is 50, fewer than --days, 60: raise --events or lower --days"):
        Settings(users=10, items=10, days=60, events=50)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"--out .*: the folder is not empty, it holds 'notes.txt': remove it or"):
        made(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match=r"--out .*: cannot be made"):
            made(out)


def test_the_command_says_what_it_made_and_what_can_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    numbers = [f"--{name}={value}" for name, value in SMALL.items()]
    command = ["simulate", *numbers, "--correlation=-0.5", "--noise=0.8", "--out=shop"]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("shop: 4,200 exposures from 2024-01-01 to 2024-01-14, of ")
    assert "limits on 2024-01-08 to 2024-01-14: purchase AUC 0." in out
    settings = json.loads((tmp_path / "shop" / "simulation.json").read_text())["settings"]
    assert settings == {**SMALL, "correlation": -0.5, "noise": 0.8}
    assert cli.main(command) == 2
    assert "the folder is not empty" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ the scenario on it


def test_the_scenario_ecommerce_reads_it_without_setting_a_row_aside(tmp_path: Path) -> None:
    simulate(Settings(users=300, items=120, days=63, events=9_000), tmp_path / ".simulated" / "ecommerce")
    scenario = load_scenario("ecommerce", folder=PROJECT / "include" / "scenarios")
    as_of = pd.Timestamp("2024-03-04", tz="UTC")
    day = (as_of - pd.Timestamp(0, tz="UTC")).days
    files = list_sources(scenario, tmp_path, day)
    log = read_log(scenario, files, tmp_path)
    items = read_items(scenario, files, tmp_path, log["item_id"])
    result = validate_interactions(log, items, scenario, as_of)
    assert (len(result.events), len(result.quarantine)) == (9_000, 0)
    rows = make_rows(result.events, scenario, Windows.cut(scenario, day, int(result.events["day"].min())))
    assert set(rows["window"].unique()) == {"train", "tune", "blend", "test"}
    assert set(rows["label:purchase"].unique()) == {0, 1}


def test_the_scenario_ecommerce_without_its_log_is_refused_in_one_line(tmp_path: Path) -> None:
    scenario = load_scenario("ecommerce", folder=PROJECT / "include" / "scenarios")
    with pytest.raises(DataError, match=r"source.events '.simulated/ecommerce/events' in .*: no such file or folder"):
        list_sources(scenario, tmp_path, 19_786)
