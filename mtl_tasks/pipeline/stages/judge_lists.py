"""Evaluation of recommendations: every ranker's lists, made on days of the test window."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import SCORE, top_lists
from mtl_tasks.data.relevance import positives_before, relevance
from mtl_tasks.evaluation.item_catalog import ItemCatalog
from mtl_tasks.evaluation.lists import CLUSTER, POSITIVES, START, ListEvaluation, ListSettings
from mtl_tasks.features.groups.affinity import TASTE
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.executor import Shard, ShardResult, ShardWork, open_executor
from mtl_tasks.pipeline.stages.inputs import (
    load_memory,
    load_rankers,
    load_scorer,
    load_tables,
    load_windows,
)
from mtl_tasks.recommend.lists import item_facts
from mtl_tasks.recommend.reranking import rerank
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.recommend.source_recall import SourceRecall
from mtl_tasks.scenario import Scenario, parse_scenario
from mtl_tasks.store.documents.lists import WITH_RULES, RankingEvaluation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mtl_tasks.features.builder import Tables
    from mtl_tasks.recommend.item_facts import ItemFacts
    from mtl_tasks.recommend.rankers import Ranker, RankingRows

_TRUTH: Final = "truth"  # table that shards are given
_FOUND: Final = "found"  # table that they return beside the lists of each ranker
_CHAMPION: Final = "champion"
LIST_VALUES = "list_values"  # the file with the metrics of each list, for the gate's paired tests


@dataclass(frozen=True)
class ListTruths:
    """Items that users took after each start day.

    Attributes
    ----------
    starts
        Start days in the test window, ascending, equally far from each other.
    pairs
        User, item, day (the start day) and gain, of the users whose lists are judged.
    users
        Number of users from whom these are drawn.
    left_out
        Pairs that no list contains because the user had the item before.
    """

    starts: tuple[int, ...]
    pairs: pd.DataFrame
    users: int
    left_out: int

    @classmethod
    def of(cls, events: pd.DataFrame, scenario: Scenario, window: tuple[int, int]) -> ListTruths:
        """Look up the truth of each start day; a list is judged by what follows until the next start day."""
        first, end = window
        count = min(scenario.evaluate.list_days, end - first)
        horizon = (end - first) // count
        starts = tuple(first + step * horizon for step in range(count))
        leave_out = scenario.recommend.repeat == "leave_out"
        parts, left_out = [], 0
        for start in starts:
            until = end if start == starts[-1] else start + horizon
            found = relevance(
                events, scenario, scenario.target, scenario.recommend.gains, start, until, leave_out=leave_out
            )
            parts.append(found.truth.assign(**{columns.DAY: np.int32(start)}))
            left_out += found.left_out
        pairs = pd.concat(parts, ignore_index=True)
        everybody = pairs[columns.USER].unique()
        drawn = _drawn(everybody, max(1, scenario.evaluate.list_users // count), scenario.seed)
        pairs = pairs[pairs[columns.USER].isin(drawn)].reset_index(drop=True)
        return cls(starts, pairs, len(everybody), left_out)

    def at(self, start: int) -> pd.DataFrame:
        """Return the truth of one start day."""
        return self.pairs[self.pairs[columns.DAY] == start].reset_index(drop=True)

    def without(self, excluded: Mapping[int, NDArray[Any]]) -> ListTruths:
        """Leave out the pairs of items that no list of a start day may contain."""
        keys = pd.MultiIndex.from_frame(self.pairs[[columns.DAY, columns.ITEM]])
        banned = [(start, item) for start, items in excluded.items() for item in items]
        kept = self.pairs[~keys.isin(pd.MultiIndex.from_tuples(banned, names=keys.names))] if banned else self.pairs
        left_out = self.left_out + len(self.pairs) - len(kept)
        return replace(self, pairs=kept.reset_index(drop=True), left_out=left_out)

    @property
    def judged(self) -> int:
        """Number of users whose lists are judged."""
        return int(self.pairs[columns.USER].nunique())


def judge_lists(run: Run, inputs: Inputs) -> tuple[RankingEvaluation, pd.DataFrame]:
    """Judge the lists that every ranker would have made in the test window, made in shards of users.

    Returns
    -------
    tuple
        The document, and the metrics of each list without ids.
    """
    work = RankedLists(run, inputs)
    truths = work.truths
    made = _Judged(work, truths)
    with open_executor(os.environ) as executor:
        for shard in executor.map("evaluate", work, {_TRUTH: truths.pairs}):
            made.add(shard)
    return made.document(), made.lists.values()


def champion_list_values(run: Run, inputs: Inputs, scenario: Scenario, artifacts: Inputs) -> pd.DataFrame:
    """Return the metrics of the lists that a champion would make on the same days, for the same users and rules.

    The lists are in the order of those that :func:`judge_lists` returns.

    Parameters
    ----------
    scenario, artifacts
        The champion's. A champion from before there were rankers orders by its utility.
    """
    theirs = {f"{_CHAMPION}:{name}": artifact for name, artifact in artifacts.artifacts.items()}
    files = {_CHAMPION: scenario.model_dump_json().encode()}
    work = ChampionLists(run, Inputs({**inputs.artifacts, **theirs}, inputs.config), files)
    truths = work.truths
    items = np.sort(work.log.before(truths.starts[-1]).frame[columns.ITEM].unique())
    catalog = ItemCatalog.of(work.log.frame, items, truths.starts)
    settings = ListSettings(k=run.scenario.recommend.top_k, seed=run.scenario.seed)
    lists = ListEvaluation(truths.pairs, catalog, (_CHAMPION,), settings)
    with open_executor(os.environ) as executor:
        for shard in executor.map("gate", work, {_TRUTH: truths.pairs}):
            lists.add(_CHAMPION, shard.tables[_CHAMPION])
    return lists.values().drop(columns=[CLUSTER, START])


class ListWork(ShardWork):
    """Lists of the shard's users, on each start day on which they have a truth."""

    @property
    def scenario(self) -> Scenario:
        """The scenario whose models make the lists."""
        return self.run.scenario

    @property
    @abstractmethod
    def scorer(self) -> Scorer:
        """The scorer of the candidates."""

    @cached_property
    def tables(self) -> Tables:
        """Attributes of users and items."""
        return load_tables(self.inputs)

    @cached_property
    def truths(self) -> ListTruths:
        """The truth that lists can contain."""
        truths = ListTruths.of(self.log.frame, self.run.scenario, load_windows(self.inputs["split"])["test"])
        facts = {start: self.facts(start) for start in truths.starts}
        return truths.without({start: one.excluded_ids for start, one in facts.items() if one is not None})

    def facts(self, start: int) -> ItemFacts | None:
        """Return the facts that the rules of ``recommend.reranking`` read on a start day; None without rules.

        The exclusion table concerns future days, and is left out.
        """
        if not self.run.scenario.recommend.reranking.active:
            return None
        if start not in self._facts:
            scorer = replace(self.scorer, scenario=self.run.scenario)
            self._facts[start] = item_facts(scorer, self.log.frame, self.tables, start)
        return self._facts[start]

    @cached_property
    def _facts(self) -> dict[int, ItemFacts]:
        return {}

    def candidates(self, truth: pd.DataFrame, beside: Mapping[str, Ranker] | None = None) -> Iterator[RankingRows]:
        """Yield the scored candidates of the users of a truth, on each of its start days."""
        for start in np.unique(truth[columns.DAY]).tolist():
            users = truth.loc[truth[columns.DAY] == start, columns.USER].unique()
            memory = load_memory(self.run, self.scenario, self.inputs, self.log, self.tables, start)
            facts = self.facts(start)
            excluded = None if facts is None else facts.excluded_ids
            made = self.scorer.candidates(self.log.frame, self.tables, users, start, memory, beside, excluded)
            yield from self.after_first(made)

    def with_rules(self, scored: pd.DataFrame) -> pd.DataFrame:
        """Return the lists of a batch after the rules of the run."""
        recommend, facts = self.run.scenario.recommend, self.facts(int(scored[columns.DAY].iloc[0]))
        if facts is None:
            return top_lists(scored, SCORE, recommend.top_k)
        return rerank(scored, SCORE, recommend.top_k, recommend.reranking, facts)[0]


class RankedLists(ListWork):
    """Lists of every ranker."""

    @cached_property
    def scorer(self) -> Scorer:
        """The run's scorer."""
        return load_scorer(self.scenario, self.inputs)

    @cached_property
    def rankers(self) -> tuple[str, dict[str, Ranker]]:
        """The name of the chosen ranker, and all rankers by name."""
        loaded = load_rankers(self.scenario, self.inputs)
        assert loaded is not None  # every new run has the stage `rank`
        return loaded

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        """See :class:`ShardWork`."""
        truth, (chosen, rankers) = tables[_TRUTH], self.rankers
        beside = {f"{SCORE}.{name}": ranker for name, ranker in rankers.items() if name != chosen}
        counts = _CandidateCounts(self, truth)
        parts: dict[str, list[pd.DataFrame]] = {name: [] for name in rankers}
        if self.run.scenario.recommend.reranking.active:
            parts[WITH_RULES] = []
        for rows in self.candidates(truth, beside) if len(truth) else ():
            for name in rankers:
                column = SCORE if name == chosen else f"{SCORE}.{name}"
                parts[name].append(_listed(top_lists(rows.scored, column, self.scenario.recommend.top_k)))
            if WITH_RULES in parts:
                parts[WITH_RULES].append(_listed(self.with_rules(rows.scored)))
            counts.add(rows.scored)
        found = {} if counts.recall is None else {_FOUND: counts.recall.found}
        return ShardResult({**_joined(parts), **found}, counts.document())


class ChampionLists(ListWork):
    """Lists of a champion; its artifacts are inputs with a prefix, and its scenario is a file."""

    @cached_property
    def scenario(self) -> Scenario:
        """The champion's scenario."""
        return parse_scenario(json.loads(self.files[_CHAMPION]), where="the champion's scenario")

    @cached_property
    def scorer(self) -> Scorer:
        """The champion's scorer, with its factors extended by the run's log."""
        from mtl_tasks.features.builder import extend_factor_models

        scorer = load_scorer(self.scenario, Inputs(self.inputs.matching(_CHAMPION)))
        day = self.run.as_of.day
        return replace(
            scorer, factor_models=extend_factor_models(scorer.factor_models, self.log.frame, self.scenario, day)
        )

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        """See :class:`ShardWork`."""
        truth = tables[_TRUTH]
        made = [_listed(self.with_rules(rows.scored)) for rows in self.candidates(truth)] if len(truth) else []
        return ShardResult(_joined({_CHAMPION: made}), {})


class _CandidateCounts:
    """Counts the candidates of the shard's users, and those that are in the truth."""

    def __init__(self, work: ListWork, truth: pd.DataFrame) -> None:
        self._pairs = pd.MultiIndex.from_frame(truth[[columns.USER, columns.DAY, columns.ITEM]])
        self._candidates = self._found = 0
        self._first = load_windows(work.inputs["split"])["test"][0]  # the first start day
        first = truth[truth[columns.DAY] == self._first].reset_index(drop=True)
        self.recall = SourceRecall.at(work.log.frame, first, self._first, work.scenario) if len(first) else None

    def add(self, scored: pd.DataFrame) -> None:
        """Count a batch of candidates."""
        pairs = pd.MultiIndex.from_frame(scored[[columns.USER, columns.DAY, columns.ITEM]])
        self._candidates += len(pairs)
        self._found += int((self._pairs.get_indexer(pairs) >= 0).sum())
        if self.recall is not None and int(scored[columns.DAY].iloc[0]) == self._first:
            self.recall.add(scored)

    def document(self) -> dict[str, Any]:
        """Return the counts, which add up over shards."""
        offered = None if self.recall is None else self.recall.offered
        return {"candidates": self._candidates, "found": self._found, "offered": offered}


class _Judged:
    """Evaluates the lists of all shards."""

    def __init__(self, work: RankedLists, truths: ListTruths) -> None:
        self._work, self._truths, scenario = work, truths, work.scenario
        self._chosen, rankers = work.rankers
        settings, names = ListSettings(k=scenario.recommend.top_k, seed=scenario.seed), tuple(rankers)
        if scenario.recommend.reranking.active:  # what the rules cost is the difference from the chosen ranker's lists
            settings = replace(settings, references=(*settings.references, self._chosen))
            names = (*names, WITH_RULES)
        self.lists = ListEvaluation(truths.pairs, self._catalog(), names, settings, self._history())
        first = truths.starts[0]
        self._recall = SourceRecall.at(work.log.frame, truths.at(first), first, scenario)

    def add(self, shard: ShardResult) -> None:
        """Add the lists and counts of a shard."""
        for name, table in shard.tables.items():
            if name == _FOUND:
                self._recall.merge(table, shard.document["offered"])
            else:
                self.lists.add(name, table)
        self.lists.count_candidates(shard.document["candidates"], shard.document["found"])

    def document(self) -> RankingEvaluation:
        """Return everything that was collected."""
        truths, comparison = self._truths, self.lists.document()
        return RankingEvaluation(
            k=self._work.scenario.recommend.top_k,
            users=truths.judged,
            eligible_users=truths.users,
            unreachable=comparison.unreachable,
            candidate_recall=comparison.candidate_recall or 0.0,
            candidates_per_user=comparison.candidates_per_list or 0.0,
            chosen=self._chosen,
            left_out=truths.left_out,
            comparison=comparison,
            sources=self._recall.document(),
        )

    def _catalog(self) -> ItemCatalog:
        """Return the items known by the last start day, with the preference factors they had then."""
        last = self._truths.starts[-1]
        past = self._work.log.before(last).frame
        items = np.sort(past[columns.ITEM].unique())
        codes, fitted = self._work.scorer.factor_models[TASTE].at(last, items)
        vectors = np.zeros((len(items), fitted.shape[1]), dtype=np.float32)
        vectors[codes] = fitted
        return ItemCatalog.of(past, items, self._truths.starts, vectors)

    def _history(self) -> pd.DataFrame:
        """Count each judged user's positives before each start day."""
        frame = self._work.log.frame
        mine = frame[frame[columns.USER].isin(self._truths.pairs[columns.USER])]
        parts = []
        for start in self._truths.starts:
            counts = positives_before(mine, self._work.scenario, start).groupby(columns.USER).size()
            parts.append(counts.rename(POSITIVES).reset_index().assign(**{columns.DAY: np.int32(start)}))
        return pd.concat(parts, ignore_index=True)


def _listed(best: pd.DataFrame) -> pd.DataFrame:
    return best[[columns.USER, columns.DAY, columns.RANK, columns.ITEM]]


def _joined(parts: Mapping[str, list[pd.DataFrame]]) -> dict[str, pd.DataFrame]:
    """Return the lists by ranker, as far as there are any."""
    return {name: pd.concat(made, ignore_index=True) for name, made in parts.items() if made}


def _drawn(users: Any, most: int, seed: int) -> Any:
    if len(users) <= most:
        return users
    return users[np.random.default_rng(seed).choice(len(users), most, replace=False)]
