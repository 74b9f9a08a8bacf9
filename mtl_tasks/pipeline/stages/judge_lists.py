"""Evaluation of recommendations: every ranker's lists, made on days of the test window."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import SCORE, top_lists
from mtl_tasks.data.relevance import positives_before, relevance
from mtl_tasks.evaluation.item_catalog import ItemCatalog
from mtl_tasks.evaluation.lists import CLUSTER, POSITIVES, START, ListEvaluation, ListSettings
from mtl_tasks.features.groups.affinity import TASTE
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.inputs import (
    load_events,
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
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.documents.lists import WITH_RULES, RankingEvaluation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mtl_tasks.data.interaction_log import InteractionLog
    from mtl_tasks.features.builder import Tables
    from mtl_tasks.recommend.item_facts import ItemFacts

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
    """Judge the lists that every ranker would have made in the test window.

    Returns
    -------
    tuple
        The document, and the metrics of each list without ids.
    """
    scenario, log = run.scenario, load_events(run, inputs)
    truths = ListTruths.of(log.frame, scenario, load_windows(inputs["split"])["test"])
    loaded = load_rankers(scenario, inputs)
    assert loaded is not None  # every new run has the stage `rank`
    (chosen, rankers), scorer = loaded, load_scorer(scenario, inputs)
    facts = _facts(scorer, log, load_tables(inputs), truths.starts)
    truths = truths.without({start: one.excluded_ids for start, one in facts.items()})
    beside = {f"{SCORE}.{name}": ranker for name, ranker in rankers.items() if name != chosen}
    made = _Judged(run, inputs, scorer, log, truths, facts, chosen, tuple(rankers))
    for start in truths.starts:
        made.add(start, beside)
    return made.document(), made.lists.values()


def _facts(scorer: Scorer, log: InteractionLog, tables: Tables, starts: tuple[int, ...]) -> dict[int, ItemFacts]:
    """Return the facts that the rules of ``recommend.reranking`` read on each start day; empty without rules.

    The exclusion table concerns future days, and is left out.
    """
    if not scorer.scenario.recommend.reranking.active:
        return {}
    return {start: item_facts(scorer, log.frame, tables, start) for start in starts}


def champion_list_values(run: Run, inputs: Inputs, scenario: Scenario, artifacts: Inputs) -> pd.DataFrame:
    """Return the metrics of the lists that a champion would make on the same days, for the same users and rules.

    The lists are in the order of those that :func:`judge_lists` returns.

    Parameters
    ----------
    scenario, artifacts
        The champion's. A champion from before there were rankers orders by its utility.
    """
    from mtl_tasks.features.builder import extend_factor_models

    log, tables = load_events(run, inputs), load_tables(inputs)
    truths = ListTruths.of(log.frame, run.scenario, load_windows(inputs["split"])["test"])
    scorer = load_scorer(scenario, artifacts)
    scorer = replace(
        scorer, factor_models=extend_factor_models(scorer.factor_models, log.frame, scenario, run.as_of.day)
    )
    facts = _facts(replace(scorer, scenario=run.scenario), log, tables, truths.starts)
    truths = truths.without({start: one.excluded_ids for start, one in facts.items()})
    rules = run.scenario.recommend.reranking
    items = np.sort(log.before(truths.starts[-1]).frame[columns.ITEM].unique())
    catalog = ItemCatalog.of(log.frame, items, truths.starts)
    settings = ListSettings(k=run.scenario.recommend.top_k, seed=run.scenario.seed)
    lists = ListEvaluation(truths.pairs, catalog, ("champion",), settings)
    for start in truths.starts:
        users = truths.at(start)[columns.USER].unique()
        memory = load_memory(run, scenario, inputs, log, tables, start)
        of_start = facts.get(start)
        excluded = None if of_start is None else of_start.excluded_ids
        made = scorer.candidates(log.frame, tables, users, start, memory, without=excluded) if len(users) else ()
        for rows in made:
            plain = top_lists(rows.scored, SCORE, settings.k)
            best = plain if of_start is None else rerank(rows.scored, SCORE, settings.k, rules, of_start)[0]
            lists.add("champion", best)
    return lists.values().drop(columns=[CLUSTER, START])


class _Judged:
    """Collects the lists of every start day."""

    def __init__(
        self,
        run: Run,
        inputs: Inputs,
        scorer: Scorer,
        log: InteractionLog,
        truths: ListTruths,
        facts: Mapping[int, ItemFacts],
        chosen: str,
        rankers: tuple[str, ...],
    ) -> None:
        self._run, self._inputs, self._scorer, self._log, self._truths = run, inputs, scorer, log, truths
        self._tables, self._chosen, self._rankers = load_tables(inputs), chosen, rankers
        self._facts = facts
        scenario = run.scenario
        settings, names = ListSettings(k=scenario.recommend.top_k, seed=scenario.seed), rankers
        if scenario.recommend.reranking.active:  # what the rules cost is the difference from the chosen ranker's lists
            settings = replace(settings, references=(*settings.references, chosen))
            names = (*rankers, WITH_RULES)
        self.lists = ListEvaluation(truths.pairs, self._catalog(), names, settings, self._history())
        first = truths.starts[0]
        self._recall = SourceRecall.at(log.frame, truths.at(first), first, scenario)

    def add(self, start: int, beside: dict[str, Any]) -> None:
        """Make and collect the lists of a start day."""
        run, truth = self._run, self._truths.at(start)
        if not len(truth):
            return
        memory = load_memory(run, run.scenario, self._inputs, self._log, self._tables, start)
        users, recommend = truth[columns.USER].unique(), run.scenario.recommend
        facts = self._facts.get(start)
        excluded = None if facts is None else facts.excluded_ids
        for rows in self._scorer.candidates(self._log.frame, self._tables, users, start, memory, beside, excluded):
            for name in self._rankers:
                column = SCORE if name == self._chosen else f"{SCORE}.{name}"
                self.lists.add(name, top_lists(rows.scored, column, run.scenario.recommend.top_k))
            if facts is not None:
                best, _ = rerank(rows.scored, SCORE, recommend.top_k, recommend.reranking, facts)
                self.lists.add(WITH_RULES, best)
            self.lists.add_candidates(rows.scored)
            if start == self._truths.starts[0]:
                self._recall.add(rows.scored)

    def document(self) -> RankingEvaluation:
        """Return everything that was collected."""
        truths, comparison = self._truths, self.lists.document()
        return RankingEvaluation(
            k=self._run.scenario.recommend.top_k,
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
        past = self._log.before(last).frame
        items = np.sort(past[columns.ITEM].unique())
        codes, fitted = self._scorer.factor_models[TASTE].at(last, items)
        vectors = np.zeros((len(items), fitted.shape[1]), dtype=np.float32)
        vectors[codes] = fitted
        return ItemCatalog.of(past, items, self._truths.starts, vectors)

    def _history(self) -> pd.DataFrame:
        """Count each judged user's positives before each start day."""
        frame = self._log.frame
        mine = frame[frame[columns.USER].isin(self._truths.pairs[columns.USER])]
        parts = []
        for start in self._truths.starts:
            counts = positives_before(mine, self._run.scenario, start).groupby(columns.USER).size()
            parts.append(counts.rename(POSITIVES).reset_index().assign(**{columns.DAY: np.int32(start)}))
        return pd.concat(parts, ignore_index=True)


def _drawn(users: Any, most: int, seed: int) -> Any:
    if len(users) <= most:
        return users
    return users[np.random.default_rng(seed).choice(len(users), most, replace=False)]
