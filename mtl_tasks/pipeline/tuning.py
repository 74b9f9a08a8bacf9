"""Studies: features by the ordinary stages, trials on them, and the proposed change; also for a scheduler's tasks."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field
from upath import UPath

import mtl_tasks.tuning
from mtl_tasks.core import columns
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import Document, validate
from mtl_tasks.core.errors import ConfigError, answering
from mtl_tasks.onboarding.obstacles import refuse_obstacles
from mtl_tasks.pipeline.days.features import DailyFeatures, feature_columns
from mtl_tasks.pipeline.engine import Run, StageResult, StoredRef, code_version, run_stage
from mtl_tasks.pipeline.local import OnStage, refs_of
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.pipeline.stages.inputs import load_windows, window_places
from mtl_tasks.scenario import MemberKind, Scenario, parse_scenario
from mtl_tasks.scenario.tuning import Tuning
from mtl_tasks.store.artifacts import Store, to_json
from mtl_tasks.store.documents.tuning import GainEstimate, TaskEvidence, TrialCounts, TuningResult
from mtl_tasks.store.durable_files import write_durably
from mtl_tasks.store.sealing import StoreKey
from mtl_tasks.tuning.evidence import Gain, confirmed_gain, task_gains
from mtl_tasks.tuning.objective import Fold, Objective, Window, floor_losses
from mtl_tasks.tuning.scenario_diff import proposed_diff
from mtl_tasks.tuning.space import SearchSpace, changed, search_space
from mtl_tasks.tuning.study import (
    CPU,
    FLOORS,
    JOURNAL,
    SETTINGS,
    Pruning,
    TrialRunner,
    answering_storage,
    counts_of,
    load_study,
    open_storage,
    read_losses,
    require_optuna,
    run_until,
    shown_address,
    trial_with,
)

if TYPE_CHECKING:
    import optuna

    from mtl_tasks.models import Table

FOLDER: Final = "tuning"  # beside the as_of folders of a scenario: pruning leaves it alone
RESULT: Final = "result.json"
STAGES: Final = ("resolve", "validate", "split", "factors", "features")
STORAGE_VARIABLE: Final = "MTL_TUNING_STORAGE"
OnTrial = Callable[["optuna.trial.FrozenTrial", "optuna.Study"], None]
log = logging.getLogger(__name__)


class PreparedDay(Document):
    """What the stages made as of one day."""

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
        Finished trials that the study is to have, the one of the scenario's own settings among them.
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
        """Where the trials are stored, without a password."""
        return str(self.folder / JOURNAL) if self.storage is None else shown_address(self.storage)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return search_space(self.scenario)

    @cached_property
    def study(self) -> optuna.Study:
        """The study in Optuna, which is made if there is none."""
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
        return TrialRunner(self.study, self.space, self.objective, self.folder, worker, alone=workers == 1)


def prepare_study(
    scenario: Scenario,
    days: Sequence[AsOf],
    trials: int,
    store: Store,
    storage: str | None,
    on_stage: OnStage,
    *,
    devices: bool = True,
) -> OpenStudy:
    """Make the features as of every day, and run the trial of the scenario's own settings.

    Parameters
    ----------
    days
        The study sees the blend window of each; none of its test window.
    trials
        Finished trials that the study is to have, at least 1.
    devices
        Whether this machine's devices are to be tried.

    Raises
    ------
    ConfigError
        If Optuna is not installed, the space, the days or the storage cannot be used, or a fault that would stop a
        stage is known before the first one.
    DataError
        If the log cannot be used as of one of the days, or a task has too few labels on blend.
    """
    require_optuna()
    if trials < 1:
        raise ConfigError(f"trials: {trials} is not at least 1; the first trial has the scenario's own settings")
    ordered = sorted(set(days))
    if not ordered or len(ordered) < len(days):
        raise ConfigError("as_of: give at least one day, and each day once")
    space = search_space(scenario)
    for as_of in ordered:
        refuse_obstacles(scenario, as_of.iso, store, devices=devices)
    prepared = tuple(_prepared(Run(scenario, as_of, store), on_stage) for as_of in ordered)
    name = study_name(scenario, space, prepared)
    spec = StudySpec(
        scenario=scenario.model_dump_json(),
        store=str(store.root),
        name=name,
        trials=trials,
        days=prepared,
        others=tuple(other for other in _studies(store, scenario.name) if other != name),
    )
    opened = OpenStudy.of(spec, storage, store.key)
    with answering_storage(opened.place):
        opened.runner().run_shipped()
    return opened


def study_name(scenario: Scenario, space: SearchSpace, days: Sequence[PreparedDay]) -> str:
    """Return the name of a study: trials of another scenario, space, code or log are never mixed with its own.

    The values of the settings that are searched are not part of it: the scenario may change them meanwhile.
    """
    document = scenario.model_dump(mode="json", include={"name", "seed", "tasks", "members", "boosting"})
    for key in space.shipped:
        *parents, leaf = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        del section[leaf]
    parts = {
        "scenario": document,
        "space": space.to_json(),
        "days": [[day.as_of.iso, day.split.key, day.features.key] for day in days],
        "code": [code_version(), _tuning_code()],
    }
    return f"{scenario.name}-{hashlib.sha256(to_json(parts)).hexdigest()[:12]}"


def _tuning_code() -> str:
    """Return a hash of the modules that trials depend on and other artifacts do not."""
    digest = hashlib.sha256()
    for path in sorted(Path(str(mtl_tasks.tuning.__file__)).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _studies(store: Store, scenario: str) -> list[str]:
    folder = store.inside(scenario, FOLDER)
    with answering(f"{folder}: cannot be read"):
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _prepared(run: Run, on_stage: OnStage) -> PreparedDay:
    results: dict[str, StageResult] = {}
    stages = build_stages(run.scenario)
    for name in STAGES:
        shown = f"{name} {run.as_of}"
        on_stage(shown, None)
        results[name] = run_stage(stages[name], run, refs_of(results))
        on_stage(shown, results[name])
    return PreparedDay(as_of=run.as_of, split=results["split"].ref, features=results["features"].ref)


def _fold(opened: OpenStudy, day: PreparedDay) -> Fold:
    """Return the rows before the test window, with their features unread."""
    split = opened.store.open(day.split)
    rows = split.frame("rows")
    places = window_places(rows, load_windows(split))
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


def run_trials(opened: OpenStudy, on_trial: OnTrial, worker: int = 0, workers: int = 1) -> None:
    """Run trials until the study has as many finished ones as it is to have.

    Parameters
    ----------
    worker, workers
        Number of this process, and how many run trials of the study at once. Together they may finish up to
        ``workers - 1`` trials more.

    Raises
    ------
    StoreError
        If the store or the storage does not answer; the same call then goes on with the study.
    """
    with answering_storage(opened.place):
        run_until(opened.runner(worker, workers), opened.spec.trials, lambda trial: on_trial(trial, opened.study))


def conclude(opened: OpenStudy) -> TuningResult:
    """Judge the best settings on the users that they were not chosen on, store the result and return it."""
    with answering_storage(opened.place):
        result = _result(opened)
    with answering(f"{opened.folder / RESULT}: cannot be written"):
        opened.folder.mkdir(parents=True, exist_ok=True)
        write_durably(opened.folder / RESULT, to_json(result.to_stored()))
    return result


def read_result(folder: UPath) -> TuningResult:
    """Return the result that :func:`conclude` stored in a study's folder.

    Raises
    ------
    ArtifactError
        If it is damaged.
    OSError
        If it is missing.
    """
    path = folder / RESULT
    return TuningResult.parse(validate(dict[str, Any], json.loads(path.read_bytes()), str(path)), str(path))


def _result(opened: OpenStudy) -> TuningResult:
    study, objective = opened.study, opened.objective
    shipped, best = trial_with(study, opened.space.shipped), study.best_trial
    if shipped is None or shipped.value is None or best.value is None:
        raise ConfigError(f"{opened.spec.name}: has no complete trial of the scenario's own settings: run tune again")
    gain, tasks = None, list[TaskEvidence]()
    if best.value < shipped.value:
        losses = [read_losses(opened.folder, trial.number, objective) for trial in (shipped, best)]
        gain = confirmed_gain(objective, *losses)
        tasks = list(_evidence(opened, *losses))
    settings = best.user_attrs[SETTINGS]
    confirmed = gain is not None and gain.significant
    diff = _diff(opened, settings) if confirmed else None
    counts, trials = counts_of(study), study.get_trials(deepcopy=False)
    return TuningResult(
        scenario=opened.scenario.name,
        as_of=tuple(day.as_of.iso for day in opened.spec.days),
        study=opened.spec.name,
        storage=opened.place,
        space=opened.space.to_json(),
        widened=opened.space.widened,
        members=opened.space.kinds,
        trials=TrialCounts(**asdict(counts)),
        cpu_seconds=round(sum(trial.user_attrs.get(CPU, 0.0) for trial in trials), 1),
        shipped=opened.space.shipped,
        best=settings,
        best_trial=best.number,
        shipped_value=shipped.value,
        best_value=best.value,
        gain=None if gain is None else _estimate(gain),
        tasks=tuple(tasks),
        confirmed=confirmed,
        conclusion=_conclusion(gain, shipped.value, diff is None),
        diff=diff,
    )


def _evidence(opened: OpenStudy, before: Any, after: Any) -> Iterator[TaskEvidence]:
    for one in task_gains(opened.objective, before, after):
        kind = opened.scenario.tasks[one.task].kind
        yield TaskEvidence(
            as_of=one.as_of,
            task=one.task,
            loss="squared error" if kind == "regression" else "log loss",
            shipped=one.before,
            best=one.after,
            gain=_estimate(one.gain),
        )


def _estimate(gain: Gain) -> GainEstimate:
    low, high = gain.interval
    return GainEstimate(mean=gain.mean, standard_error=gain.standard_error, low=low, high=high)


def _conclusion(gain: Gain | None, shipped: float, no_diff: bool) -> str:
    if gain is None:
        return "no gain: no settings had a lower loss than the scenario's own"
    measured = (
        f"{gain.mean:.4f} ± {gain.standard_error:.4f} of the baseline's loss ({gain.mean / shipped:.2%} of the "
        "scenario's own), on the users that the settings were not chosen on"
    )
    if not gain.significant:
        return f"no gain beyond noise: {measured}"
    remedy = "; the file cannot be edited in place, so set the keys by hand" if no_diff else ""
    return f"gain: {measured}{remedy}"


def _diff(opened: OpenStudy, settings: dict[str, Any]) -> str | None:
    """Return the proposed change of the scenario file as it is now."""
    path = Path(opened.scenario.file)
    with answering(f"{path}: cannot be read"), path.open(encoding="utf-8", newline="") as handle:
        text = handle.read()
    new = {key: value for key, _, value in changed(opened.space.shipped, settings)}
    return proposed_diff(text, new, opened.scenario.file)
