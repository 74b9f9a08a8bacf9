"""A study: its specification, and the study as it is open in a process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field
from upath import UPath

from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import Document
from mtl_tasks.pipeline.days.features import DailyFeatures, feature_columns
from mtl_tasks.pipeline.engine import StoredRef
from mtl_tasks.pipeline.stages.inputs import load_windows, window_positions
from mtl_tasks.scenario import MemberKind, Scenario, Tuning, parse_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.sealing import StoreKey
from mtl_tasks.tuning.objective import Fold, Objective, Window, floor_losses
from mtl_tasks.tuning.space import SearchSpace, search_space
from mtl_tasks.tuning.study import (
    FLOORS,
    JOURNAL,
    Pruning,
    TrialRunner,
    answering_storage,
    load_study,
    open_storage,
    require_optuna,
    shown_address,
)

if TYPE_CHECKING:
    import optuna

    from mtl_tasks.models import Table

FOLDER: Final = "tuning"  # beside the as_of folders of a scenario: pruning leaves it alone


class PreparedDay(Document):
    """Results of the stages as of one day."""

    as_of: AsOf
    split: StoredRef
    features: StoredRef


class StudySpec(Document):
    """Specification that every process of a study starts from.

    Attributes
    ----------
    scenario
        The scenario as JSON text; see :class:`mtl_tasks.pipeline.documents.RunSpec`.
    trials
        Total number of finished trials, including the one with the scenario's own settings.
    others
        Names of the scenario's studies of other settings, code or data.
    """

    scenario: str
    store: str
    name: str
    trials: int
    days: tuple[PreparedDay, ...]
    others: tuple[str, ...] = Field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form, fit for XCom."""
        return self.model_dump(mode="json")


@dataclass(frozen=True)
class OpenStudy:
    """A study that is open in this process."""

    spec: StudySpec
    scenario: Scenario
    store: Store
    storage: str | None

    @classmethod
    def of(cls, spec: StudySpec, storage: str | None, key: StoreKey | None = None) -> OpenStudy:
        """Open a study.

        Parameters
        ----------
        storage
            Address of the database of the trials; None: a journal in the store. It may hold a password, so it is not
            part of the specification.
        key
            The key that seals the store's documents.

        Raises
        ------
        ConfigError
            If Optuna is not installed, or the address of the storage cannot be used.
        StoreError
            If the storage does not answer.
        """
        require_optuna()
        scenario = parse_scenario(json.loads(spec.scenario), where="the study's scenario")
        return cls(spec, scenario, Store(spec.store, key), storage)

    @property
    def folder(self) -> UPath:
        """The study's folder in the store."""
        return self.store.inside(self.scenario.name, FOLDER, self.spec.name)

    @property
    def place(self) -> str:
        """Address of the stored trials, without a password."""
        return str(self.folder / JOURNAL) if self.storage is None else shown_address(self.storage)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return search_space(self.scenario)

    @cached_property
    def study(self) -> optuna.Study:
        """The study in Optuna; it is created if it does not exist."""
        settings = self.scenario.tuning or Tuning()
        pruning = Pruning(settings.startup_trials, settings.warmup_fits)
        storage = open_storage(self.storage, self.folder)
        with answering_storage(self.place):
            return load_study(storage, self.spec.name, pruning)

    @cached_property
    def objective(self) -> Objective:
        """The objective; losses of the popularity baseline are kept in the study."""
        folds = tuple(_fold(self, day) for day in self.spec.days)
        with answering_storage(self.place):
            known = self.study.user_attrs.get(FLOORS)
        if known is None:
            known = [floor_losses(fold, self.scenario) for fold in folds]
            with answering_storage(self.place):
                self.study.set_user_attr(FLOORS, known)
        return Objective(self.scenario, folds, tuple(known))

    def runner(self, worker: int = 0, workers: int = 1) -> TrialRunner:
        """Return what runs trials in this process, one of several."""
        return TrialRunner(self.study, self.space, self.objective, self.folder, self.place, worker, workers == 1)


def _fold(opened: OpenStudy, day: PreparedDay) -> Fold:
    """Return the rows before the test window, with their features unread."""
    split = opened.store.open(day.split)
    rows = split.frame("rows")
    places = window_positions(rows, load_windows(split))
    before_test = slice(places["test"].start)
    rows = rows.iloc[before_test]
    labels = {task: rows[columns.label(task)].to_numpy().copy() for task in opened.scenario.tasks}
    users = rows[columns.USER].to_numpy().copy()
    windows: tuple[Window, ...] = ("train", "tune", "blend")

    def tables(kind: MemberKind) -> Mapping[Window, Table]:
        from mtl_tasks.models import Table, member_class

        features = opened.store.open(day.features)
        made = feature_columns(opened.store, features, opened.scenario)
        names = member_class(kind).reads(opened.scenario, made)
        chosen = [column for column in made if column.name in names]
        kept = DailyFeatures.of(opened.store, features, [column.name for column in chosen]).where(before_test)
        table = Table(kept, labels, users=users, columns=chosen)
        return {window: table.where(places[window]) for window in windows}

    blend = {task: label[places["blend"]].astype(np.float64) for task, label in labels.items()}
    return Fold(day.as_of.iso, tables, blend, users[places["blend"]])
