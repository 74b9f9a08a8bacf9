"""The end of a study: its best settings judged, and the proposed change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from upath import UPath

from mtl_tasks.core.documents import validate
from mtl_tasks.core.errors import ConfigError, answering
from mtl_tasks.pipeline.tuning.open_study import OpenStudy
from mtl_tasks.store.artifacts import to_json
from mtl_tasks.store.documents.tuning import GainEstimate, TaskEvidence, TrialCounts, TuningResult
from mtl_tasks.store.durable_files import write_durably
from mtl_tasks.tuning.evidence import Gain, confirmed_gain, task_gains
from mtl_tasks.tuning.scenario_diff import proposed_diff
from mtl_tasks.tuning.space import changed
from mtl_tasks.tuning.study import CPU, SETTINGS, answering_storage, counts_of, read_losses, trial_with

RESULT: Final = "result.json"


def conclude(opened: OpenStudy) -> TuningResult:
    """Judge the best settings on the users that they were not chosen on, store the result and return it."""
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
    with answering_storage(opened.place):
        shipped, best = trial_with(study, opened.space.shipped), study.best_trial
        counts, trials = counts_of(study), study.get_trials(deepcopy=False)
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
