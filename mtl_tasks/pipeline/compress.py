"""Smaller models of a finished run, judged on its stored windows, and the run of the chosen one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.compression.cost import member_cost, model_cost
from mtl_tasks.compression.frontier import TEACHER, Comparison, Judge, Part, Point, Rows, choose, compare, held_out
from mtl_tasks.compression.pruning import can_be_cut, cut, without_one_by_one
from mtl_tasks.core import columns
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.models import Member, Predictions, member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.models.pooling import FLOOR
from mtl_tasks.models.teacher import check_teacher
from mtl_tasks.pipeline.days.features import feature_columns, read_days
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.past_documents import rebuild_run
from mtl_tasks.pipeline.stages.inputs import FITTED, load_windows, member_files, window_positions
from mtl_tasks.pipeline.stages.teaching import taught_tables
from mtl_tasks.pipeline.stages.train import labeled_table
from mtl_tasks.recommend.scorer import Scorer
from mtl_tasks.scenario import with_settings
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.training import TaskFusion
from mtl_tasks.store.registry import Registry, RunRecord

DISTILLED: Final = "distilled"
SHARES: Final = (1.0, 0.5, 0.25, 0.125)  # of the budget, for sizes of distilled trees
KEPT: Final = (0.5, 0.25, 0.125)  # shares of the rounds that pruned members keep
TIMED_ROWS: Final = 20_000


@dataclass(frozen=True)
class Frontier:
    """The candidates with their metrics, and the chosen one.

    Attributes
    ----------
    points
        Cheapest first.
    blend, test
        By point and task, see :func:`~mtl_tasks.compression.frontier.compare`. On test there are the chosen point and
        the teacher only, so that nobody chooses by it.
    cpu_seconds
        By point, the teacher among them: CPU seconds to score a million rows on this machine, for information.
    """

    entry: RunRecord
    judge: Judge
    points: tuple[Point, ...]
    chosen: Point
    budget: float
    blend: Mapping[str, Mapping[str, Comparison]]
    test: Mapping[str, Mapping[str, Comparison]]
    cpu_seconds: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {
            "scenario": self.judge.scenario.name,
            "as_of": self.entry.as_of,
            "teacher": self.entry.run_key,
            "budget": self.budget,
            "chosen": self.chosen.name,
            "settings": dict(self.chosen.settings),
            "points": [self._row(point) for point in (*self.points, self.judge.teacher)],
        }

    def _row(self, point: Point) -> dict[str, Any]:
        windows = {"blend": self.blend, "test": self.test}
        return {
            "name": point.name,
            "ratio": self.judge.ratio(point),
            "trees": point.cost.trees,
            "operations": point.cost.operations,
            "cpu_seconds_per_million": self.cpu_seconds[point.name],
            "excess_loss": point.excess,
            "settings": dict(point.settings),
            "tasks": {
                name: {task: found.to_json() for task, found in window[point.name].items()}
                for name, window in windows.items()
                if point.name in window
            },
        }


def find_frontier(store: Store, entry: RunRecord, budget: float) -> Frontier:
    """Make smaller models of a finished run, judge them, and choose one on blend.

    Nothing is written. Candidates are fewer members, the first trees of some, and distilled trees of several sizes.

    Parameters
    ----------
    budget
        Largest cost, as a share of the run's own.

    Raises
    ------
    ConfigError
        If the budget is not a share, the run may not be compressed, or no candidate costs so little.
    ArtifactError
        If an artifact of the run is missing or damaged.
    """
    if not 0 < budget <= 1:
        raise ConfigError(f"--budget {budget:g}: is a share of the run's cost, above 0 and at most 1: for example 0.25")
    check_teacher(entry, Registry(store, entry.scenario_document["name"]).read())
    material = _Material.of(store, entry, budget)
    if not material.judge.teacher.cost.trees:
        raise ConfigError(f"run {entry.run_key[:12]}: its fusion weighs no member with trees: there is nothing to save")
    points = tuple(sorted(material.points(), key=lambda point: point.cost.operations))
    chosen = choose(points, material.judge, budget)
    judge = material.judge
    every = (*points, judge.teacher)
    blend = compare(every, judge, material.rows["blend"], "blend")
    test = compare((chosen, judge.teacher), judge, material.rows["test"], "test")
    spent = {point.name: _cpu_seconds(material, point) for point in every}
    return Frontier(entry, judge, points, chosen, budget, blend, test, spent)


def compressed_run(store: Store, entry: RunRecord, point: Point) -> Run:
    """Return the run of a point: its teacher's scenario with the point's settings.

    Raises
    ------
    ConfigError
        If the gate has no rule that compares the run with its teacher.
    """
    run = rebuild_run(store, entry)
    return Run(with_settings(run.scenario, dict(point.settings)), run.as_of, store, run.force)


@dataclass(frozen=True)
class _Material:
    """The artifacts that candidates are made from.

    Attributes
    ----------
    run
        Of the distilled candidates; its scenario is the teacher's but for members and section `compression`.
    before, after
        The teacher's members before and after their refit.
    rows
        Users and labels of `blend` and `test`.
    places
        Positions of each window's rows.
    """

    run: Run
    teacher: Run
    inputs: Inputs
    before: Mapping[str, Member]
    after: Mapping[str, Member]
    rows: Mapping[str, Rows]
    places: Mapping[str, slice]
    budget: float

    @classmethod
    def of(cls, store: Store, entry: RunRecord, budget: float) -> _Material:
        """Open the artifacts of a finished run."""
        teacher = rebuild_run(store, entry)
        settings = {"compression.teacher": entry.run_key, "members": [FLOOR, DISTILLED]}
        run = Run(with_settings(teacher.scenario, settings), teacher.as_of, store, teacher.force)
        inputs = Inputs({name: store.open(ref) for name, ref in entry.refs.items()})
        rows = inputs["split"].frame("rows")
        places = window_positions(rows, load_windows(inputs["split"]))
        members: list[dict[str, Member]] = []
        for prefix in (FITTED, ""):
            loaded = {}
            for kind in teacher.scenario.members:
                artifact = inputs[f"member:{kind}"]
                files = member_files(artifact, prefix) if prefix else {}
                loaded[str(kind)] = member_class(kind).load(files or member_files(artifact), teacher.scenario)
            members.append(loaded)
        windows = {name: _rows_of(rows.iloc[places[name]], list(run.scenario.tasks)) for name in ("blend", "test")}
        return cls(run, teacher, inputs, members[0], members[1], windows, places, budget)

    @cached_property
    def judge(self) -> Judge:
        """The teacher, and the window that candidates are judged on."""
        fusion = self.inputs["fuse"].json("fusion")
        fusions = {task: TaskFusion.from_json(document) for task, document in fusion.items()}
        parts = {name: self._stored(name) for name in self.after}
        scenario, blend = self.teacher.scenario, self.rows["blend"]
        fused = held_out(scenario, blend, parts, fusions)
        return Judge(scenario, blend, Point(TEACHER, {}, parts, fusions, model_cost(self.after, fusion), fused))

    def points(self) -> Iterator[Point]:
        """Yield the candidates."""
        named = {"compression.teacher": self.run.scenario.compression.teacher}
        yield from self._pruned(named)
        yield from self._distilled({**named, "members": [FLOOR, DISTILLED]})

    def _pruned(self, named: dict[str, Any]) -> Iterator[Point]:
        """Leave members out one by one, then keep only the first trees of those that can be cut."""
        judge, whole = self.judge, {name: self._stored(name) for name in self.after}
        fusions = judge.teacher.fusions
        weighing = [name for name in whole if any(fusions[task].weights[name] > 0 for task in fusions)]
        kept = tuple(name for name in whole if name == FLOOR or name in weighing)
        found: dict[tuple[str, ...], Point] = {}
        first = cache(self._first)  # candidates share them

        def made(members: tuple[str, ...]) -> Point:
            if members not in found:
                parts, settings = {name: whole[name] for name in members}, {**named, "members": list(members)}
                found[members] = judge.point(_title(members), settings, parts)
            return found[members]

        smaller = list(without_one_by_one(kept, lambda members: made(members).excess))
        yield from map(made, smaller)
        uncut = [
            name for name, member in self.after.items() if isinstance(member, BoostedMember) and not can_be_cut(member)
        ]
        cuttable = dict.fromkeys(tuple(one for one in members if one not in uncut) for members in (kept, *smaller))
        for members in cuttable:
            if any(isinstance(self.after[name], BoostedMember) for name in members):
                yield from self._cut(members, {**named, "members": list(members)}, first)

    def _cut(
        self, members: tuple[str, ...], settings: dict[str, Any], first: Callable[[str, int], Part]
    ) -> Iterator[Point]:
        boosted = [name for name in members if isinstance(self.after[name], BoostedMember)]
        longest = max(_rounds(self.after[name]) for name in boosted)
        for most in dict.fromkeys(max(1, math.ceil(share * longest)) for share in KEPT):
            parts = {name: first(name, most) if name in boosted else self._stored(name) for name in members}
            title = f"{_title(members)}, {most} rounds"
            yield self.judge.point(title, {**settings, "boosting.rounds": most}, parts)

    def _distilled(self, settings: dict[str, Any]) -> Iterator[Point]:
        """Grow the largest distilled trees once; smaller ones are the first of them."""
        tasks, whole = list(self.run.scenario.tasks), self.judge.teacher.cost
        most = max(1, math.ceil(self.budget * whole.trees / len(tasks)))
        before, after = self._grown(most)
        affordable = self.budget * whole.operations / (member_cost(after, tasks).operations / most)  # rounds
        for rounds in dict.fromkeys(min(most, max(1, math.floor(share * affordable))) for share in SHARES):
            part = self._part(cut(before, rounds), cut(after, rounds))
            title = f"distilled, {rounds} rounds"
            own = {**settings, "compression.rounds": rounds}
            yield self.judge.point(title, own, {FLOOR: self._stored(FLOOR), DISTILLED: part})

    def _grown(self, most: int) -> tuple[BoostedMember, BoostedMember]:
        """Return the distilled member before and after its refit."""
        store, features = self.run.store, self.inputs["features"]
        scenario = with_settings(self.run.scenario, {"compression.rounds": most})
        made = feature_columns(store, features, scenario)
        run = Run(scenario, self.run.as_of, store, self.run.force)
        table, place = labeled_table(run, self.inputs, made)
        fitting, refitting = taught_tables(run, self.inputs, table, place["blend"])
        train, tune = (fitting.where(place[name]) for name in ("train", "tune"))
        before = member_class("distilled").fit(train, tune, scenario)
        after = before if scenario.refit == "none" else before.refit(refitting.where(slice(place["test"].start)))
        assert isinstance(before, BoostedMember)
        assert isinstance(after, BoostedMember)
        return before, after

    @cached_property
    def blend_features(self) -> pd.DataFrame:
        """Features of blend."""
        return self._features("blend")

    @cached_property
    def test_features(self) -> pd.DataFrame:
        """Features of test."""
        return self._features("test")

    def _features(self, window: str) -> pd.DataFrame:
        place = self.places[window]
        return read_days(self.run.store, self.inputs["features"], positions=np.arange(place.start, place.stop))

    def _stored(self, name: str) -> Part:
        """Return a whole member of the teacher with its stored predictions."""
        artifact, tasks = self.inputs[f"member:{name}"], list(self.run.scenario.tasks)
        blend = _predictions(artifact.frame("blend"), tasks)
        return Part(self.after[name], blend, cache(lambda: _predictions(artifact.frame("test"), tasks)))

    def _first(self, name: str, most: int) -> Part:
        before, after = self.before[name], self.after[name]
        assert isinstance(before, BoostedMember)
        assert isinstance(after, BoostedMember)
        return self._part(cut(before, most), cut(after, most))

    def _part(self, before: Member, after: Member) -> Part:
        return Part(after, before.predict(self.blend_features), cache(lambda: after.predict(self.test_features)))


def _title(members: tuple[str, ...]) -> str:
    return " + ".join(name for name in members if name != FLOOR) or FLOOR


def _rounds(member: Member) -> int:
    assert isinstance(member, BoostedMember)
    return max(max(trees.rounds) for trees in member.learned.trees.values())


def _rows_of(rows: pd.DataFrame, tasks: list[str]) -> Rows:
    labels = {task: rows[columns.label(task)].to_numpy().astype(np.float64) for task in tasks}
    return Rows(rows[columns.USER].to_numpy(), labels)


def _predictions(frame: pd.DataFrame, tasks: list[str]) -> Predictions:
    made: dict[str, NDArray[np.float64]] = {task: frame[columns.prediction(task)].to_numpy() for task in tasks}
    return made


def _cpu_seconds(material: _Material, point: Point) -> float:
    """Return the CPU seconds to score a million rows with all tasks; features are not part of it."""
    features = material.blend_features.iloc[:TIMED_ROWS]
    fusions = {task: fusion.to_json() for task, fusion in point.fusions.items()}
    members = {name: part.member for name, part in point.parts.items()}
    scorer = Scorer(material.run.scenario, {}, members, fusions)
    started = time.process_time()
    scorer.fuse(features)
    return (time.process_time() - started) / len(features) * 1e6
