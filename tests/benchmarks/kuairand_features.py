"""Point-in-time features of KuaiRand: a row of a day knows the events of days before it, and no other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from mtl_tasks.features.als import ImplicitALS
from mtl_tasks.features.running_sums import expand
from tests.benchmarks.aggregates import Aggregate, DailySums

Keys = NDArray[np.int64]
Values = NDArray[np.float64]
Columns = dict[str, Values]

DAYS: Final = (1, 3)
DENSE: Final = ("click", "long_view", "like", "watch_ratio")
DAMPING: Final = {"click": 5.0, "long_view": 5.0, "watch_ratio": 5.0, "like": 20.0}
SPARSE_DAMPING: Final = 50.0
PAIR_DAMPING: Final = 3.0
LAST: Final = (5, 20)
LAST_ITEMS: Final = 20
DURATION_EDGES: Final = np.array([5, 7, 9, 12, 15, 18, 22, 30, 45, 60, 90, 150, 240]) * 1000.0
CONFIDENCE: Final = 10.0  # of a long view in the factors, above the 1 of a pair that was not seen
DIMENSIONS: Final = 32


@dataclass(frozen=True)
class Log:
    """Impressions in order of time, coded, with what was known of people and videos before the first of them.

    Attributes
    ----------
    rows
        ``user``, ``item``, ``author``, ``tag``, ``music``, ``upload`` and ``duration_bin`` codes, ``tab``, ``hour``,
        ``day`` (Beijing days since 1970-01-01).
    labels
        Task to float64 (n,), NaN where not observed.
    signals
        Name to float64 (n,) of what people did besides, known afterwards like the labels.
    past
        Earlier impressions without times, in each user's order: ``user``, ``item``, ``long_view``, ``like``, and the
        item's codes as in ``rows``.
    users, videos
        One row a user code or item code: attributes that no event changes.
    history
        One row a user code: ``history_len``, ``last_day``, ``likes``, ``long_views``; NaN where nothing is known.
    """

    rows: pd.DataFrame
    labels: dict[str, Values]
    signals: dict[str, Values]
    past: pd.DataFrame
    users: pd.DataFrame
    videos: pd.DataFrame
    history: pd.DataFrame

    @property
    def days(self) -> Keys:
        """Day of each row."""
        return self.rows["day"].to_numpy()

    def key(self, *names: str, past: bool = False) -> Keys:
        """One code for a combination of columns, the same for rows and past."""
        table = self.past if past else self.rows
        code = np.zeros(len(table), dtype=np.int64)
        for name in names:
            code = code * (1 << 15) + table[name].to_numpy().astype(np.int64)
        return code


def build(log: Log) -> pd.DataFrame:
    """Return float32 features, one row for each impression."""
    columns = _rates(log)
    columns |= _pair_rates(log, columns)
    columns |= _residuals(log, columns)
    columns |= _recent(log) | _history(log) | _taste(log) | _static(log)
    return pd.DataFrame({name: value.astype(np.float32) for name, value in columns.items()}, index=log.rows.index)


def _sums(log: Log, *names: str) -> DailySums:
    known = log.labels | log.signals
    values = {name: np.nan_to_num(value) for name, value in known.items()}
    values |= {f"{name}.seen": np.isfinite(value).astype(float) for name, value in known.items()}
    return DailySums(log.key(*names), log.days, values)


def _damped(known: Aggregate, task: str, prior: Values, damping: float) -> Values:
    return (known.total(task) + damping * prior) / (known.total(f"{task}.seen") + damping)


def _rates(log: Log) -> Columns:
    """Damped rates of single keys over all days and the last few, and their sum for user and item."""
    overall = _sums(log).before(np.zeros_like(log.days), log.days)
    names = [*log.labels, *log.signals]
    prior = {task: overall.total(task) / np.maximum(overall.total(f"{task}.seen"), 1.0) for task in names}
    # Nothing is known of a rate on the first day; zero would be a statement.
    prior = {task: np.where(overall.count > 0, value, np.nan) for task, value in prior.items()}
    columns: Columns = {}
    for key in ("user", "item", "author", "tag", "tab", "duration_bin"):
        sums, codes = _sums(log, key), log.key(key)
        known = sums.before(codes, log.days)
        columns[f"{key}.count"] = known.count
        for task in names:
            columns[f"{key}.{task}"] = _damped(known, task, prior[task], DAMPING.get(task, SPARSE_DAMPING))
        for days in DAYS if key in ("user", "item") else ():
            known = sums.between(codes, log.days - days, log.days)
            columns[f"{key}.count_{days}d"] = known.count
            for task in DENSE:
                columns[f"{key}.{task}_{days}d"] = _damped(known, task, prior[task], DAMPING[task])
    for task in log.labels:
        columns[f"level.{task}"] = columns[f"user.{task}"] + columns[f"item.{task}"] - prior[task]
    return columns


PAIRS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("user", "tag"): DENSE,
    ("user", "author"): DENSE,
    ("user", "tab"): (*DENSE, "comment", "follow", "forward"),
    ("user", "duration_bin"): DENSE,
    ("user", "hours"): ("click", "long_view"),
    ("user", "upload"): ("click", "long_view", "like"),
    ("item", "tab"): DENSE,
    ("tag", "tab"): ("click", "long_view", "watch_ratio"),
    ("duration_bin", "tab"): DENSE,
    ("hour", "tab"): ("click", "long_view", "like"),
}


def _pair_rates(log: Log, single: Columns) -> Columns:
    """Rates of combinations, damped toward the rate of their first key."""
    columns: Columns = {}
    for pair, tasks in PAIRS.items():
        name = "_x_".join(pair)
        known = _sums(log, *pair).before(log.key(*pair), log.days)
        columns[f"{name}.count"] = known.count
        for task in tasks:
            prior = single.get(f"{pair[0]}.{task}", single[f"tab.{task}"])
            columns[f"{name}.{task}"] = _damped(known, task, prior, PAIR_DAMPING)
    return columns


RESIDUALS: Final = (
    ("user", "item_x_tab"),
    ("user", "duration_bin_x_tab"),
    ("item", "user_x_tab"),
    ("tag", "user"),
)


def _residuals(log: Log, single: Columns) -> Columns:
    """Mean of what a user's labels were above the rates of what was shown, and the reverse for items."""
    columns: Columns = {}
    for key, other in RESIDUALS:
        residual = {task: log.labels[task] - single[f"{other}.{task}"] for task in DENSE}
        seen = {task: np.isfinite(value) for task, value in residual.items()}
        values = {task: np.nan_to_num(value) for task, value in residual.items()}
        values |= {f"{task}.seen": value.astype(float) for task, value in seen.items()}
        codes = log.key(key)
        known = DailySums(codes, log.days, values).before(codes, log.days)
        for task in DENSE:
            columns[f"{key}.{task}.over_{other}"] = _damped(known, task, np.zeros(len(codes)), DAMPING[task])
    return columns


class Timeline:
    """Events of each user in order: those without a time first, then by day and time."""

    def __init__(self, users: Keys, days: Keys) -> None:
        self._span = int(days.max()) + 2
        place = users * self._span + days
        self.order = np.argsort(place, kind="stable")
        self._place = place[self.order]

    def before(self, users: Keys, days: Keys, last: int) -> tuple[Keys, Keys]:
        """Half-open ranges in ``order`` of each user's last events before a day."""
        end = np.searchsorted(self._place, users * self._span + days)
        start = np.searchsorted(self._place, users * self._span)
        return np.maximum(start, end - last), end


def _timeline(log: Log) -> tuple[Timeline, pd.DataFrame]:
    """All impressions, past ones on day 0."""
    rows = log.rows[["user", "item", "day"]].assign(**{task: log.labels[task] for task in DENSE})
    both = pd.concat([log.past[["user", "item", "long_view", "like"]].assign(day=0), rows], ignore_index=True)
    return Timeline(both["user"].to_numpy(), both["day"].to_numpy()), both


def _recent(log: Log) -> Columns:
    """Means over each user's last few impressions, and days since the last one."""
    timeline, both = _timeline(log)
    users = log.key("user")
    columns: Columns = {}
    for last in LAST:
        start, end = timeline.before(users, log.days, last)
        for task in ("long_view", "like"):
            sums = np.concatenate([[0.0], np.cumsum(both[task].to_numpy()[timeline.order])])
            columns[f"user.{task}.last_{last}"] = np.where(end > start, sums[end] - sums[start], np.nan) / np.maximum(
                end - start, 1
            )
    rows = DailySums(users, log.days).before(users, log.days)
    columns["user.days_since"] = log.days - rows.last_day()
    for task in ("click", "long_view", "like"):
        hit = log.labels[task] == 1
        known = DailySums(users[hit], log.days[hit]).before(users, log.days)
        columns[f"user.{task}.days_since"] = log.days - known.last_day()
    columns["item.days_since"] = (
        log.days - DailySums(log.key("item"), log.days).before(log.key("item"), log.days).last_day()
    )
    return columns


def _history(log: Log) -> Columns:
    """Counts and rates from before the first day."""
    columns: Columns = {}
    users = log.history.iloc[log.rows["user"]]
    columns["history.user.count"] = users["history_len"].to_numpy()
    columns["history.user.idle_days"] = log.days - users["last_day"].to_numpy()
    columns["history.user.likes"] = users["likes"].to_numpy()
    columns["history.user.long_views"] = users["long_views"].to_numpy()
    return columns | _pooled(log)


PAST_KEYS: Final[tuple[tuple[str, ...], ...]] = (
    ("user",),
    ("item",),
    ("author",),
    ("tag",),
    ("duration_bin",),
    ("user", "tag"),
    ("user", "author"),
    ("user", "duration_bin"),
    ("user", "upload"),
)


def _pooled(log: Log) -> Columns:
    """Rates before the first day alone, and together with the days since."""
    tasks = ("long_view", "like")
    day = np.concatenate([np.zeros(len(log.past), dtype=np.int64), log.days])
    values = {task: np.concatenate([log.past[task], log.labels[task]]) for task in tasks}
    base = {task: float(log.past[task].mean()) for task in tasks}
    columns: Columns = {}
    for names in PAST_KEYS:
        codes = log.key(*names)
        sums = DailySums(np.concatenate([log.key(*names, past=True), codes]), day, values)
        name = "_x_".join(names)
        for kind, end in (("history", np.ones_like(log.days)), ("pooled", log.days)):
            if kind == "history" and len(names) > 1:
                continue
            known = sums.before(codes, end)
            columns[f"{kind}.{name}.count_shown"] = known.count
            for task in tasks:
                columns[f"{kind}.{name}.{task}"] = known.damped_mean(task, base[task], DAMPING[task])
    return columns


def _taste(log: Log) -> Columns:
    """Return columns of factors and co-occurrence fitted before the first day; users are folded in from past events."""
    users, items = len(log.users), len(log.videos)
    _, both = _timeline(log)
    solver = ImplicitALS(DIMENSIONS, 15, 10.0, device="cpu", threads=1, seed=7)
    past = both["day"].to_numpy() == 0
    vectors = solver.fit(_positives(both[past], (users, items)))
    dot = np.full(len(log.rows), np.nan)
    norm = np.full(len(log.rows), np.nan)
    for day in np.unique(log.days):
        rows = np.flatnonzero(log.days == day)
        who, place = np.unique(log.key("user")[rows], return_inverse=True)
        known = _positives(both[both["day"].to_numpy() < day], (users, items))[who]
        folded = solver.fold_in(known, vectors)
        dot[rows] = np.einsum("ij,ij->i", folded[place], vectors[log.key("item")[rows]])
        norm[rows] = np.linalg.norm(folded, axis=1)[place]
    length = np.linalg.norm(vectors, axis=1)[log.key("item")]
    columns = {"taste.dot": dot, "taste.user_norm": norm, "taste.item_norm": length}
    columns["taste.cosine"] = dot / np.maximum(norm * length, 1e-9)
    return columns | _similarity(log, both, vectors, _cooccurrence(_positives(both[past], (users, items))))


def _positives(events: pd.DataFrame, shape: tuple[int, int]) -> sparse.csr_matrix:
    hit = (events["long_view"].to_numpy() == 1) | (events["like"].to_numpy() == 1)
    where = events["user"].to_numpy()[hit], events["item"].to_numpy()[hit]
    return sparse.csr_matrix((np.full(int(hit.sum()), CONFIDENCE, dtype=np.float32), where), shape=shape)


def _cooccurrence(positives: sparse.csr_matrix) -> NDArray[np.float32]:
    """Cosine of items over the people who took both, damped; zero with itself."""
    taken = (positives > 0).astype(np.float32)
    together = (taken.T @ taken).toarray()
    count = together.diagonal().copy()
    np.fill_diagonal(together, 0.0)
    return together / np.sqrt(np.outer(count + 5, count + 5))


def _similarity(log: Log, both: pd.DataFrame, vectors: NDArray[Any], together: NDArray[np.float32]) -> Columns:
    """Likeness of the item to the last items that the user viewed long, and to those passed over."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    items = log.key("item")
    columns: Columns = {}
    for name, hit in (("viewed", both["long_view"] == 1), ("passed", both["long_view"] == 0)):
        chosen = both[hit.to_numpy()]
        timeline = Timeline(chosen["user"].to_numpy(), chosen["day"].to_numpy())
        met = chosen["item"].to_numpy()[timeline.order]
        start, end = timeline.before(log.key("user"), log.days, LAST_ITEMS)
        owner, place = expand(start, end)
        cosine = np.empty(len(owner))
        for part in np.array_split(np.arange(len(owner)), max(1, len(owner) >> 19)):
            cosine[part] = np.einsum("ij,ij->i", unit[items[owner[part]]], unit[met[place[part]]])
        close = together[items[owner], met[place]]
        for kind, value in (("cosine", cosine), ("together", close)):
            total = np.bincount(owner, weights=value, minlength=len(items))
            columns[f"{name}.{kind}"] = np.where(end > start, total / np.maximum(end - start, 1), np.nan)
            highest = np.full(len(items), -np.inf)
            np.maximum.at(highest, owner, value)
            columns[f"{name}.{kind}_max"] = np.where(end > start, highest, np.nan)
    return columns


def _static(log: Log) -> Columns:
    """Return the columns that no event changes."""
    users = log.users.iloc[log.rows["user"]]
    videos = log.videos.iloc[log.rows["item"]]
    columns = {f"user.{name}": users[name].to_numpy(dtype=np.float64) for name in users}
    columns |= {f"video.{name}": videos[name].to_numpy(dtype=np.float64) for name in videos}
    columns["video.age_days"] = log.days - columns.pop("video.upload_day")
    columns |= {name: log.rows[name].to_numpy(dtype=np.float64) for name in ("hour", "tab", "tag")}
    return columns
