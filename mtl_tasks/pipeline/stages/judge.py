"""The stages that judge the models: `evaluate`, `gate`."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mtl_tasks.core import columns
from mtl_tasks.core.days import day_text
from mtl_tasks.core.errors import ArtifactError, ConfigError, DataError
from mtl_tasks.evaluation import drift
from mtl_tasks.evaluation.evaluate import (
    FUSION,
    ListJudge,
    ScoredRows,
    calibration_of,
    evaluate_task,
    judged_people,
    slice_masks,
    taken_in_test,
)
from mtl_tasks.evaluation.gate import CHAMPION, Champion, Evidence, check_comparable, evaluate_rules
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.config import sections
from mtl_tasks.pipeline.stages.inputs import (
    load_events,
    load_memory,
    load_scorer,
    load_tables,
    load_windows,
    window_places,
)
from mtl_tasks.recommend.scorer import ShortlistCheck
from mtl_tasks.scenario import FEATURE_SECTIONS, Scenario, parse_scenario
from mtl_tasks.store.artifacts import Payload
from mtl_tasks.store.champions import Choice, choose_champion, comparison_fault, scoring_refs
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.drift import Distributions, DriftReport, Group, Sketches
from mtl_tasks.store.documents.evaluation import Evaluation, RankingEvaluation
from mtl_tasks.store.registry import Registry, RunRecord

if TYPE_CHECKING:
    from mtl_tasks.features.builder import FactorModels


def evaluate(run: Run, inputs: Inputs) -> Payload:
    """Measure members, fusion, slices and recommendations on test."""
    scenario = run.scenario
    rows = _test_rows(run, inputs)
    evaluated = {name: evaluate_task(rows[name], task.kind, scenario.seed) for name, task in scenario.tasks.items()}
    evaluation = Evaluation(
        tasks={name: task for name, (task, _) in evaluated.items()},
        slices={name: slices for name, (_, slices) in evaluated.items()},
        calibration={task: calibration_of(rows[task]) for task in scenario.tasks_of("binary")},
        ranking=_judge_lists(run, inputs),
    )
    shortlist = evaluation.ranking.shortlist
    payload = Payload(rows=sum(len(part.label) for part in rows.values()))
    payload.summary = {"shortlist": None if shortlist is None else shortlist.to_json()}
    payload.add_json("evaluation", evaluation.to_stored())
    payload.add_json(drift.RECORD, _distributions(run, inputs, rows).to_stored())
    return payload


def gate(run: Run, inputs: Inputs) -> Payload:
    """Judge the candidate by the scenario's rules and against the champion of the time."""
    rows = _test_rows(run, inputs)
    key = inputs.config["champion"]
    champion = None
    if key is not None:
        entry = Registry(run.store, run.scenario.name).get(key)
        met = _champion(run, inputs, entry)
        passed_over = tuple(inputs.config.get("passed_over", ()))
        champion = replace(met, drift=_drift(run, inputs, entry), passed_over=passed_over)
    for task, part in rows.items():
        if champion is not None and task in champion.predictions:
            part.predictions[CHAMPION] = champion.predictions[task]
    evaluation = read_document(inputs["evaluate"], "evaluation", Evaluation)
    verdict = evaluate_rules(Evidence(run.scenario, evaluation, rows, champion))
    shifted = None if champion is None else champion.drift
    payload = Payload(summary={"verdict": verdict.line}, rows=len(verdict.rules))
    payload.add_json("verdict", verdict.to_stored())
    payload.add_json("drift", None if shifted is None else shifted.to_stored())
    return payload


def gate_config(run: Run) -> dict[str, Any]:
    """Return the rules, the champion of the time, and the newer champions that were passed over."""
    choice = _choose(run)
    own = {**sections("gate", "seed")(run), "champion": choice.entry.run_key if choice.entry else None}
    return {**own, "passed_over": list(choice.passed_over)} if choice.passed_over else own


def _choose(run: Run) -> Choice:
    """Return the newest champion of the time that the candidate can be compared with."""
    scored = bool(run.scenario.gate.relative)
    snapshot = Registry(run.store, run.scenario.name).read()
    fault = functools.partial(comparison_fault, store=run.store, parse=parse_scenario, scored=scored)
    return choose_champion(snapshot, run.as_of.iso, fault)


def _test_rows(run: Run, inputs: Inputs) -> dict[str, ScoredRows]:
    """Return the labeled test rows of every task, with the predictions of all members and the fusion."""
    from mtl_tasks.models.fusion import fuse as fuse_predictions
    from mtl_tasks.pipeline.days.features import read_days

    rows = inputs["split"].frame("rows")
    test = (rows[columns.WINDOW] == "test").to_numpy()
    counts = read_days(run.store, inputs["features"], ["user.count", "item.count"], np.flatnonzero(test))
    masks = slice_masks(counts)
    fusion = inputs["fuse"].json("fusion")
    members = {name: artifact.frame("test") for name, artifact in inputs.matching("member").items()}
    made = {}
    for task, settings in run.scenario.tasks.items():
        predictions = {name: part[columns.prediction(task)].to_numpy() for name, part in members.items()}
        predictions[FUSION] = fuse_predictions(fusion[task], predictions, settings.kind)
        label = rows.loc[test, columns.label(task)].to_numpy().astype(np.float64)
        whole = ScoredRows(rows.loc[test, columns.USER].to_numpy(), label, predictions, {})
        seen = ~np.isnan(label)
        made[task] = replace(whole.where(seen), slices={name: mask[seen] for name, mask in masks.items()})
    return made


def _distributions(run: Run, inputs: Inputs, scored: dict[str, ScoredRows]) -> Distributions:
    """Return sketches of the test rows, for later runs to compare with, and their drift since the train window."""
    from mtl_tasks.pipeline.days.features import read_days

    rows = inputs["split"].frame("rows")
    place = window_places(rows, load_windows(inputs["split"]))
    sampled = {name: drift.sample_rows(place[name], run.scenario.seed) for name in ("train", "test")}
    features = {name: read_days(run.store, inputs["features"], None, at) for name, at in sampled.items()}
    learned = {task: rows[columns.label(task)].iloc[place["train"]].dropna() for task in run.scenario.tasks}
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


def _judge_lists(run: Run, inputs: Inputs) -> RankingEvaluation:
    """Return the quality of the recommendations that would have been made at the start of the test window."""
    scenario = run.scenario
    events, tables = load_events(run, inputs), load_tables(inputs)
    start = load_windows(inputs["split"])["test"][0]
    everybody = taken_in_test(events.frame, scenario, start)
    truth = judged_people(everybody, scenario.seed)
    known = events.before(start).frame[columns.ITEM].unique()
    lists = ListJudge(truth, everybody[columns.USER].nunique(), known, scenario.recommend.top_k, scenario.seed)
    memory = load_memory(run, scenario, inputs, events, tables, start)
    people = truth[columns.USER].unique()
    scorer = load_scorer(scenario, inputs)
    check = ShortlistCheck(scorer, people)
    for rows in scorer.candidates(events.frame, tables, people, start, memory):
        lists.add(rows.scored)
        check.add(rows)
    return lists.document(check.document())


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
        theirs = parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
        check_comparable(theirs, entry.as_of, run.scenario, day_text(int(test[columns.DAY].min())))
        artifacts = Inputs({name: run.store.open(ref) for name, ref in scoring_refs(entry).items()})
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
    from mtl_tasks.features.builder import extend_spaces
    from mtl_tasks.pipeline.days.factors import load_spaces
    from mtl_tasks.pipeline.days.features import read_days

    events, tables = load_events(run, inputs), load_tables(inputs)
    scorer = load_scorer(scenario, theirs)
    spaces = extend_spaces(scorer.spaces, events.frame, scenario, run.as_of.day)
    if _same_features(scenario, run.scenario) and _same_spaces(spaces, load_spaces(inputs["factors"])):
        return scorer.fuse(read_days(run.store, inputs["features"]).tail(len(rows)).reset_index(drop=True))
    memory = load_memory(run, scenario, inputs, events, tables, int(rows[columns.DAY].min()))
    return replace(scorer, spaces=spaces).score(events.frame, tables, rows, memory)


def _same_features(theirs: Scenario, ours: Scenario) -> bool:
    documents = (scenario.model_dump(mode="json") for scenario in (theirs, ours))
    first, second = ({name: document[name] for name in FEATURE_SECTIONS} for document in documents)
    return first == second


def _same_spaces(theirs: FactorModels, ours: FactorModels) -> bool:
    """Whether both are the same to the bit: runs of one week share their factors if factors.refit_days allows it."""
    return theirs.keys() == ours.keys() and all(
        np.array_equal(getattr(space, part), getattr(ours[name], part))
        for name, space in theirs.items()
        for part in ("item_ids", "valid_from", "vectors")
    )
