"""Base class of boosted members: ordinary LightGBM models of every task."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.boosting.binning import Encoder, Matrix
from mtl_tasks.models.boosting.compiled import CompiledTrees
from mtl_tasks.models.boosting.device import at_work, resolve_device
from mtl_tasks.models.boosting.shap import affordable_rows, contributions, importance_split, summarize
from mtl_tasks.models.boosting.shared_trees import TaskInteraction
from mtl_tasks.models.boosting.trees import (
    Curve,
    EarlierTrees,
    TaskTrees,
    digest_of,
    from_bytes,
    predict_raw,
    shared_trees,
    to_bytes,
)
from mtl_tasks.models.checks import check_features, check_learnable
from mtl_tasks.models.member import Member, Predictions, Table, model_file, require_columns, seeds_text
from mtl_tasks.models.targets import as_learned, as_predicted
from mtl_tasks.scenario import Boosting, Scenario
from mtl_tasks.store.artifacts import to_json

Values = NDArray[np.float64]
FACTS: Final = ("device", "tasks", "encoder", "sharing", "sha256")  # keys of the file <kind>.json


@dataclass(frozen=True)
class FittedTrees:
    """Result of a fit: the trees of every task, and the task interaction if they share trees."""

    trees: dict[str, TaskTrees]
    encoder: Encoder
    sharing: TaskInteraction | None = None


@dataclass(frozen=True)
class FitContext:
    """Inputs of a fit.

    Attributes
    ----------
    tune
        Rows on which settings such as the number of rounds are chosen; None: those of ``chosen`` are reused.
    earlier
        The member to warm-start from, if any.
    """

    train: Table
    tune: Table | None
    scenario: Scenario
    device: str
    chosen: FittedTrees | None
    earlier: BoostedMember | None

    @cached_property
    def _train(self) -> tuple[Encoder, lgb.Dataset]:
        """Encoder and bins, from one read of the features, which are not kept."""
        features = self._features(self.train, "train")
        encoder = self.earlier.learned.encoder if self.earlier else Encoder.learn(features)
        return encoder, encoder.binned(features, self.device)

    def _features(self, table: Table, window: str) -> pd.DataFrame:
        features = table.features
        if self.chosen is None:  # a refit's train and tune rows were checked by the fit
            check_features(features, window, self.scenario.file)
        return features

    @property
    def encoder(self) -> Encoder:
        """Columns and categories; in a warm start, those of the earlier trees."""
        return self._train[0]

    @cached_property
    def matrix(self) -> Matrix:
        """The features of ``train``, copied, to predict from."""
        return self.encoder.matrix(self.train.features)

    @cached_property
    def tune_matrix(self) -> Matrix | None:
        """The features of ``tune``, likewise."""
        return None if self.tune is None else self.encoder.matrix(self.tune.features)

    @property
    def binned(self) -> lgb.Dataset:
        """``train``, binned once for all tasks and seeds."""
        return self._train[1]

    @cached_property
    def tune_binned(self) -> lgb.Dataset | None:
        """``tune`` in the bins of ``train``."""
        if self.tune is None:
            return None
        return self.encoder.binned(self._features(self.tune, "tune"), self.device, reference=self.binned)

    def chosen_trees(self, task: str) -> TaskTrees | None:
        """Return the trees whose rounds to reuse."""
        return None if self.chosen is None else self.chosen.trees[task]

    def earlier_of(self, task: str) -> EarlierTrees | None:
        """Return the task's earlier trees with their scores of its labeled rows; None if there are none."""
        if self.earlier is None or not _same_task(task, self.earlier.scenario, self.scenario):
            return None
        trees, threads = self.earlier.learned.trees[task], self.scenario.boosting.threads
        seeds = range(len(trees.boosters))
        train = self.matrix[self.train.rows(task).positions]
        tune = (
            None if self.tune is None or self.tune_matrix is None else self.tune_matrix[self.tune.rows(task).positions]
        )
        return EarlierTrees(
            trees,
            [trees.scores(train, number, threads) for number in seeds],
            [] if tune is None else [trees.scores(tune, number, threads) for number in seeds],
        )


class BoostedMember(Member):
    """One LightGBM model per task (several, averaged, if ``boosting.seeds`` is above 1), however they are grown."""

    note: ClassVar[str]

    def __init__(self, scenario: Scenario, learned: FittedTrees, device: str) -> None:
        super().__init__(scenario)
        self._learned = learned
        self._trees, self._encoder, self.sharing = learned.trees, learned.encoder, learned.sharing
        self._device = device

    @classmethod
    @abstractmethod
    def _learn(cls, learning: FitContext) -> FittedTrees:
        """Grow the trees."""

    @classmethod
    def resolve_device(cls, requested: str) -> str:
        """See :class:`Member`."""
        return resolve_device(requested)

    @classmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario, earlier: BoostedMember | None = None) -> Self:
        """See :class:`Member`; the number of rounds of each task is chosen on ``tune``.

        Parameters
        ----------
        earlier
            A member of the same kind to warm-start from, fitted on rows that end no later than ``train``.
        """
        device = cls.resolve_device(scenario.boosting.device)
        check_learnable(train, tune, scenario)
        train, tune = (as_learned(table, scenario) for table in (train, tune))
        with at_work(device):
            learned = cls._learn(FitContext(train, tune, scenario, device, None, earlier))
        return cls(scenario, learned, device)

    def refit(self, table: Table, earlier: BoostedMember | None = None) -> Self:
        """See :class:`Member`; the curves remain those on which the rounds were chosen.

        Parameters
        ----------
        earlier
            The member this one was warm-started from, if any, refitted.
        """
        table = as_learned(table, self.scenario)
        with at_work(self._device):
            learned = self._learn(FitContext(table, None, self.scenario, self._device, self._learned, earlier))
        return type(self)(self.scenario, learned, self._device)

    @property
    def settings(self) -> Boosting:
        """LightGBM's settings of this member."""
        return self.scenario.boosting

    @property
    def learned(self) -> FittedTrees:
        """The result of the fit."""
        return self._learned

    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """See :class:`Member`."""
        return self._predictions(self.raw_scores(features, list(self._trees if tasks is None else tasks)))

    def raw_scores(self, features: pd.DataFrame, tasks: list[str]) -> dict[str, Values]:
        """Return float64 (n,) for each task: a value, or log-odds; see :attr:`Task.objective`."""
        return self._scores(self._matrix(features), tasks)

    def _predictions(self, raw: dict[str, Values]) -> Predictions:
        return {task: as_predicted(values, self.scenario.tasks[task]) for task, values in raw.items()}

    def _matrix(self, features: pd.DataFrame) -> Matrix:
        known = self._encoder
        return known.matrix(require_columns(features, known.names, self.kind, known.levels))

    def contributions(self, features: pd.DataFrame, task: str) -> Values:
        """Return SHAP values, float64 (n, columns + 1), of :meth:`contribution_names`, then the base value.

        A row adds up to its raw score: a value, or log-odds.
        """
        return contributions(self._trees[task], self.task_matrix(features, task), self.settings.threads)

    def contribution_names(self, task: str) -> list[str]:
        """Return the names of the columns that a task's trees read, in order."""
        return self._trees[task].boosters[0].feature_name()

    def task_matrix(self, features: pd.DataFrame, task: str) -> Matrix:
        """Return the feature matrix of a task's trees, float32 (n, columns), with categories as codes."""
        return self._task_matrix(self._matrix(features), task)

    def _task_matrix(self, matrix: Matrix, task: str) -> Matrix:
        """Return the encoded features with any further columns of a task's trees."""
        return matrix

    def explain(self, features: pd.DataFrame, seed: int) -> dict[str, Any]:
        """See :class:`Member`; SHAP values of the first seed."""
        encoded = self._matrix(features)
        order = np.random.default_rng(seed).permutation(len(encoded))
        return {task: self._explain_task(encoded, order, task) for task in self._trees}

    def _explain_task(self, encoded: Matrix, order: NDArray[np.intp], task: str) -> dict[str, Any]:
        trees, settings = self._trees[task], self.settings
        rows = affordable_rows(trees.rounds[0], settings.num_leaves, len(self._trees))
        matrix = self._task_matrix(encoded[order[:rows]], task)
        made = contributions(trees, matrix, settings.threads, seeds=1)
        return {
            "rows": len(matrix),
            "features": summarize(made, matrix, self.contribution_names(task), self._encoder.levels),
            "gain": importance_split(trees),
        }

    def _scores(self, matrix: Matrix, tasks: list[str]) -> dict[str, Values]:
        return predict_raw(self._trees, tasks, self._shared, matrix, self.settings.threads)

    @cached_property
    def _shared(self) -> list[CompiledTrees | None]:
        return [shared_trees(self._trees, number) for number in range(self.settings.seeds)]

    def files(self) -> dict[str, bytes]:
        """See :class:`Member`; a LightGBM text file per task and seed, and the choices made."""
        files: dict[str, bytes] = {}
        facts: dict[str, Any] = {"device": self._device, "tasks": {}}
        facts |= {"encoder": asdict(self._encoder), "sharing": asdict(self.sharing) if self.sharing else None}
        for task, trees in self._trees.items():
            for number, booster in enumerate(trees.boosters):
                files[_model_name(task, number)] = to_bytes(booster)
            curve = asdict(trees.curve) if trees.curve else None
            counts = {"rounds": trees.rounds, "shared": trees.shared, "inherited": trees.inherited}
            facts["tasks"][task] = {**counts, "curve": curve}
        facts["sha256"] = {name: digest_of(data) for name, data in files.items()}
        return files | {f"{self.kind}.json": to_json(facts)}

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Member`."""
        facts = _parse(model_file(files, f"{cls.kind}.json", cls.kind), f"{cls.kind}.json")
        if set(facts["tasks"]) != set(scenario.tasks):
            raise ArtifactError(f"{cls.kind}: has tasks {sorted(facts['tasks'])}, expected {sorted(scenario.tasks)}")
        trees = {}
        for task, entry in facts["tasks"].items():
            names = [_model_name(task, number) for number in range(len(entry["rounds"]))]
            texts = [(model_file(files, name, cls.kind), name) for name in names]
            boosters = [from_bytes(data, name, facts["sha256"].get(name, "")) for data, name in texts]
            curve = Curve(**entry["curve"]) if entry["curve"] else None
            trees[task] = TaskTrees(boosters, entry["rounds"], curve, entry["shared"], entry["inherited"])
        sharing = TaskInteraction(**facts["sharing"]) if facts["sharing"] else None
        return cls(scenario, FittedTrees(trees, Encoder(**facts["encoder"]), sharing), facts["device"])

    def describe(self) -> dict[str, Any]:
        """See :class:`Member`."""
        tasks = {
            task: {
                "note": f"{self.note}, {seeds_text(len(trees.boosters))}; rounds chosen on tune",
                "rounds": trees.rounds[0],
                "rounds_by_seed": list(trees.rounds),
                "curve": asdict(trees.curve) if trees.curve else None,
                "importance": trees.importance(),
            }
            for task, trees in self._trees.items()
        }
        sharing = asdict(self.sharing) if self.sharing else None
        return {"kind": self.kind, "device": self._device, "tasks": tasks, "sharing": sharing}


def _same_task(task: str, theirs: Scenario, ours: Scenario) -> bool:
    return task in theirs.tasks and theirs.tasks[task].objective == ours.tasks[task].objective


def _parse(data: bytes, where: str) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(data)
    except ValueError as error:
        raise ArtifactError(f"{where}: not JSON ({error}); run again with --force") from error
    for key in FACTS:
        if key not in facts:
            raise ArtifactError(f"{where}: has no {key!r}, a different version wrote it; run again with --force")
    return facts


def _model_name(task: str, number: int) -> str:
    return f"{task}.{number}.lightgbm.txt"
