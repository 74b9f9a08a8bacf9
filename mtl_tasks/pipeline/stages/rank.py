"""The stage `rank`: fits the rankers on lists of days before the test window, and chooses one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from mtl_tasks.core import columns
from mtl_tasks.pipeline.engine import Inputs, Run, jax_versions
from mtl_tasks.pipeline.executor import Shard, ShardResult, ShardWork, open_executor
from mtl_tasks.pipeline.stages.config import sections
from mtl_tasks.pipeline.stages.inputs import (
    RANK,
    TOWERS,
    load_scorer,
    load_tables,
    load_windows,
    prefixed,
    ranker_prefix,
)
from mtl_tasks.pipeline.stages.work import Work
from mtl_tasks.store.artifacts import Payload

if TYPE_CHECKING:
    import pandas as pd

    from mtl_tasks.data.interaction_log import InteractionLog
    from mtl_tasks.models.deep.two_tower import TwoTower
    from mtl_tasks.recommend.scorer import Scorer
    from mtl_tasks.recommend.training_lists import DayLists, ListDays, ListSampler

_EARLY: Final = "early"  # the days before the blend window
_BLEND: Final = "blend"
_TEST: Final = "test"


def rank_config(run: Run) -> dict[str, Any]:
    """Return the configuration of the stage; two towers depend on the versions of JAX too."""
    own = sections("recommend", "boosting", "seed")(run)
    return {**own, "libraries": jax_versions()} if run.scenario.recommend.sources.two_tower else own


def rank(run: Run, inputs: Inputs) -> Payload:
    """Fit the rankers on lists made as recommendations are, and choose one on a later day."""
    from mtl_tasks.recommend.rankers.choice import fit_rankers
    from mtl_tasks.recommend.training_lists import ListDays

    scenario, windows = run.scenario, load_windows(inputs["split"])
    days = ListDays.of(windows, scenario)
    work = TrainingLists(run, inputs)
    # Towers are fitted before the first of the lists that they find candidates for.
    starts = {_EARLY: days.early[:1], _BLEND: (days.blend,), _TEST: (windows["test"][0],)}
    work.files = _towers(work, {name: day for name, chosen in starts.items() for day in chosen})
    early, blend = labeled_lists(work, days)
    made = fit_rankers(days, early, blend[0] if blend else None, scenario)
    payload = Payload(rows=sum(len(day.lists.gain) for day in [*early, *blend]))
    payload.summary = {"chosen": made.document.chosen, "note": made.document.note, "degraded": made.document.degraded}
    for name, ranker in made.rankers.items():
        payload.files |= prefixed(ranker.files(), ranker_prefix(name))
    payload.add_json(RANK, made.document.to_stored())
    final = work.towers(_TEST)
    if final is not None:
        payload.files |= prefixed(final.files(), TOWERS)
        payload.summary["two_tower"] = {"before": final.document.before, "losses": list(final.document.losses)}
    return payload


class TrainingLists(ShardWork):
    """Labeled candidates of the shard's users, on the days that rankers learn from."""

    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        """See :class:`ShardWork`."""
        made = {
            name: self.sampler.candidates(
                replace(self.scorer, towers=self.towers(name)),
                _by_day(table),
                predicted=name == _BLEND,
                timed=self.after_first,
            )
            if len(table := tables[name])
            else table
            for name in (_EARLY, _BLEND)
        }
        return ShardResult(made, {})

    @cached_property
    def scorer(self) -> Scorer:
        """The scorer with the members that have not seen the blend window."""
        return load_scorer(self.run.scenario, self.inputs, before_refit=True)

    @cached_property
    def sampler(self) -> ListSampler:
        """The sampler of lists from the log before the test window."""
        from mtl_tasks.recommend.training_lists import ListSampler

        return ListSampler(self.log.frame, load_tables(self.inputs), self.run.scenario)

    @cached_property
    def log(self) -> InteractionLog:
        """The log before the test window; the rest is not kept."""
        return super().log.before(load_windows(self.inputs["split"])["test"][0])

    def towers(self, name: str) -> TwoTower | None:
        """Return the towers for lists of some days; None if their source is off."""
        from mtl_tasks.models.deep.two_tower import TwoTower

        files = {one.removeprefix(f"{name}."): data for one, data in self.files.items() if one.startswith(f"{name}.")}
        return TwoTower.load(files) if files else None


def _towers(work: TrainingLists, starts: Mapping[str, int]) -> dict[str, bytes]:
    """Fit the towers on what was before each of some days, and return their files by the name of the day."""
    if not work.run.scenario.recommend.sources.two_tower:
        return {}
    from mtl_tasks.recommend.towers import fit_towers

    scenario, factor_models, tables = work.run.scenario, work.scorer.factor_models, load_tables(work.inputs)
    files: dict[str, bytes] = {}
    for name, start in starts.items():
        fitted = fit_towers(work.log.frame, tables, factor_models, scenario, start)
        files |= prefixed(fitted.files(), f"{name}.")
    return files


def labeled_lists(work: TrainingLists, days: ListDays) -> tuple[list[DayLists], list[DayLists]]:
    """Return the lists of the early days and of the blend window's first day, made in shards of users."""
    sampler = work.sampler
    truths = {
        name: {day: sampler.truth(day, days.horizon) for day in chosen}
        for name, chosen in ((_EARLY, days.early), (_BLEND, (days.blend,)))
    }
    tables = {name: _with_days(by_day) for name, by_day in truths.items()}
    with open_executor(os.environ) as executor:
        shards = executor.map("rank", work, tables)
    early, blend = (sampler.lists([shard.tables[name] for shard in shards], truths[name]) for name in truths)
    return early, blend


def _by_day(table: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """Invert :func:`_with_days`, without days that no row has."""
    days = table[columns.DAY]
    return {day: table[days == day].reset_index(drop=True) for day in sorted(days.unique().tolist())}


def _with_days(truths: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Return the truth of all days as a table with the day."""
    import pandas as pd

    dated = [truth.assign(**{columns.DAY: day}) for day, truth in truths.items()]
    return pd.concat(dated, ignore_index=True) if dated else pd.DataFrame({columns.USER: [], columns.DAY: []})


WORK: Final = {"rank": Work(rank_config, rank)}
