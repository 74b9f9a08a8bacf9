"""The stages of a run: load what is needed, call the domain, hand over what is to be published."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks import columns, drift
from mtl_tasks.errors import ArtifactError, ConfigError, DataError, StoreError
from mtl_tasks.evaluation import (
    FUSION,
    ListJudge,
    ScoredRows,
    calibration_of,
    evaluate_task,
    judged_people,
    slice_masks,
    taken_in_test,
)
from mtl_tasks.gate import Champion, check_comparable, judge, verdict_line
from mtl_tasks.promotion import lasting_refs
from mtl_tasks.recommend import best_lists, sample_people
from mtl_tasks.registry import AWAITS_APPROVAL, PROMOTE, Entry, Registry
from mtl_tasks.run import Inputs, Run, Stage, code_version
from mtl_tasks.scenario import BOOSTED, FEATURE_SECTIONS, Gate, MemberKind, Scenario, parse_scenario
from mtl_tasks.splits import Windows, day_text, describe_rows, log_days, make_rows
from mtl_tasks.store import DAYS, Artifact, Payload, Ref, Store, to_json

if TYPE_CHECKING:
    from upath import UPath

    from mtl_tasks.features.build import Spaces, Tables
    from mtl_tasks.features.memory import Memory
    from mtl_tasks.report.document import RunDocument
    from mtl_tasks.scoring import Scorer
    from mtl_tasks.sources import SourceFile
    from mtl_tasks.transfer import WarmStart

MODEL = "model."  # prefix of a member's own files among those of its artefact
FITTED = "fitted."  # prefix of its files as it was before the refit, kept where a later run may grow on from it

# A member's stage is member:<kind>.
STAGE_ORDER = (
    *("resolve", "validate", "split", "factors", "features", "member", "fuse", "evaluate", "gate", "publish"),
    "recommend",
)
BEFORE_MODELS = ("resolve", "validate", "split", "features")

Body = Callable[[Run, Inputs], Payload]
Config = Callable[[Run], dict[str, Any]]

ROOT = "."  # the project's folder is the working directory of every process that runs stages


def build_stages(scenario: Scenario) -> dict[str, Stage]:
    """Return the stages of a scenario in the order they run, by name."""
    members = tuple(f"member:{kind}" for kind in scenario.members)
    models = ("factors", *members, "fuse")
    stages = [
        Stage("resolve", (), _resolve_config, resolve),
        Stage("validate", ("resolve",), _sections("source", "tasks", "validation"), validate, whole=_days_are_there),
        Stage("split", ("validate",), _sections("tasks", "windows", "seed"), split),
        Stage("factors", ("validate", "split"), _factors_config, factors),
        Stage(
            "features", ("validate", "split", "factors"), _sections(*FEATURE_SECTIONS), features, whole=_days_are_there
        ),
        *(_member_stage(kind) for kind in scenario.members),
        Stage("fuse", ("split", *members), _sections("fusion", "tasks"), fuse),
        Stage("evaluate", ("validate", "split", "features", *models), _sections("recommend", "seed"), evaluate),
        Stage("gate", ("validate", "split", "features", *models, "evaluate"), _gate_config, gate),
        Stage("publish", (*BEFORE_MODELS, *models, "evaluate", "gate"), _whole, publish),
        # Not `publish`: a run that was promoted by hand, later, is published by its entry in the registry alone.
        Stage("recommend", ("validate", *models, "gate"), _sections("recommend"), recommend),
    ]
    return {stage.name: stage for stage in stages}


def _member_stage(kind: MemberKind) -> Stage:
    return Stage(f"member:{kind}", ("split", "features"), _member_config(kind), member(kind))


def resolve(run: Run, inputs: Inputs) -> Payload:
    """Fix what the run reads: windows, source files and their hashes."""
    files = inputs.config["files"]
    days = [file["day"] for file in files if file["day"] is not None]
    payload = Payload(summary={"files": len(files)}, rows=len(files))
    document = {
        "as_of": run.as_of_name,
        "sources": files,
        "first_partition": min(days) if days else None,
    }
    payload.add_json("resolve", document)
    return payload


def validate(run: Run, inputs: Inputs) -> Payload:
    """Read the log, set bad rows aside, refuse a bad log."""
    from mtl_tasks.daily_log import EVENTS, joined_events, joined_quarantine, judge_parts
    from mtl_tasks.sources import SourceFile
    from mtl_tasks.tables import read_items, read_users
    from mtl_tasks.validation import judge_log

    files = [SourceFile(**entry) for entry in inputs["resolve"].json("resolve")["sources"]]
    sections = {name: inputs.config[name] for name in ("source", "tasks")}
    snapshots = None if run.scenario.source.sql is None else _snapshots(run)
    parts = judge_parts(run, sections, files, ROOT, snapshots)
    events = joined_events([part.frame(EVENTS) for part in parts])
    records = [part.json("part")["record"] for part in parts]
    result = judge_log(records, events, joined_quarantine(parts), run.scenario, run.as_of)
    payload = Payload(rows=len(result.events))
    payload.summary = {
        "max_event_time": result.events[columns.TIME].max().isoformat(),
        "quarantined": len(result.quarantine),
        "success": result.report["success"],
    }
    payload.add_json(DAYS, [part.ref.to_json() for part in parts])
    payload.add_frame("items", read_items(run.scenario, files, ROOT, events[columns.ITEM]))
    payload.add_frame("users", read_users(run.scenario, files, ROOT, events[columns.USER]))
    payload.add_frame("quarantine", result.quarantine)
    payload.add_json("validation", result.report)
    return payload


def split(run: Run, inputs: Inputs) -> Payload:
    """Cut the windows and make their labelled rows."""
    events = _events(run, inputs)
    windows = Windows.cut(run.scenario, run.as_of_day, int(log_days(events, run.scenario)[0]))
    rows = make_rows(events, run.scenario, windows)
    described = describe_rows(rows, run.scenario, windows)
    payload = Payload(rows=len(rows), summary={"windows": described, "max_event_time": _newest(events)})
    payload.add_frame("rows", rows)
    payload.add_json("windows", windows.ranges)
    return payload


def factors(run: Run, inputs: Inputs) -> Payload:
    """Fit factor spaces on history, fold new items in until as_of."""
    from mtl_tasks.daily_factors import add_spaces, make_spaces
    from mtl_tasks.daily_log import day_digests

    events, digests = _events(run, inputs), day_digests(run.store, inputs["validate"])
    start = _windows(inputs["split"])["train"][0]
    start -= start % run.scenario.factors.refit_days
    begun = inputs.config.get("start")
    earlier = None if begun is None else _load_spaces(_factors_of(run, begun))
    spaces = make_spaces(run, inputs.config, events, digests, start, earlier)
    fitted_on = events[events[columns.DAY] < start]
    payload = Payload(rows=sum(len(space.item_ids) for space in spaces.values()))
    payload.summary = {
        "fitted_before": start,
        "fitted_max_event_time": _newest(fitted_on),
        "folded_in_max_event_time": _newest(events),
        "device": inputs.config["device"],
        "warm_start": begun,
    }
    add_spaces(payload, spaces)
    return payload


def _factors_of(run: Run, run_key: str) -> Artifact:
    return run.store.open(Registry(run.store, run.scenario.name).get(run_key).refs["factors"])


def features(run: Run, inputs: Inputs) -> Payload:
    """Describe every row by what was known before its day."""
    from mtl_tasks.daily_features import make_days
    from mtl_tasks.daily_log import day_digests

    events, tables = _events(run, inputs), _tables(inputs)
    rows, digests = inputs["split"].frame("rows"), day_digests(run.store, inputs["validate"])
    lists_at = _windows(inputs["split"])["test"][0]
    days = make_days(run, events, digests, tables, rows, _load_spaces(inputs["factors"]), lists_at)
    payload = Payload(rows=len(rows), summary={"days": len(days), "max_event_time": _newest(events)})
    payload.add_json("days", [day.to_json() for day in days])
    return payload


def member(kind: MemberKind) -> Body:
    """Return the stage body that fits one member, predicts blend, refits, and predicts test."""

    def body(run: Run, inputs: Inputs) -> Payload:
        from mtl_tasks.daily_features import read_days
        from mtl_tasks.members import Table, member_class

        rows, made = inputs["split"].frame("rows"), read_days(run.store, inputs["features"])
        labels = {task: rows[columns.label(task)].to_numpy() for task in run.scenario.tasks}
        table = Table(made, labels, users=rows[columns.USER].to_numpy())
        place = _places(rows, _windows(inputs["split"]))
        start = _warm_start(run, inputs, kind, made)
        train, tune = (table.where(place[name]) for name in ("train", "tune"))
        fitted = start.fit(member_class(kind), train, tune, run.scenario)
        blend = fitted.predict(made.iloc[place["blend"]])
        kept = fitted.files() if "start" in inputs.config else {}
        if run.scenario.refit == "through_blend":
            fitted = start.refit(fitted, table.where(slice(place["test"].start)))
        payload = Payload(files=_prefixed(fitted.files()) | _prefixed(kept, FITTED), rows=len(made))
        payload.summary = {"device": fitted.describe()["device"], "refit": run.scenario.refit, "transfer": start.note}
        payload.add_frame("blend", _prediction_frame(blend))
        payload.add_frame("test", _prediction_frame(fitted.predict(made.iloc[place["test"]])))
        payload.add_json("describe", {**fitted.describe(), "transfer": start.note})
        payload.add_json("explain", fitted.explain(made.iloc[place["test"]], run.scenario.seed))
        return payload

    return body


def fuse(run: Run, inputs: Inputs) -> Payload:
    """Fit fusion and calibration of every task on blend."""
    from mtl_tasks.fusion import fit_fusion

    rows = inputs["split"].frame("rows")
    blend = rows[rows[columns.WINDOW] == "blend"]
    members = {name: artifact.frame("blend") for name, artifact in inputs.matching("member").items()}
    payload = Payload(rows=len(blend))
    fitted = {}
    for task, settings in run.scenario.tasks.items():
        label = blend[columns.label(task)].to_numpy().astype(np.float64)
        seen = ~np.isnan(label)
        predictions = {name: made[columns.prediction(task)].to_numpy()[seen] for name, made in members.items()}
        users = blend[columns.USER].to_numpy()[seen]
        fitted[task] = fit_fusion(predictions, label[seen], users, settings.kind, run.scenario.fusion.method)
    payload.summary = {task: entry["note"] for task, entry in fitted.items()}
    payload.add_json("fusion", fitted)
    return payload


def evaluate(run: Run, inputs: Inputs) -> Payload:
    """Measure members, fusion, slices and lists on test."""
    scenario = run.scenario
    rows = _test_rows(run, inputs)
    document: dict[str, Any] = {"tasks": {}, "slices": {}, "calibration": {}}
    for task, settings in scenario.tasks.items():
        measured, slices = evaluate_task(rows[task], settings.kind, scenario.seed)
        document["tasks"][task], document["slices"][task] = measured, slices
        if settings.kind == "binary":
            document["calibration"][task] = calibration_of(rows[task])
    document["ranking"] = _judge_lists(run, inputs)
    payload = Payload(rows=sum(len(part.label) for part in rows.values()))
    payload.add_json("evaluation", document)
    payload.add_json(drift.RECORD, _distributions(run, inputs, rows))
    return payload


def gate(run: Run, inputs: Inputs) -> Payload:
    """Judge the candidate by the scenario's rules and against the champion of the time."""
    rows = _test_rows(run, inputs)
    key = inputs.config["champion"]
    champion = None
    if key is not None:
        entry = Registry(run.store, run.scenario.name).get(key)
        champion = replace(_champion(run, inputs, entry), drift=_drift(run, inputs, entry))
    for task, part in rows.items():
        if champion is not None and task in champion.predictions:
            part.predictions["champion"] = champion.predictions[task]
    verdict = judge(run.scenario, inputs["evaluate"].json("evaluation"), rows, champion)
    payload = Payload(summary={"verdict": verdict_line(verdict)}, rows=len(verdict["rules"]))
    payload.add_json("verdict", verdict)
    payload.add_json("drift", champion.drift if champion is not None else None)
    return payload


def publish(run: Run, inputs: Inputs) -> Payload:
    """Enter the verdict in the registry; what passed an enforced gate, and needs no approval, is promoted by it."""
    verdict = inputs["gate"].json("verdict")
    entry = Entry(
        run_key=run_key(run, inputs["gate"].ref),
        as_of=run.as_of_name,
        decision=_decision(verdict["decision"], run.scenario.gate),
        reasons=verdict["reasons"],
        scenario_document=run.scenario.model_dump(mode="json"),
        refs={name: artifact.ref for name, artifact in inputs.artifacts.items()},
        code=code_version(),
        metrics={task: part["fusion"] for task, part in inputs["evaluate"].json("evaluation")["tasks"].items()},
    )
    Registry(run.store, run.scenario.name).append(entry)
    payload = Payload(summary={"run_key": entry.run_key, "decision": entry.decision}, rows=1)
    payload.add_json("entry", entry.to_json())
    return payload


def _decision(verdict: str, gate: Gate) -> str:
    """What follows from a verdict, as :class:`~mtl_tasks.registry.Entry` says it."""
    if gate.mode == "dry_run":
        return f"dry_run:{verdict}"
    return AWAITS_APPROVAL if verdict == PROMOTE and gate.approval == "required" else verdict


def run_key(run: Run, gate: Ref) -> str:
    """The name of a run: a hash of its verdict's key, which depends on all that was done, and of the scenario."""
    parts = {"gate": gate.key, "scenario": run.scenario.model_dump(mode="json")}
    return hashlib.sha256(to_json(parts)).hexdigest()


def recommend(run: Run, inputs: Inputs) -> Payload:
    """Make lists for every active user as of now."""
    from mtl_tasks.tables import newest

    events, tables = _events(run, inputs), _tables(inputs)
    scorer = _load_scorer(run.scenario, inputs)
    items = newest(tables.items, columns.ITEM, run.as_of_day)
    memory = _memory(run, run.scenario, inputs, events, tables, run.as_of_day)
    lists = best_lists(scorer, events, tables, run.as_of_day, memory)
    payload = Payload(rows=len(lists), summary={"users": int(lists[columns.USER].nunique())})
    payload.add_frame("recommendations", lists)
    payload.add_json("sample", sample_people(lists, events, items, run.scenario))
    return payload


def explain(run: Run, inputs: Inputs, pair: tuple[str, str], top: int) -> dict[str, Any]:
    """Say why the run predicts what it does for a user and an item as of now; nothing is stored."""
    from mtl_tasks.explain import explain_pair

    events, tables = _events(run, inputs), _tables(inputs)
    return explain_pair(_load_scorer(run.scenario, inputs), events, tables, pair, run.as_of_day, top)


def explain_offers(
    run: Run, inputs: Inputs, offers: tuple[int | str, Sequence[int | str]], top: int
) -> list[dict[str, Any]]:
    """Say the same for a user and each of some items, by their ids."""
    from mtl_tasks.explain import explain_items

    events, tables = _events(run, inputs), _tables(inputs)
    past = events[events[columns.DAY] < run.as_of_day]
    return explain_items(_load_scorer(run.scenario, inputs), past, tables, offers, run.as_of_day, top)


def report_stage(document: RunDocument) -> Stage:
    """Return the stage that renders the page of a finished run."""

    def body(run: Run, inputs: Inputs) -> Payload:
        from mtl_tasks.report import render_report

        payload = Payload(rows=1)
        payload.add_text("report.html", render_report(document))
        return payload

    def config(run: Run) -> dict[str, Any]:
        return {**_whole(run), "rulings": document.rulings}

    needs = ("gate", "recommend") if document.sample else ("gate",)
    return Stage("report", needs, config, body, presentation=True)


def _test_rows(run: Run, inputs: Inputs) -> dict[str, ScoredRows]:
    """The labelled test rows of every task with all members' and the fusion's predictions."""
    from mtl_tasks.daily_features import read_days
    from mtl_tasks.fusion import fuse as fuse_predictions

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


def _distributions(run: Run, inputs: Inputs, scored: dict[str, ScoredRows]) -> dict[str, Any]:
    """Sketches of what was judged, for later runs to compare with, and how it has shifted since the train window."""
    from mtl_tasks.daily_features import read_days

    rows = inputs["split"].frame("rows")
    place = _places(rows, _windows(inputs["split"]))
    sampled = {name: drift.sample_rows(place[name], run.scenario.seed) for name in ("train", "test")}
    features = {name: read_days(run.store, inputs["features"], None, at) for name, at in sampled.items()}
    learnt = {task: rows[columns.label(task)].iloc[place["train"]].dropna() for task in run.scenario.tasks}
    judged: drift.Json = {
        "labels": drift.sketches({task: part.label for task, part in scored.items()}),
        "features": drift.sketches(features["test"]),
    }
    before = {"labels": drift.sketches(learnt), "features": drift.sketches(features["train"])}
    return {
        **judged,
        "predictions": drift.sketches({task: part.predictions[FUSION] for task, part in scored.items()}),
        "format": drift.FORMAT,
        "since_train": drift.compare(before, judged),
    }


def _drift(run: Run, inputs: Inputs, champion: Entry) -> dict[str, Any]:
    """How far what is judged here has shifted from what was judged when the champion was."""
    about = {"run_key": champion.run_key, "as_of": champion.as_of}
    try:
        theirs = drift.read_record(run.store.open(champion.refs["evaluate"]))
    except StoreError:
        raise
    except ArtifactError as error:
        return {**about, "problem": str(error), "shifts": [], "unmatched": []}
    own = inputs["evaluate"].json(drift.RECORD)
    if theirs is None:
        problem = "it is of a time when no distributions were recorded"
        return {**about, "problem": problem, "shifts": [], "unmatched": []}
    return {**about, "problem": None, **drift.compare(theirs, own)}


def _judge_lists(run: Run, inputs: Inputs) -> dict[str, Any]:
    """Quality of the lists that would have been made at the start of the test window."""
    scenario = run.scenario
    events, tables = _events(run, inputs), _tables(inputs)
    start = _windows(inputs["split"])["test"][0]
    everybody = taken_in_test(events, scenario, start)
    truth = judged_people(everybody, scenario.seed)
    known = events.loc[events[columns.DAY] < start, columns.ITEM].unique()
    lists = ListJudge(truth, everybody[columns.USER].nunique(), known, scenario.recommend.top_k, scenario.seed)
    memory = _memory(run, scenario, inputs, events, tables, start)
    people = truth[columns.USER].unique()
    for scored, _ in _load_scorer(scenario, inputs).candidates(events, tables, people, start, memory):
        lists.add(scored)
    return lists.document()


def _champion(run: Run, inputs: Inputs, entry: Entry) -> Champion:
    """Score this run's test rows with an earlier run: its factors, its members, features made by today's code."""
    if not run.scenario.gate.relative:  # nothing asks for its predictions
        return Champion(entry.run_key, entry.as_of, {})
    rows = inputs["split"].frame("rows")
    test = rows[rows[columns.WINDOW] == "test"].reset_index(drop=True)
    try:
        theirs = parse_scenario(entry.scenario_document, where=f"registry entry {entry.run_key[:12]}")
        check_comparable(theirs, entry.as_of, run.scenario, day_text(int(test[columns.DAY].min())))
        artifacts = Inputs({name: run.store.open(ref) for name, ref in lasting_refs(entry).items()})
        predicted = _score(run, inputs, theirs, artifacts, test)
    except (ConfigError, DataError, ArtifactError) as error:
        if isinstance(error, StoreError):
            raise
        return Champion(entry.run_key, entry.as_of, {}, problem=str(error))
    made = {}
    for task in run.scenario.tasks:
        if columns.prediction(task) in predicted:
            seen = test[columns.label(task)].notna().to_numpy()
            made[task] = predicted[columns.prediction(task)].to_numpy()[seen]
    return Champion(entry.run_key, entry.as_of, made)


def _score(run: Run, inputs: Inputs, scenario: Scenario, theirs: Inputs, rows: pd.DataFrame) -> pd.DataFrame:
    from mtl_tasks.daily_features import read_days
    from mtl_tasks.features.build import extend_spaces

    events, tables = _events(run, inputs), _tables(inputs)
    scorer = _load_scorer(scenario, theirs)
    spaces = extend_spaces(scorer.spaces, events, scenario, run.as_of_day)
    if _same_features(scenario, run.scenario) and _same_spaces(spaces, _load_spaces(inputs["factors"])):
        return scorer.fuse(read_days(run.store, inputs["features"]).tail(len(rows)).reset_index(drop=True))
    memory = _memory(run, scenario, inputs, events, tables, int(rows[columns.DAY].min()))
    return replace(scorer, spaces=spaces).score(events, tables, rows, memory)


def _same_features(theirs: Scenario, ours: Scenario) -> bool:
    documents = (scenario.model_dump(mode="json") for scenario in (theirs, ours))
    first, second = ({name: document[name] for name in FEATURE_SECTIONS} for document in documents)
    return first == second


def _same_spaces(theirs: Spaces, ours: Spaces) -> bool:
    """Whether both are the same to the bit: runs of one week share their factors where factors.refit_days lets them."""
    return theirs.keys() == ours.keys() and all(
        np.array_equal(getattr(space, part), getattr(ours[name], part))
        for name, space in theirs.items()
        for part in ("item_ids", "valid_from", "vectors")
    )


def _load_scorer(scenario: Scenario, inputs: Inputs) -> Scorer:
    from mtl_tasks.members import member_class
    from mtl_tasks.scoring import Scorer

    members = {}
    for kind in scenario.members:
        artifact = inputs[f"member:{kind}"]
        members[str(kind)] = member_class(kind).load(_member_files(artifact), scenario)
    return Scorer(scenario, _load_spaces(inputs["factors"]), members, inputs["fuse"].json("fusion"))


def _warm_start(run: Run, inputs: Inputs, kind: MemberKind, made: pd.DataFrame) -> WarmStart:
    """What a member grows on from: the configuration names it, so that the key of what is made depends on it."""
    from mtl_tasks.transfer import WarmStart, from_scratch, warm_start

    start = inputs.config.get("start")
    if start is None:
        return WarmStart()
    if start["run_key"] is None:
        return from_scratch(start["reason"])
    entry = Registry(run.store, start["scenario"]).get(start["run_key"])
    artifact = run.store.open(entry.refs[f"member:{kind}"])
    fitted, refitted = (_member_files(artifact, prefix) for prefix in (FITTED, MODEL))
    return warm_start(kind, entry, fitted, refitted, run.scenario, run.as_of_name, [str(name) for name in made])


def _member_files(artifact: Artifact, prefix: str = MODEL) -> dict[str, bytes]:
    return {name.removeprefix(prefix): artifact.read(name) for name in artifact.names if name.startswith(prefix)}


def _prefixed(files: dict[str, bytes], prefix: str = MODEL) -> dict[str, bytes]:
    return {f"{prefix}{name}": data for name, data in files.items()}


def _events(run: Run, inputs: Inputs) -> pd.DataFrame:
    from mtl_tasks.daily_log import read_events

    return read_events(run.store, inputs["validate"])


def _memory(
    run: Run, scenario: Scenario, inputs: Inputs, events: pd.DataFrame, tables: Tables, day: int
) -> Memory | None:
    """What was counted for features of a scenario like this by a day, if that was kept."""
    from mtl_tasks.daily_features import recall
    from mtl_tasks.daily_log import day_digests
    from mtl_tasks.known import Known

    known = Known.of(scenario, day_digests(run.store, inputs["validate"]), events, tables)
    return recall(run.store, run.scenario.name, known, day)


def _tables(inputs: Inputs) -> Tables:
    from mtl_tasks.features.build import Tables

    return Tables(inputs["validate"].frame("users"), inputs["validate"].frame("items"))


def _load_spaces(artifact: Artifact) -> Spaces:
    from mtl_tasks.daily_factors import load_spaces

    return load_spaces(artifact)


def _windows(split_artifact: Artifact) -> dict[str, tuple[int, int]]:
    return {name: (first, end) for name, (first, end) in split_artifact.json("windows").items()}


def _days_are_there(store: Store, artifact: Artifact) -> bool:
    from mtl_tasks.daily_features import all_there

    return all_there(store, artifact)


def _places(rows: pd.DataFrame, windows: dict[str, tuple[int, int]]) -> dict[str, slice]:
    """Where the rows of each window are: rows are ordered by day."""
    days = rows[columns.DAY].to_numpy()
    return {name: slice(*np.searchsorted(days, bounds).tolist()) for name, bounds in windows.items()}


def _prediction_frame(predictions: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    return pd.DataFrame({columns.prediction(task): values for task, values in predictions.items()})


def _newest(events: pd.DataFrame) -> str | None:
    newest = events[columns.TIME].max()
    return None if pd.isna(newest) else newest.isoformat()


def _sections(*names: str) -> Config:
    """Return the configuration function of a stage that depends on some sections of the scenario."""

    def config(run: Run) -> dict[str, Any]:
        document = run.scenario.model_dump(mode="json")
        return {name: document[name] for name in names}

    return config


def _member_config(kind: MemberKind) -> Config:
    plain = _sections("tasks", "seed", "refit", "features")
    if kind not in BOOSTED:
        return plain

    def config(run: Run) -> dict[str, Any]:
        device: str = run.scenario.boosting.device
        if device == "auto":  # what it stands for on this machine belongs in the key
            from mtl_tasks.boosting.device import resolve_device

            device = resolve_device(device)
        return {**plain(run), **_sections("boosting")(run), "device": device, **_start_config(run, kind)}

    return config


def _start_config(run: Run, kind: MemberKind) -> dict[str, Any]:
    """Which run's member is grown on from; a champion that is not there yet is no fault, another scenario's is."""
    asked = run.scenario.boosting.transfer
    if asked == "none":
        return {}
    name = run.scenario.name if asked == "champion" else asked
    champion = Registry(run.store, name).champion(run.as_of_name)
    if kind == "cascade":
        reason = "a cascade's folds may not know trees that learnt from their rows"
    elif champion is None:
        reason = f"no run of {name} was published before {run.as_of_name}"
        if asked != "champion":
            raise ConfigError(f"boosting.transfer: {reason}: run {name} for an earlier day first, or set 'none'")
    elif f"member:{kind}" not in champion.refs:
        reason = f"{name} as of {champion.as_of} has no member {kind}"
    else:
        return {"start": {"scenario": name, "run_key": champion.run_key}}
    return {"start": {"scenario": name, "run_key": None, "reason": reason}}


def _factors_config(run: Run) -> dict[str, Any]:
    from mtl_tasks.factors import resolve_device

    own = _sections("factors", "features", "tasks", "seed")(run)
    own["device"] = resolve_device(run.scenario.factors.device)
    if run.scenario.factors.warm_start == "champion":
        champion = Registry(run.store, run.scenario.name).champion(run.as_of_name)
        own["start"] = None if champion is None else champion.run_key
    return own


def _resolve_config(run: Run) -> dict[str, Any]:
    files = _list_files(run)
    return {"source": run.scenario.source.model_dump(mode="json"), "files": [asdict(file) for file in files]}


def _list_files(run: Run) -> list[SourceFile]:
    from mtl_tasks.sources import list_sources, list_tables

    if run.scenario.source.sql is None:
        return list_sources(run.scenario, ROOT, run.as_of_day)
    from mtl_tasks.snapshots import snapshot_log

    # Read here, by the process that asks the database: a password must not travel from task to task with the run.
    days = snapshot_log(run.scenario, _snapshots(run), run.as_of_day, os.environ, renew=run.force)
    return [*days, *list_tables(run.scenario, ROOT)]


def _snapshots(run: Run) -> UPath:
    return run.store.root / run.scenario.name / "snapshots"


def _gate_config(run: Run) -> dict[str, Any]:
    champion = Registry(run.store, run.scenario.name).champion(run.as_of_name)
    own = _sections("gate", "seed")(run)
    return {**own, "champion": champion.run_key if champion else None}


def _whole(run: Run) -> dict[str, Any]:
    return run.scenario.model_dump(mode="json")
