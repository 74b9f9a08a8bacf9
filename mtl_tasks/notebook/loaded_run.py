"""A finished run that predicts, recommends and explains, from its stored artifacts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.data.exclusions import exclusion_file, read_exclusions
from mtl_tasks.features.builder import Tables
from mtl_tasks.features.state import FeatureSnapshot
from mtl_tasks.notebook.ids import ids_like, rows_like
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.pipeline.explore import identified, open_models, without_event
from mtl_tasks.pipeline.past_documents import find_lists
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.pipeline.stages.inputs import load_events, load_memory, load_scorer, load_tables
from mtl_tasks.recommend.explain import explain_items, parse_id
from mtl_tasks.recommend.lists import recommend_top_k
from mtl_tasks.recommend.scorer import Scorer, to_label_units
from mtl_tasks.store.documents.explanation import RunExplanation

_SHOWN: Final = 5  # unknown ids, in a message


@dataclass(frozen=True)
class _Opened:
    """What a run predicts with.

    Attributes
    ----------
    past
        The events before the run's day.
    memory
        The newest feature snapshot, if any.
    """

    run: Run
    past: pd.DataFrame
    tables: Tables
    scorer: Scorer
    memory: FeatureSnapshot | None


class LoadedRun:
    """A finished run; create it with :func:`~mtl_tasks.notebook.load_run`.

    The first prediction reads the run's log and models, which then stay in memory.
    """

    def __init__(self, past_run: PastRun, root: str | Path = ".") -> None:
        self._past_run, self._entry, self._root = past_run, past_run.entry, root

    def __repr__(self) -> str:
        return f"LoadedRun({self.scenario!r}, as_of={self.as_of!r}, status={self.status!r})"

    @property
    def scenario(self) -> str:
        """Name of the scenario."""
        return self._entry.scenario_name

    @property
    def as_of(self) -> str:
        """The day at or after which the run knows nothing, ``YYYY-MM-DD``."""
        return self._entry.as_of

    @property
    def run_key(self) -> str:
        """Key of the run."""
        return self._entry.run_key

    @property
    def status(self) -> str:
        """``promoted``, ``rejected``, ``retired`` and so on, when the run was loaded."""
        return self._past_run.standing

    @property
    def metrics(self) -> pd.DataFrame:
        """Metrics of the fusion on the test window, with the bounds of their 95 % intervals.

        Returns
        -------
        pandas.DataFrame
            ``task``, ``metric``, ``value``, ``low`` and ``high``; NaN where a value or an interval is missing.

        Examples
        --------
        >>> run.metrics.columns.tolist()
        ['task', 'metric', 'value', 'low', 'high']
        >>> run.metrics.query("metric == 'rmse'")["task"].tolist()
        ['rating']
        """
        rows = [
            (task, name, measured.value, *(measured.bounds or (None, None)))
            for task, metrics in self._past_run.metrics.items()
            for name, measured in metrics.items()
        ]
        made = pd.DataFrame(rows, columns=["task", "metric", "value", "low", "high"])
        return made.astype(dict.fromkeys(["value", "low", "high"], "float64"))

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the fused predictions for pairs of user and item, as recommendations have them.

        Parameters
        ----------
        frame
            Columns ``user_id`` and ``item_id``, of the types of the log's ids; other columns are ignored. An id without
            an event is scored as a new user or a new item. The context of an exposure is that of recommendations.

        Returns
        -------
        pandas.DataFrame
            ``user_id``, ``item_id`` and a float64 column ``prediction:<task>`` for each task, in the units of its
            label; the index is that of ``frame``.

        Raises
        ------
        DataError
            If a column is missing or there twice, or an id is null, of another type or too large for it.
        ArtifactError
            If an artifact of the run is missing or damaged.

        Examples
        --------
        >>> pairs = pd.DataFrame({"user_id": [58, 58], "item_id": [770828, 1300854]})
        >>> run.predict(pairs).columns.tolist()
        ['user_id', 'item_id', 'prediction:purchase', 'prediction:rating']
        """
        opened = self._opened
        rows = rows_like(frame, opened.past)
        tasks = opened.scorer.scenario.tasks
        if rows.empty:
            return rows.assign(**{columns.prediction(task): pd.Series(dtype="float64") for task in tasks})
        features = opened.scorer.serving_features(opened.past, opened.tables, rows, opened.run.as_of.day, opened.memory)
        predictions = to_label_units(opened.scorer.fuse(features), tasks)
        return rows.assign(**{str(name): predictions[name].to_numpy() for name in predictions})

    def recommend(self, users: Iterable[int | str]) -> pd.DataFrame:
        """Return the recommendations of some users.

        The stored recommendations of the run are returned where it has them. Those of other users of the log are made
        as the stage ``recommend`` makes them, and not stored; a table of exclusions is read as it is now.

        Parameters
        ----------
        users
            Ids of the log's type, each with an event.

        Returns
        -------
        pandas.DataFrame
            ``user_id``, ``rank`` (1 is best), ``item_id``, ``title``, ``score``, ``utility`` and a column
            ``prediction:<task>`` for each task, ordered by user and rank. A user who has taken every candidate has no
            row.

        Raises
        ------
        DataError
            If ``users`` is a single id, a user has no event, an id is of another type, or the table of exclusions
            that recommendations to be made need is missing or cannot be used.
        ArtifactError
            If an artifact of the run is missing or damaged.

        Examples
        --------
        >>> run.recommend([58])["rank"].tolist()
        [1, 2, 3, 4, 5]
        """
        if isinstance(users, str | int):  # a text would be taken for a list of its letters
            raise DataError(f"users: {users!r} is a single id: give a list of ids")
        past = self._opened.past
        wanted = ids_like(pd.Series(list(users)), past[columns.USER], "users").drop_duplicates()
        self._require_known(wanted)
        stored = self._lists
        stored = stored[stored[columns.USER].isin(wanted)]
        others = wanted[~wanted.isin(stored[columns.USER])]
        made = [stored, self._make_lists(others)] if len(others) else [stored]
        filled = [part for part in made if len(part)] or made[-1:]
        return pd.concat(filled).sort_values([columns.USER, columns.RANK], ignore_index=True)

    def explain(self, user: int | str, item: int | str, top: int = 8) -> RunExplanation:
        """Return the predictions for a user and an item with the contributions of features, as ``mtl explain`` does.

        Parameters
        ----------
        user
            A user of the log, or a new one.
        item
            An item with an event.
        top
            Number of features to name for each task, at least 1.

        Raises
        ------
        ConfigError
            If an id cannot be one of the log's, or ``top`` is less than 1.
        DataError
            If the item has no event.
        ArtifactError
            If an artifact of the run is missing or damaged.

        Examples
        --------
        >>> best = run.recommend([58]).iloc[0]
        >>> explanation = run.explain(58, best["item_id"], top=3)
        >>> sorted(explanation.tasks)
        ['purchase', 'rating']
        >>> len(explanation.tasks["rating"].explained.contributions)
        3
        """
        if top < 1:
            raise ConfigError(f"top is {top}, and at least 1 feature is named: choose a larger number")
        opened, past = self._opened, self._opened.past
        person = parse_id(str(user), past[columns.USER], "user")
        wanted = parse_id(str(item), past[columns.ITEM], "item")
        if not (past[columns.ITEM] == wanted).any():
            raise self._unknown("item", str(item))
        offers = (person, [wanted])
        [explanation] = explain_items(opened.scorer, past, opened.tables, offers, opened.run.as_of.day, top)
        return identified(opened.run, self._entry, explanation)

    @cached_property
    def _opened(self) -> _Opened:
        run, inputs = open_models(self._past_run.store, self._entry)
        events, tables, day = load_events(run, inputs), load_tables(inputs), run.as_of.day
        memory = load_memory(run, run.scenario, inputs, events, tables, day)
        return _Opened(run, events.before(day).frame, tables, load_scorer(run.scenario, inputs), memory)

    @cached_property
    def _lists(self) -> pd.DataFrame:
        """The run's stored recommendations; empty if it has none, as a rejected run."""
        lists = find_lists(self._past_run.store, self._entry)
        if lists is None:
            return pd.DataFrame({columns.USER: pd.Series(dtype=self._opened.past[columns.USER].dtype)})
        return lists.frame("recommendations")

    def _make_lists(self, users: pd.Series[Any]) -> pd.DataFrame:
        opened, day = self._opened, self._opened.run.as_of.day
        exclusions = self._read_exclusions()
        made = recommend_top_k(
            opened.scorer, opened.past, opened.tables, users.to_numpy(), day, opened.memory, exclusions
        )
        return made.lists

    def _read_exclusions(self) -> pd.DataFrame | None:
        scenario = self._opened.run.scenario
        table = scenario.recommend.reranking.exclude_table
        if table is None:
            return None
        files = [exclusion_file(table, self._root)]
        return read_exclusions(table, scenario, files, self._root, self._opened.past[columns.ITEM])

    def _require_known(self, users: pd.Series[Any]) -> None:
        unknown = users[~users.isin(self._opened.past[columns.USER])]
        if len(unknown):
            more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
            raise self._unknown("user", ", ".join(map(str, unknown.head(_SHOWN))) + more)

    def _unknown(self, kind: str, text: str) -> DataError:
        return without_event(kind, text, self.as_of, len(self._opened.past))
