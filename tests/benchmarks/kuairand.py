"""KuaiRand: seven things that people did, or did not do, when a short video was shown to them.

Real data, shipped in ``include/data/kuairand``. Windows are days in Beijing, where the log is from.
"""

from __future__ import annotations

import hashlib
import pathlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tests.benchmarks import kuairand_features
from tests.benchmarks.kuairand_features import DURATION_EDGES, Log
from tests.benchmarks.problems import Problem, benchmark_scenario, binary, regression

FOLDER: Final = pathlib.Path("include/data/kuairand")
CACHE: Final = pathlib.Path(".bench/kuairand.parquet")
BINARY: Final = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "comment": "is_comment",
    "follow": "is_follow",
    "forward": "is_forward",
}
LONGEST: Final = 2.0  # a video watched over and over counts as watched twice
FIRST_DAY: Final = {"train": 20220425, "tune": 20220503, "blend": 20220504, "test": 20220505}
HOURS_AHEAD: Final = 8  # Beijing


@dataclass(frozen=True)
class Raw:
    """The shipped tables; ``events`` without exact duplicates, in order of time."""

    events: pd.DataFrame
    users: pd.DataFrame
    videos: pd.DataFrame
    history: pd.DataFrame


def kuairand() -> Problem:
    """Return the rows of 25 April to 8 May 2022; features are built once and kept in ``.bench``."""
    raw = read()
    log = encode(raw)
    return Problem(
        name="kuairand",
        scenario=benchmark_scenario(
            "kuairand",
            "What people do with a short video",
            {**{task: binary(column) for task, column in BINARY.items()}, **_watch_ratio()},
        ),
        features=_cached(log),
        labels={task: label.astype(np.float32) for task, label in log.labels.items()},
        users=log.rows["user"].to_numpy(),
        window=_windows(raw.events["date"].to_numpy()),
    )


def read(folder: pathlib.Path = FOLDER) -> Raw:
    """Read the shipped tables."""
    events = pd.concat(pd.read_parquet(path) for path in sorted(folder.glob("events/dt=*/part-0.parquet")))
    events = events.drop_duplicates().sort_values("time_ms", kind="stable", ignore_index=True)
    tables = [pd.read_parquet(folder / f"{name}.parquet") for name in ("user_features", "videos", "history")]
    return Raw(events, *tables)


def encode(raw: Raw) -> Log:
    """Code people, videos and what is known of them."""
    users = raw.users.sort_values("user_id").reset_index(drop=True)
    videos = _videos(raw.videos)
    code = {"user": users.pop("user_id").to_numpy(), "item": videos.pop("video_id").to_numpy()}
    keys = videos[["author", "tag", "music", "upload", "duration_bin"]]
    rows = pd.DataFrame(
        {
            "user": np.searchsorted(code["user"], raw.events["user_id"]),
            "item": np.searchsorted(code["item"], raw.events["video_id"]),
            "day": _day(raw.events["date"].to_numpy()),
            "hour": (raw.events["time_ms"].to_numpy() // 3_600_000 + HOURS_AHEAD) % 24,
            "tab": raw.events["tab"].to_numpy().astype(np.int64),
        }
    )
    rows["hours"] = rows["hour"] // 4
    rows[list(keys)] = keys.to_numpy()[rows["item"]]
    past, history = _past(raw.history, code)
    past[list(keys)] = keys.to_numpy()[past["item"]]
    known = videos[["upload", "video_type", "music_type", "video_duration", "width", "height", "upload_day"]]
    return Log(rows, _labels(raw.events), _signals(raw.events), past, _users(users), known, history)


def _labels(events: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    labels = {task: events[column].to_numpy().astype(np.float64) for task, column in BINARY.items()}
    duration = events["duration_ms"].to_numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(events["play_time_ms"].to_numpy() / duration, LONGEST)
    return labels | {"watch_ratio": np.where(duration > 0, ratio, np.nan)}


def _signals(events: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return signals that are less rare than the labels: reading comments, looking up the author, any reaction."""
    reacted = events[["is_like", "is_comment", "is_follow", "is_forward"]].any(axis=1)
    made = {
        "reads_comments": events["comment_stay_time"] > 0,
        "enters_profile": (events["is_profile_enter"] > 0) | (events["profile_stay_time"] > 0),
        "reacts": reacted,
    }
    return {name: value.to_numpy(dtype=np.float64) for name, value in made.items()}


def _watch_ratio() -> dict[str, Any]:
    return {"watch_ratio": regression("watch_ratio", 0.0, LONGEST)}


def _day(date: NDArray[Any]) -> NDArray[np.int64]:
    """Days since 1970-01-01 of dates written as yyyymmdd."""
    dates, place = np.unique(date, return_inverse=True)
    days = pd.to_datetime(dates.astype(str), format="%Y%m%d").to_numpy().astype("datetime64[D]").astype(np.int64)
    return np.asarray(days[place])


def _windows(date: NDArray[Any]) -> NDArray[Any]:
    starts = np.array(list(FIRST_DAY.values()))
    return np.array(list(FIRST_DAY))[np.searchsorted(starts, date, side="right") - 1]


def _videos(table: pd.DataFrame) -> pd.DataFrame:
    videos = table.sort_values("video_id").reset_index(drop=True)
    made = pd.DataFrame({"video_id": videos["video_id"]})
    codes = {"author": "author_id", "tag": "tag", "music": "music_id", "upload": "upload_type"}
    for name, column in {**codes, "video_type": "video_type", "music_type": "music_type"}.items():
        made[name] = pd.factorize(videos[column], sort=True)[0] + 1  # 0: not given
    made["video_duration"] = videos["video_duration"]
    made["duration_bin"] = np.where(
        videos["video_duration"].isna(), 0, np.searchsorted(DURATION_EDGES, videos["video_duration"]) + 1
    )
    made["width"], made["height"] = videos["server_width"], videos["server_height"]
    made["upload_day"] = pd.to_datetime(videos["upload_dt"]).to_numpy().astype("datetime64[D]").astype(np.int64)
    return made


def _users(users: pd.DataFrame) -> pd.DataFrame:
    """Numbers as they are; texts as codes. Ranges of numbers that are there as well, and flags, add nothing."""
    made = users.drop(columns=[name for name in users if str(name).endswith("_range") or users[name].nunique() < 4])
    texts = [name for name in made if not pd.api.types.is_numeric_dtype(made[name])]
    for name in texts:
        made[name] = pd.factorize(made[name], sort=True)[0]
    return made


def _past(table: pd.DataFrame, code: dict[str, NDArray[Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return earlier impressions, one a row, and the counts of each user."""
    users = np.searchsorted(code["user"], table["user_id"])
    past = _exploded(table["watch_seq"], users, code["item"])
    wide = len(code["item"])
    for name, column in (("long_view", "long_watch_seq"), ("like", "like_seq")):
        hit = _exploded(table[column], users, code["item"])
        past[name] = np.isin(past["user"] * wide + past["item"], hit["user"] * wide + hit["item"]).astype(np.float64)
    counts = pd.DataFrame(
        {
            "history_len": table["history_len"],
            "last_day": (table["last_time_ms"] // 3_600_000 + HOURS_AHEAD) // 24,
            "likes": table["like_seq"].str.len(),
            "long_views": table["long_watch_seq"].str.len(),
        }
    )
    return past, counts.set_axis(users).reindex(range(len(code["user"])))


def _exploded(lists: pd.Series[Any], users: NDArray[Any], items: NDArray[Any]) -> pd.DataFrame:
    met = np.concatenate(lists.to_numpy())
    return pd.DataFrame({"user": np.repeat(users, lists.str.len()), "item": np.searchsorted(items, met)})


def _cached(log: Log) -> pd.DataFrame:
    sources = (pathlib.Path(__file__), pathlib.Path(kuairand_features.__file__))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    stamp = CACHE.with_suffix(".version")
    if CACHE.is_file() and stamp.is_file() and stamp.read_text() == version:
        return pd.read_parquet(CACHE)
    features = kuairand_features.build(log)
    CACHE.parent.mkdir(exist_ok=True)
    features.to_parquet(CACHE)
    stamp.write_text(version)
    return features
