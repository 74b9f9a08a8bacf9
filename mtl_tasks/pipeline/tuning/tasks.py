"""Entry points of studies for a scheduler that runs each task in its own process."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, quoting_rows
from mtl_tasks.pipeline.tasks import check_known, resolve_as_of
from mtl_tasks.pipeline.tuning.open_study import OpenStudy, StudySpec
from mtl_tasks.pipeline.tuning.prepare import prepare_study, run_trials
from mtl_tasks.pipeline.tuning.result import conclude
from mtl_tasks.scenario import Scenario, load_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.tuning import TuningResult
from mtl_tasks.store.sealing import StoreKey
from mtl_tasks.tuning.study import value_text

log = logging.getLogger(__name__)


def prepare_tuning(
    scenario_name: str,
    params: Mapping[str, Any],
    conf: Mapping[str, Any],
    *,
    interval_end: datetime | None,
    run_after: datetime,
    now: datetime,
    store: str,
    storage: str | None,
    key: StoreKey | None = None,
) -> StudySpec:
    """Check the parameters of a scheduled study, make its features, and run the trial of the scenario's own settings.

    Parameters
    ----------
    params
        ``as_of`` (a list of ``YYYY-MM-DD``, or None for the day that a training run would take) and ``trials``.
    conf
        The parameters that were given; only its keys are checked, because a scheduler accepts any.
    interval_end, run_after, now
        As :func:`mtl_tasks.pipeline.tasks.prepare_run` takes them.
    storage
        As :class:`mtl_tasks.pipeline.tuning.open_study.OpenStudy` takes it.

    Raises
    ------
    ConfigError
        If a parameter cannot be used, or as :func:`mtl_tasks.pipeline.tuning.prepare.prepare_study`.
    """
    check_known(conf, params)
    scenario = load_scenario(scenario_name)
    days = _days(params["as_of"], scenario, interval_end, run_after)
    for day in days:
        day.refuse_future(AsOf.of(now))
    with quoting_rows(False):  # more people read a scheduler's logs than the interaction log
        opened = prepare_study(
            scenario, days, params["trials"], Store(store, key), storage, lambda stage, result: None, devices=True
        )
    return opened.spec


def _days(given: Any, scenario: Scenario, interval_end: datetime | None, run_after: datetime) -> list[AsOf]:
    if given is None:
        as_of, rule = resolve_as_of(None, scenario, interval_end, run_after)
        log.info("as_of %s: %s", as_of, rule)
        return [as_of]
    if not isinstance(given, list) or not all(isinstance(day, str) for day in given):
        raise ConfigError(
            f"run configuration: as_of: must be a list of days as YYYY-MM-DD, or null (got {reprlib.repr(given)})"
        )
    return [AsOf.parse(day) for day in given]


def execute_trials(spec: StudySpec, storage: str | None, worker: int, workers: int, key: StoreKey | None = None) -> int:
    """Run trials of a study beside other processes, and return how many this process finished."""
    done: list[int] = []

    def note(trial: Any, finished: int, best: float) -> None:
        done.append(trial.number)
        log.info("trial %d: %s; best %.5f; %d finished", trial.number, value_text(trial), best, finished)

    with quoting_rows(False):
        run_trials(OpenStudy.of(spec, storage, key), note, worker, workers)
    return len(done)


def conclude_tuning(spec: StudySpec, storage: str | None, key: StoreKey | None = None) -> TuningResult:
    """Judge the best settings, store the result and return it; the proposed change goes to the log too."""
    result = conclude(OpenStudy.of(spec, storage, key))
    log.info("%s\n%s", result.conclusion, result.diff or "")
    return result


def tuning_note(result: TuningResult) -> str:
    """Return the result in one line, for the note of the scheduler's run."""
    counts = result.trials
    changes = ", ".join(f"{key}={value}" for key, value in result.best.items() if value != result.shipped[key])
    proposed = f"; proposed: {changes}" if result.confirmed else ""
    return f"{counts.complete + counts.pruned} trials as of {', '.join(result.as_of)}: {result.conclusion}{proposed}"
