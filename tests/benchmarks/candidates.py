"""Candidate sources for new items on the finished runs of a store: recall, and NDCG of the lists that result.

No member is trained. The run's own members and ranker order the candidates of all sources; the lists of some sources
are the best of the candidates that these offered. The sources' sizes are compared on the blend window, and the test
window is read once.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from mtl_tasks.core import columns
from mtl_tasks.core.top_lists import POPULAR, SCORE, top_lists
from mtl_tasks.data.relevance import GAIN, relevance
from mtl_tasks.features.builder import TASTE, FeatureMaker, Tables
from mtl_tasks.features.content import fit_content
from mtl_tasks.features.interactions import encode
from mtl_tasks.models.calibration import clustered_mean
from mtl_tasks.models.deep.two_tower import TwoTower
from mtl_tasks.pipeline.days.log import read_events
from mtl_tasks.pipeline.engine import Inputs
from mtl_tasks.pipeline.stages.inputs import load_scorer, load_tables, load_windows
from mtl_tasks.recommend.candidates import SOURCES, Candidates, sorted_codes, source_bit
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.recommend.sources.new_items import NEW_DAYS
from mtl_tasks.recommend.towers import fit_towers
from mtl_tasks.scenario import Scenario, SourceName, parse_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry
from mtl_tasks.store.sealing import key_from
from tests.benchmarks.scenarios import Finished, newest

USERS: Final = 1000
WIDER: Final = 1.5
SIZE: Final = 100  # candidates from each added source
ADDED: Final[tuple[SourceName, ...]] = ("new_items", "content", "two_tower")
TITLES: Final = ("movies", "retail")  # scenarios whose titles are sentences or names, and so a text


@dataclass(frozen=True)
class World:
    """A finished run, with the added sources switched on.

    ``before_refit`` of the scorer had not seen the blend window.
    """

    scenario: Scenario
    own: list[SourceName]
    events: pd.DataFrame
    tables: Tables
    windows: dict[str, tuple[int, int]]
    scorer: Scorer

    @property
    def added(self) -> list[SourceName]:
        """The sources that the run did not have."""
        return [name for name in self.scenario.recommend.source_sizes if name not in self.own]

    @classmethod
    def of(cls, run: Finished) -> World:
        """Open a run."""
        inputs = Inputs(run.artifacts, {})
        document: dict[str, Any] = run.scenario.model_dump(mode="json")
        tables = load_tables(inputs)
        sizes = dict.fromkeys(ADDED, SIZE)
        if run.scenario.name in TITLES:
            document["source"]["items"]["text"] = [document["source"]["items"]["title"]]
            tables = replace(tables, items=tables.items.assign(**{columns.TEXT: tables.items[columns.TITLE]}))
        else:
            del sizes["content"]
        document["recommend"]["sources"] |= sizes
        scenario = parse_scenario(document, where=f"the registry of {run.scenario.name}")
        events, scorer = read_events(run.store, run.artifacts["validate"]), load_scorer(run.scenario, inputs)
        factor_models = scorer.factor_models | fit_content(
            tables.items, events, scenario, scorer.factor_models[TASTE].start
        )
        own = list(run.scenario.recommend.source_sizes)
        windows = load_windows(run.artifacts["split"])
        return cls(
            scenario, own, events, tables, windows, replace(scorer, scenario=scenario, factor_models=factor_models)
        )

    def truth(self, window: str) -> pd.DataFrame:
        """Return what a sample of users took in a window: user, item, gain and whether the item was new."""
        start, end = self.windows[window]
        scenario = self.scenario
        leave_out = scenario.recommend.repeat == "leave_out"
        found = relevance(
            self.events, scenario, scenario.target, scenario.recommend.gains, start, end, leave_out=leave_out
        ).truth
        users = found[columns.USER].unique()
        if len(users) > USERS:
            users = np.random.default_rng(scenario.seed).choice(users, USERS, replace=False)
        past = self.events[self.events[columns.DAY] < start]
        first = past.groupby(columns.ITEM, observed=True)[columns.DAY].min()
        found = found[found[columns.USER].isin(users)]
        return found.assign(new=found[columns.ITEM].isin(first.index[first >= start - NEW_DAYS]))

    def scored(self, truth: pd.DataFrame) -> pd.DataFrame:
        """Return the candidates of the truth's users at the start of the test window, with the ranker's scores."""
        day, users = self.windows["test"][0], np.sort(truth[columns.USER].unique())
        scorer = replace(self.scorer, towers=self._towers(day))
        kept = [columns.USER, columns.ITEM, columns.DAY, SOURCES, SCORE, POPULAR]
        made = scorer.candidates(self.events, self.tables, users, day)
        return pd.concat([rows.scored[kept] for rows in made], ignore_index=True)

    def offered(self, truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the candidates of the truth's users at the start of the blend window, without scores.

        The second table is of the run's own sources alone, each with ``WIDER`` times as many items.
        """
        day, users = self.windows["blend"][0], truth[columns.USER].unique()
        past = self.events[self.events[columns.DAY] < day]
        coded, _ = encode(past, past.iloc[:0], self.scenario)
        maker = FeatureMaker(coded, self.tables, self.scorer.factor_models, self.scenario)
        maker.advance(day)
        sizes = self.scenario.recommend.source_sizes
        wide = {name: int(WIDER * size) if name in self.own else 0 for name, size in sizes.items()}
        document: dict[str, Any] = self.scenario.model_dump(mode="json")
        document["recommend"]["sources"] |= wide
        wider = parse_scenario(document, where="the benchmark")
        codes, towers = sorted_codes(coded.user_ids, users), self._towers(day)
        batches = np.array_split(codes, max(1, len(codes) // 200))
        return _pairs(Candidates(maker, day, self.scenario, towers), batches, maker), _pairs(
            Candidates(maker, day, wider), batches, maker
        )

    def _towers(self, day: int) -> TwoTower:
        return fit_towers(self.events, self.tables, self.scorer.factor_models, self.scenario, day)


def _pairs(candidates: Candidates, batches: list[NDArray[np.int64]], maker: FeatureMaker) -> pd.DataFrame:
    """Return user, item and sources of the candidates of some users."""
    parts = []
    for codes in batches:
        rows, masks = candidates.rows(codes)
        users, items = maker.events.user_ids[rows.users], maker.events.item_ids[rows.items]
        parts.append(pd.DataFrame({columns.USER: users, columns.ITEM: items, SOURCES: masks}))
    return pd.concat(parts, ignore_index=True)


def main(store: str, console: Console) -> None:
    """Print the tables of every scenario that has a verdict in the store."""
    opened = Store(store, key_from(os.environ))
    for name in sorted(folder.parent.name for folder in opened.root.glob("*/registry")):
        if Registry(opened, name).entries():
            compare(World.of(newest(opened, name)), console)


def compare(world: World, console: Console) -> None:
    """Print recall on blend and test, and NDCG on test, with the run's own sources and with each added one."""
    choices: dict[str, list[SourceName]] = {"own sources": world.own}
    choices |= {f"+ {name}": [*world.own, name] for name in world.added}
    choices["+ all"] = [*world.own, *world.added]
    table = Table(title=world.scenario.name, box=SIMPLE)
    headings = ("window", "sources", "candidates", "recall", "recall new", f"NDCG@{world.scenario.recommend.top_k}")
    for heading in (*headings, "− own", "NDCG new", "− own"):
        table.add_column(heading, justify="right")
    k = world.scenario.recommend.top_k
    for window in ("blend", "test"):
        truth = world.truth(window)
        made, wider = world.offered(truth) if window == "blend" else (world.scored(truth), None)
        about = f"{window} ({len(truth):,} pairs, {int(truth['new'].sum()):,} new)"
        plain: list[NDArray[np.float64]] = []
        for label, sources in choices.items():
            mask = sum(source_bit(name) for name in sources)
            chosen = made[(made[SOURCES].to_numpy() & mask) > 0]
            cells = _found(truth, chosen)
            if window == "test":
                found = [_ndcg(truth, chosen, k, new) for new in (False, True)]
                plain = plain or found
                for values, own in zip(found, plain, strict=True):
                    cells += [f"{values.mean():.4f}" if len(values) else "–", _difference(values - own)]
            table.add_row(about, label, *cells)
        if wider is not None:
            table.add_row(about, f"own sources, {WIDER} times as many", *_found(truth, wider))
    console.print(table)


def _found(truth: pd.DataFrame, made: pd.DataFrame) -> list[str]:
    """Return the number of candidates of a user, and the recall of the truth and of its new items."""
    return [f"{len(made) / truth[columns.USER].nunique():.0f}", *map(_share, _recall(truth, made))]


def _recall(truth: pd.DataFrame, made: pd.DataFrame) -> tuple[float, float]:
    """Return the share of the truth, and of its new items, that is among the candidates."""
    pair = [columns.USER, columns.ITEM]
    found = pd.MultiIndex.from_frame(truth[pair]).isin(pd.MultiIndex.from_frame(made[pair]))
    new = truth["new"].to_numpy()
    return float(found.mean()), float(found[new].mean()) if new.any() else float("nan")


def _ndcg(truth: pd.DataFrame, made: pd.DataFrame, k: int, new: bool) -> NDArray[np.float64]:
    """Return the NDCG of each user's list, or that of its new items alone, for users who took any."""
    wanted = truth[truth["new"]] if new else truth
    best = top_lists(made, SCORE, k)
    pairs = best.merge(wanted, on=[columns.USER, columns.ITEM], how="left")
    gains = pairs[GAIN].fillna(0.0).to_numpy() / np.log2(pairs[columns.RANK].to_numpy() + 1.0)
    reached = pd.Series(gains).groupby(pairs[columns.USER].to_numpy()).sum()
    ordered = wanted.sort_values([columns.USER, GAIN], ascending=[True, False])
    place = ordered.groupby(columns.USER).cumcount().to_numpy() + 1
    worth = pd.Series(np.where(place <= k, ordered[GAIN].to_numpy() / np.log2(place + 1.0), 0.0))
    ideal = worth.groupby(ordered[columns.USER].to_numpy()).sum()
    return np.asarray(reached.reindex(ideal.index).fillna(0.0) / ideal, dtype=np.float64)


def _difference(values: NDArray[np.float64]) -> str:
    if not len(values) or not values.any():
        return "–"
    mean, error = clustered_mean(values, np.arange(len(values)))
    return f"{mean:+.4f} ± {error:.4f}"


def _share(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"
