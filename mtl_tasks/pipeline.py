"""All stages of a run in one process, and what a finished run has to show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from mtl_tasks.drift import read_record
from mtl_tasks.errors import ArtifactError, ConfigError
from mtl_tasks.program import PROGRAM
from mtl_tasks.registry import Entry, Registry, Ruling, standing_of
from mtl_tasks.report.document import RunDocument
from mtl_tasks.run import Inputs, Run, Stage, StageResult, find_stage, library_versions, run_stage
from mtl_tasks.scenario import load_scenario
from mtl_tasks.stages import build_stages, explain, report_stage, run_key
from mtl_tasks.store import Artifact, Ref, Store

OnStage = Callable[[str, StageResult | None], None]


def make_run(
    scenario_name: str,
    as_of: str | None,
    overrides: Mapping[str, Any],
    store: str,
    *,
    today: pd.Timestamp,
    force: bool = False,
) -> Run:
    """Check what a run is asked for.

    Parameters
    ----------
    as_of
        ``YYYY-MM-DD``: the run knows nothing at or after this day (UTC).
    today
        The clock, so that a future as_of can be refused.

    Raises
    ------
    ConfigError
        If the scenario, an override or as_of is wrong.
    """
    from mtl_tasks.gate import check_rules
    from mtl_tasks.scoring import utility_tasks

    scenario = load_scenario(scenario_name, dict(overrides))
    utility_tasks(scenario.utility, list(scenario.tasks))
    check_rules(scenario)
    return Run(scenario, parse_as_of(as_of, today), Store(store), force)


def parse_as_of(text: str | None, today: pd.Timestamp) -> pd.Timestamp:
    """Return UTC midnight of an ISO date that is not in the future."""
    if text is None:
        raise ConfigError("as_of is missing: give a date, for example --as-of 2013-08-25")
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ConfigError(f"as_of {text!r} is not a date: write YYYY-MM-DD; runs know whole UTC days")
    try:
        as_of = pd.Timestamp(text, tz="UTC")
    except ValueError as error:
        raise ConfigError(f"as_of {text!r} is not a date: {error}") from error
    if as_of > today:
        raise ConfigError(f"as_of {text} is in the future (today is {today:%Y-%m-%d}): its days are not over yet")
    return as_of


def run_pipeline(run: Run, on_stage: OnStage, overrides: Mapping[str, Any] | None = None) -> RunDocument:
    """Run every stage, reusing what exists, and return what the run has to show.

    Parameters
    ----------
    on_stage
        Called with a stage's name and None before it runs, and with its result after.
    overrides
        What the caller changed in the scenario; shown in the report.
    """
    results: dict[str, StageResult] = {}
    for stage in build_stages(run.scenario).values():
        if stage.name == "recommend" and not promoted(results["publish"].summary):
            continue
        results[stage.name] = _run(stage, run, results, on_stage)
    document = build_document(run, results, overrides or {})
    page = _run(report_stage(document), run, results, on_stage)
    results["report"] = page
    return replace(document, stages=_stage_rows(results), report=page_uri(run, page.ref))


def load_document(run: Run, overrides: Mapping[str, Any] | None = None) -> RunDocument:
    """Return what a finished run has to show; nothing is computed but its page, where that is not up to date.

    Raises
    ------
    ArtifactError
        If a stage was not run with this scenario, as_of and code.
    """
    results = _finished(run)
    document = build_document(run, results, overrides or {})
    # Made anew if the run was ruled on since: the page says so.
    results["report"] = run_stage(report_stage(document), run, refs_of(results))
    stages = [
        {"name": name, **run.store.open(result.ref).manifest["usage"], "reused": True, "key": result.ref.key}
        for name, result in results.items()  # what making them took, then: nothing was made now
    ]
    return replace(document, stages=stages, report=page_uri(run, results["report"].ref))


def explain_pair(run: Run, user: str, item: str, top: int) -> dict[str, Any]:
    """Return what a finished run predicts for a user and an item, and why; see :func:`mtl_tasks.explain.explain_pair`.

    Raises
    ------
    ArtifactError
        If a stage was not run with this scenario, as_of and code.
    ConfigError, DataError
        If the run cannot say anything of them.
    """
    artifacts = {name: run.store.open(result.ref) for name, result in _finished(run).items()}
    about = {"scenario": run.scenario.name, "as_of": run.as_of_name, "run_key": run_key(run, artifacts["gate"].ref)}
    return about | explain(run, Inputs(artifacts), (user, item), top)


def build_document(
    run: Run,
    results: Mapping[str, StageResult],
    overrides: Mapping[str, Any],
    known: tuple[Entry, Sequence[Ruling]] | None = None,
) -> RunDocument:
    """Gather what a run has to show from the artefacts of its stages.

    Parameters
    ----------
    known
        Its entry and the rulings on it; by default they are read from the registry.
    """
    artifacts = {name: run.store.open(result.ref) for name, result in results.items()}
    split, key = artifacts["split"], run_key(run, artifacts["gate"].ref)
    entry, rulings = known or _entered(run, key)
    return RunDocument(
        scenario=run.scenario,
        as_of=run.as_of_name,
        run_key=entry.run_key,
        resolve={**artifacts["resolve"].json("resolve"), "windows": _window_dates(split)},
        validation=artifacts["validate"].json("validation"),
        split=split.summary,
        describe={kind: artifacts[f"member:{kind}"].json("describe") for kind in run.scenario.members},
        explain={kind: artifacts[f"member:{kind}"].json("explain") for kind in run.scenario.members},
        fusion=artifacts["fuse"].json("fusion"),
        evaluation=artifacts["evaluate"].json("evaluation"),
        verdict=artifacts["gate"].json("verdict"),
        drift=_drift(artifacts),
        sample=artifacts["recommend"].json("sample") if "recommend" in artifacts else [],
        stages=_stage_rows(results),
        libraries=library_versions(),
        overrides=dict(overrides),
        standing=standing_of(entry, list(rulings)),
        rulings=[ruling.sentence(entry, rulings) for ruling in rulings],
    )


def _entered(run: Run, key: str) -> tuple[Entry, list[Ruling]]:
    registry = Registry(run.store, run.scenario.name)
    return registry.get(key), registry.rulings(key)


def _drift(artifacts: Mapping[str, Artifact]) -> dict[str, Any] | None:
    record = read_record(artifacts["evaluate"])
    if record is None:
        return None
    return {"champion": artifacts["gate"].json("drift"), "since_train": record["since_train"]}


def page_uri(run: Run, ref: Ref) -> str:
    """Where the report's HTML file is."""
    artifact = run.store.open(ref)
    return str(artifact.folder / artifact.manifest["files"]["report.html"]["path"])


def promoted(summary: Mapping[str, Any]) -> bool:
    """Whether the summary of the stage ``publish`` says that the candidate passed an enforced gate."""
    return bool(summary["decision"] == "promote")


def refs_of(results: Mapping[str, StageResult]) -> dict[str, Ref]:
    """References of finished stages."""
    return {name: result.ref for name, result in results.items()}


def _run(stage: Stage, run: Run, results: Mapping[str, StageResult], on_stage: OnStage) -> StageResult:
    on_stage(stage.name, None)
    result = run_stage(stage, run, refs_of(results))
    on_stage(stage.name, result)
    return result


def _finished(run: Run) -> dict[str, StageResult]:
    """The stages of a finished run, but for its page."""
    results: dict[str, StageResult] = {}
    for stage in build_stages(run.scenario).values():
        if stage.name == "recommend":  # a backfilled run has no lists, one promoted by hand may have some
            found = find_stage(stage, run, refs_of(results))
            results |= {} if found is None else {stage.name: found}
            continue
        results[stage.name] = _found(stage, run, results)
    return results


def _found(stage: Stage, run: Run, results: Mapping[str, StageResult]) -> StageResult:
    found = find_stage(stage, run, refs_of(results))
    if found is None:
        raise ArtifactError(
            f"{run.scenario.name} as of {run.as_of_name}: stage {stage.name!r} has not been run with this scenario "
            f"and code: run it first ({PROGRAM} run), with the same --store and --set"
        )
    return found


def _stage_rows(results: Mapping[str, StageResult]) -> list[dict[str, Any]]:
    return [
        {
            "name": result.stage,
            "seconds": result.seconds,
            "cpu_seconds": result.cpu_seconds,
            "peak_rss_mb": result.peak_rss_mb,
            "reused": result.reused,
            "key": result.ref.key,
        }
        for result in results.values()
    ]


def _window_dates(split: Artifact) -> dict[str, list[str]]:
    from mtl_tasks.splits import Windows

    return Windows({name: (first, end) for name, (first, end) in split.json("windows").items()}).describe()
