"""The stages that judge the models: `evaluate`, `gate`."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError
from mtl_tasks.evaluation import drift
from mtl_tasks.evaluation.curves import task_curves
from mtl_tasks.evaluation.evaluate import (
    FUSION,
    ScoredRows,
    calibration_of,
    evaluate_task,
    slice_masks,
)
from mtl_tasks.evaluation.gate import CHAMPION, Champion, Evidence, check_comparable, evaluate_rules
from mtl_tasks.evaluation.impressions import evaluate_impressions
from mtl_tasks.evaluation.off_policy import evaluate_policies
from mtl_tasks.evaluation.versus_champion import compare_with_champion
from mtl_tasks.models.calibration import calibration_by_slice
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.config import sections
from mtl_tasks.pipeline.stages.inputs import (
    load_events,
    load_memory,
    load_scorer,
    load_tables,
    load_test_predictions,
    load_windows,
    window_positions,
)
from mtl_tasks.pipeline.stages.judge_lists import LIST_VALUES, champion_list_values, judge_lists
from mtl_tasks.pipeline.stages.work import Work
from mtl_tasks.scenario import FEATURE_SECTIONS, Scenario, parse_scenario
from mtl_tasks.store.artifacts import Payload
from mtl_tasks.store.champions import Choice, choose_champion, comparison_fault, scoring_refs
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.curves import Curves
from mtl_tasks.store.documents.drift import Distributions, DriftReport, Group, Sketches
from mtl_tasks.store.documents.evaluation import Evaluation, SliceCalibration
from mtl_tasks.store.documents.lists import ImpressionsDocument, OffPolicyDocument
from mtl_tasks.store.registry import Registry, RunRecord

CURVES, VERSUS_CHAMPION = "curves", "versus_champion"  # documents of evaluate and of gate


def evaluate(run: Run, inputs: Inputs) -> Payload:
    """Measure members, fusion, slices and recommendations on test."""
    scenario = run.scenario
    rows = _test_rows(run, inputs)
    ranking, list_values = judge_lists(run, inputs)
    evaluated = {name: evaluate_task(rows[name], task.kind, scenario.seed) for name, task in scenario.tasks.items()}
    evaluation = Evaluation(
        tasks={name: task for name, (task, _) in evaluated.items()},
        slices={name: slices for name, (_, slices) in evaluated.items()},
        calibration={task: calibration_of(rows[task]) for task in scenario.tasks_of("binary")},
        slice_calibration={name: _slice_calibration(part) for name, part in rows.items()},
        ranking=ranking.model_copy(
            update={"impressions": _impressions(run, rows), "off_policy": _off_policy(run, inputs, rows)}
        ),
    )
    payload = Payload(rows=sum(len(part.label) for part in rows.values()))
    payload.add_json("evaluation", evaluation.to_stored())
    payload.add_json(CURVES, _curves(run, rows).to_stored())
    payload.add_frame(LIST_VALUES, list_values)
    payload.add_json(drift.RECORD, _distributions(run, inputs, rows).to_stored())
    return payload


def gate(run: Run, inputs: Inputs) -> Payload:
    """Judge the candidate by the scenario's rules and against the champion of the time."""
    rows = _test_rows(run, inputs)
    key = inputs.config["champion"]
    champion = None
    if key is not None:
        entry = Registry(run.store, run.scenario.name).get(key)
        met = replace(_champion(run, inputs, entry), title="teacher" if "teacher" in inputs.config else "champion")
        passed_over = tuple(inputs.config.get("passed_over", ()))
        champion = replace(met, drift=_drift(run, inputs, entry), passed_over=passed_over)
    for task, part in rows.items():
        if champion is not None and task in champion.predictions:
            part.predictions[CHAMPION] = champion.predictions[task]
    evaluation = read_document(inputs["evaluate"], "evaluation", Evaluation)
    values = inputs["evaluate"].frame(LIST_VALUES)
    if champion is not None and any(rule.beat == CHAMPION for rule in run.scenario.gate.lists):
        champion, values = _with_lists(run, inputs, champion, values)
    evidence = Evidence(run.scenario, evaluation, rows, champion, values)
    verdict, beside = evaluate_rules(evidence), compare_with_champion(evidence)
    shifted = None if champion is None else champion.drift
    payload = Payload(summary={"verdict": verdict.line}, rows=len(verdict.rules))
    payload.add_json("verdict", verdict.to_stored())
    payload.add_json("drift", None if shifted is None else shifted.to_stored())
    payload.add_json(VERSUS_CHAMPION, None if beside is None else beside.to_stored())
    return payload


def _curves(run: Run, rows: dict[str, ScoredRows]) -> Curves:
    """Return the curves of every task with test rows."""
    made = {name: task_curves(rows[name], task.kind) for name, task in run.scenario.tasks.items()}
    return Curves(tasks={name: curves for name, curves in made.items() if curves is not None})


def _slice_calibration(rows: ScoredRows) -> dict[str, SliceCalibration]:
    """Compare expected with observed labels of all rows and of each slice."""
    slices = {"all rows": np.ones(len(rows.label), dtype=np.bool_), **rows.slices}
    made = calibration_by_slice(rows.label, rows.predictions[FUSION], rows.users, slices)
    return {name: SliceCalibration.model_validate(part) for name, part in made.items()}


def _impressions(run: Run, rows: dict[str, ScoredRows]) -> dict[str, ImpressionsDocument]:
    """Judge how each model orders what users were shown, by binary task with logged negatives."""
    made = {}
    for name, task in run.scenario.tasks.items():
        if task.kind == "binary" and not task.sampled:
            part = rows[name]
            made[name] = evaluate_impressions(
                part.users,
                part.days,
                part.label,
                part.predictions,
                seed=run.scenario.seed,
                k=run.scenario.recommend.top_k,
            )
    return made


def _off_policy(run: Run, inputs: Inputs, rows: dict[str, ScoredRows]) -> dict[str, OffPolicyDocument]:
    """Estimate what each model's first choice would have gained, where the log knows the chance of an exposure."""
    name = run.scenario.source.context.propensity
    if name is None:
        return {}
    whole = inputs["split"].frame("rows")
    test = whole[whole[columns.WINDOW] == "test"]
    made = {}
    for task in run.scenario.tasks_of("binary"):
        if not run.scenario.tasks[task].sampled:
            seen = test[columns.label(task)].notna()
            propensity = test.loc[seen, columns.context(name)].to_numpy(dtype=np.float64)
            part, seed = rows[task], run.scenario.seed
            made[task] = evaluate_policies(part.users, part.days, part.label, propensity, part.predictions, seed=seed)
    return made


def _with_lists(run: Run, inputs: Inputs, champion: Champion, values: pd.DataFrame) -> tuple[Champion, pd.DataFrame]:
    """Add the metrics of the champion's recommendations, made again as of the same days."""
    entry = Registry(run.store, run.scenario.name).get(champion.run_key)
    try:
        theirs, artifacts = _comparable(run, inputs, entry)
        made = champion_list_values(run, inputs, theirs, artifacts)
    except (ConfigError, DataError, ArtifactError) as error:
        return replace(champion, lists_problem=str(error)), values
    return champion, values.join(made)


def _comparable(run: Run, inputs: Inputs, entry: RunRecord) -> tuple[Scenario, Inputs]:
    """Return a champion's scenario and models, if it can score this run's test window."""
    theirs = parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
    start = load_windows(inputs["split"])["test"][0]
    check_comparable(theirs, entry.as_of, run.scenario, day_text(start))
    return theirs, Inputs({name: run.store.open(ref) for name, ref in scoring_refs(entry).items()})


def gate_config(run: Run) -> dict[str, Any]:
    """Return the rules, the champion of the time, and the newer champions that were passed over.

    The teacher of a compressed run takes the champion's place.
    """
    from mtl_tasks.models.teacher import find_teacher

    teacher = find_teacher(run.scenario, run.as_of.iso, run.store)
    if teacher is not None:
        return {**sections("gate", "seed")(run), "champion": teacher.run_key, "teacher": True}
    choice = _choose(run)
    own = {**sections("gate", "seed")(run), "champion": choice.entry.run_key if choice.entry else None}
    return {**own, "passed_over": list(choice.passed_over)} if choice.passed_over else own


def _choose(run: Run) -> Choice:
    """Return the newest champion of the time that the candidate can be compared with."""
    rules = run.scenario.gate
    scored = bool(rules.relative) or any(rule.beat == CHAMPION for rule in rules.lists)
    snapshot = Registry(run.store, run.scenario.name).read()
    fault = functools.partial(comparison_fault, store=run.store, parse=parse_scenario, scored=scored)
    return choose_champion(snapshot, run.as_of.iso, fault)


def _test_rows(run: Run, inputs: Inputs) -> dict[str, ScoredRows]:
    """Return the labeled test rows of every task, with the predictions of all members and the fusion."""
    from mtl_tasks.pipeline.days.features import read_days

    rows = inputs["split"].frame("rows")
    test = (rows[columns.WINDOW] == "test").to_numpy()
    counts = read_days(run.store, inputs["features"], ["user.count", "item.count"], np.flatnonzero(test))
    masks = slice_masks(counts)
    made = {}
    for task, predictions in load_test_predictions(run.scenario, inputs).items():
        label = rows.loc[test, columns.label(task)].to_numpy().astype(np.float64)
        users, days = (rows.loc[test, name].to_numpy() for name in (columns.USER, columns.DAY))
        whole = ScoredRows(users, days, label, predictions, {})
        seen = ~np.isnan(label)
        made[task] = replace(whole.where(seen), slices={name: mask[seen] for name, mask in masks.items()})
    return made


def _distributions(run: Run, inputs: Inputs, scored: dict[str, ScoredRows]) -> Distributions:
    """Return sketches of the test rows, for later runs to compare with, and their drift since the train window."""
    from mtl_tasks.pipeline.days.features import read_days

    rows = inputs["split"].frame("rows")
    window = window_positions(rows, load_windows(inputs["split"]))
    sampled = {name: drift.sample_rows(window[name], run.scenario.seed) for name in ("train", "test")}
    features = {name: read_days(run.store, inputs["features"], None, at) for name, at in sampled.items()}
    learned = {task: rows[columns.label(task)].iloc[window["train"]].dropna() for task in run.scenario.tasks}
    before: dict[Group, Sketches] = {
        "labels": drift.sketches(learned),
        "features": drift.sketches(features["train"]),
    }
    judged: dict[Group, Sketches] = {
        "labels": drift.sketches({task: part.label for task, part in scored.items()}),
        "features": drift.sketches(features["test"]),
    }
    return Distributions(
        labels=judged["labels"],
        predictions=drift.sketches({task: part.predictions[FUSION] for task, part in scored.items()}),
        features=judged["features"],
        since_train=drift.compare(before, judged),
    )


def _drift(run: Run, inputs: Inputs, champion: RunRecord) -> DriftReport:
    """Return the drift of this run's test rows from the champion's."""
    about = {"run_key": champion.run_key, "as_of": champion.as_of}
    try:
        theirs = drift.read_record(run.store.open(champion.refs["evaluate"]))
    except ArtifactError as error:
        return drift.incomparable(str(error), **about)
    if theirs is None:
        return drift.incomparable("it was made before distributions were recorded", **about)
    return drift.compare_records(theirs, read_document(inputs["evaluate"], drift.RECORD, Distributions), **about)


def _champion(run: Run, inputs: Inputs, entry: RunRecord) -> Champion:
    """Score this run's test rows with an earlier run's factors and members, on features made by today's code."""
    if not run.scenario.gate.relative:  # nothing asks for its predictions
        return Champion(entry.run_key, entry.as_of, {})
    rows = inputs["split"].frame("rows")
    test = rows[rows[columns.WINDOW] == "test"].reset_index(drop=True)
    try:
        theirs, artifacts = _comparable(run, inputs, entry)
        predicted = _score(run, inputs, theirs, artifacts, test)
    except (ConfigError, DataError, ArtifactError) as error:
        return Champion(entry.run_key, entry.as_of, {}, problem=str(error))
    made = {}
    for task in run.scenario.tasks:
        if columns.prediction(task) in predicted:
            seen = test[columns.label(task)].notna().to_numpy()
            made[task] = predicted[columns.prediction(task)].to_numpy()[seen]
    return Champion(entry.run_key, entry.as_of, made)


def _score(run: Run, inputs: Inputs, scenario: Scenario, theirs: Inputs, rows: pd.DataFrame) -> pd.DataFrame:
    from mtl_tasks.features.builder import extend_factor_models
    from mtl_tasks.pipeline.days.factors import load_factor_models, same_factors
    from mtl_tasks.pipeline.days.features import read_days

    events, tables = load_events(run, inputs), load_tables(inputs)
    scorer = load_scorer(scenario, theirs)
    factor_models = extend_factor_models(scorer.factor_models, events.frame, scenario, run.as_of.day)
    if _same_features(scenario, run.scenario) and same_factors(factor_models, load_factor_models(inputs["factors"])):
        return scorer.fuse(read_days(run.store, inputs["features"]).tail(len(rows)).reset_index(drop=True))
    memory = load_memory(run, scenario, inputs, events, tables, int(rows[columns.DAY].min()))
    return replace(scorer, factor_models=factor_models).score(events.frame, tables, rows, memory)


def _same_features(theirs: Scenario, ours: Scenario) -> bool:
    documents = (scenario.model_dump(mode="json") for scenario in (theirs, ours))
    first, second = ({name: document[name] for name in FEATURE_SECTIONS} for document in documents)
    return first == second


WORK: Final = {
    "evaluate": Work(sections("recommend", "evaluate", "seed"), evaluate),
    "gate": Work(gate_config, gate),
}
