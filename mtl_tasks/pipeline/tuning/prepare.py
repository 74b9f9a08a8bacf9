"""The beginning of a study: its features, its name, and the trials of this process."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import mtl_tasks.tuning
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, answering
from mtl_tasks.core.stages import MEMBER, stages_before
from mtl_tasks.onboarding.obstacles import refuse_obstacles
from mtl_tasks.pipeline.engine import Run, StageResult, code_version, run_stage
from mtl_tasks.pipeline.local import OnStage, refs_of
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.pipeline.tuning.open_study import FOLDER, OpenStudy, PreparedDay, StudySpec
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import Store, to_json
from mtl_tasks.tuning.space import SearchSpace, search_space
from mtl_tasks.tuning.study import OnTrial, require_optuna, run_until

TRIAL_CODE: Final = (Path(str(mtl_tasks.tuning.__file__)).parent, Path(__file__).parent)


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
        Total number of finished trials, at least 1.
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
        "code": [code_version(), code_hash(TRIAL_CODE)],
    }
    return f"{scenario.name}-{hashlib.sha256(to_json(parts)).hexdigest()[:12]}"


def code_hash(folders: Sequence[Path]) -> str:
    """Return a hash of the modules in folders; trials depend on those of :data:`TRIAL_CODE`, other artifacts do not."""
    digest = hashlib.sha256()
    for path in [path for folder in folders for path in sorted(folder.glob("*.py"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _studies(store: Store, scenario: str) -> list[str]:
    folder = store.inside(scenario, FOLDER)
    with answering(f"{folder}: cannot be read"):
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _prepared(run: Run, on_stage: OnStage) -> PreparedDay:
    results: dict[str, StageResult] = {}
    stages = build_stages(run.scenario)
    for name in stages_before(MEMBER):
        shown = f"{name} {run.as_of}"
        on_stage(shown, None)
        results[name] = run_stage(stages[name], run, refs_of(results))
        on_stage(shown, results[name])
    return PreparedDay(as_of=run.as_of, split=results["split"].ref, features=results["features"].ref)


def run_trials(opened: OpenStudy, on_trial: OnTrial, worker: int = 0, workers: int = 1) -> None:
    """Run trials until the study has the requested number of finished ones.

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
    run_until(opened.runner(worker, workers), opened.spec.trials, on_trial)
