"""The stages that train: `factors`, `features`, `member:<kind>`, `fuse`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.core import columns
from mtl_tasks.core.process import release_free_memory
from mtl_tasks.pipeline.engine import Inputs, Run, jax_versions
from mtl_tasks.pipeline.stages.config import Config, sections
from mtl_tasks.pipeline.stages.inputs import (
    FITTED,
    MODEL,
    days_are_there,
    load_events,
    load_tables,
    load_windows,
    member_files,
    prefixed,
    window_positions,
)
from mtl_tasks.pipeline.stages.work import Body, Work
from mtl_tasks.scenario import BOOSTED, DEEP, FEATURE_SECTIONS, MEMBERS, MemberKind
from mtl_tasks.store.artifacts import DAYS, Artifact, Payload
from mtl_tasks.store.registry import Registry

if TYPE_CHECKING:
    from mtl_tasks.core.feature_columns import FeatureColumn
    from mtl_tasks.models import Table
    from mtl_tasks.models.warm_start import WarmStart

log = logging.getLogger(__name__)


def factors(run: Run, inputs: Inputs) -> Payload:
    """Fit factor models and the projection of contents on history, fold in new items until as_of."""
    from mtl_tasks.features.builder import warm_startable
    from mtl_tasks.features.content import fit_content
    from mtl_tasks.pipeline.days.factors import add_factor_models, load_factor_models, make_factor_models
    from mtl_tasks.pipeline.days.log import day_digests

    events, digests = load_events(run, inputs), day_digests(run.store, inputs["validate"])
    start = load_windows(inputs["split"])["train"][0]
    start -= start % run.scenario.factors.refit_days
    begun = inputs.config.get("start")
    earlier, problems = warm_startable(
        {} if begun is None else load_factor_models(_factors_of(run, begun)), run.scenario
    )
    problems = problems if begun is not None else []
    for problem in problems:
        log.warning("%s: warm start from run %s: %s", run.scenario.name, str(begun)[:12], problem)
    factor_models = make_factor_models(run, inputs.config, events.frame, digests, start, earlier)
    payload = Payload(rows=sum(len(item_factors.item_ids) for item_factors in factor_models.values()))
    payload.summary = {
        "fitted_before": start,
        "fitted_max_event_time": events.before(start).newest_time,
        "folded_in_max_event_time": events.newest_time,
        "device": inputs.config["device"],
        "warm_start": begun,
        "started_from_scratch": problems,
    }
    add_factor_models(
        payload, factor_models | fit_content(load_tables(inputs).items, events.frame, run.scenario, start)
    )
    return payload


def factors_config(run: Run) -> dict[str, Any]:
    """Return the sections, the device that `auto` means on this machine, and the run to warm-start factors from."""
    from mtl_tasks.features.als import resolve_device

    own = sections("factors", "features", "tasks", "seed")(run)
    own["device"] = resolve_device(run.scenario.factors.device)
    if run.scenario.factors.warm_start == "champion":
        champion = Registry(run.store, run.scenario.name).champion(run.as_of.iso)
        own["start"] = None if champion is None else champion.run_key
    return own


def _factors_of(run: Run, run_key: str) -> Artifact:
    return run.store.open(Registry(run.store, run.scenario.name).get(run_key).refs["factors"])


def features(run: Run, inputs: Inputs) -> Payload:
    """Make the features of every row from what was known before its day."""
    from mtl_tasks.pipeline.days.features import make_days

    days = make_days(run, inputs)
    newest = inputs["validate"].summary["max_event_time"]
    payload = Payload(rows=sum(day.rows for day in days), summary={"days": len(days), "max_event_time": newest})
    payload.add_json(DAYS, [day.to_json() for day in days])
    return payload


def member(kind: MemberKind) -> Body:
    """Return the stage body that fits one member, predicts blend, refits, and predicts test."""

    def body(run: Run, inputs: Inputs) -> Payload:
        from mtl_tasks.models import member_class
        from mtl_tasks.pipeline.days.features import feature_columns

        made = feature_columns(run.store, inputs["features"], run.scenario)
        names = member_class(kind).reads(run.scenario, made)
        table, window = labeled_table(run, inputs, [column for column in made if column.name in names])
        start = _warm_start(run, inputs, kind, names)
        fitting, refitting = _learned_tables(run, inputs, kind, table, window["blend"])
        train, tune = (fitting.where(window[name]) for name in ("train", "tune"))
        fitted = start.fit(member_class(kind), train, tune, run.scenario)
        blend = fitted.predict(table.where(window["blend"]).features)
        kept: dict[str, bytes] = {}
        if run.scenario.refit == "through_blend":
            kept = fitted.files()
            release_free_memory()
            fitted = start.refit(fitted, refitting.where(slice(window["test"].start)))
        payload = Payload(files=prefixed(fitted.files()) | prefixed(kept, FITTED), rows=len(table))
        test = table.where(window["test"]).features
        payload.summary = {"device": fitted.describe()["device"], "refit": run.scenario.refit, "transfer": start.note}
        payload.add_frame("blend", _prediction_frame(blend))
        payload.add_frame("test", _prediction_frame(fitted.predict(test)))
        payload.add_json("describe", {**fitted.describe(), "transfer": start.note})
        payload.add_json("explain", fitted.explain(test, run.scenario.seed))
        return payload

    return body


def labeled_table(run: Run, inputs: Inputs, chosen: list[FeatureColumn]) -> tuple[Table, dict[str, slice]]:
    """Return the run's rows with some of their features, not yet read, and the positions of each window's rows."""
    from mtl_tasks.models import Table
    from mtl_tasks.pipeline.days.features import DailyFeatures

    rows = inputs["split"].frame("rows")
    labels = {task: rows[columns.label(task)].to_numpy().copy() for task in run.scenario.tasks}
    kept = DailyFeatures.of(run.store, inputs["features"], [column.name for column in chosen])
    users = rows[columns.USER].to_numpy().copy()  # copies, so that the rest of the rows is freed
    return Table(kept, labels, users=users, columns=chosen), window_positions(rows, load_windows(inputs["split"]))


def _learned_tables(run: Run, inputs: Inputs, kind: MemberKind, table: Table, blend: slice) -> tuple[Table, Table]:
    """Return the rows to fit and to refit a member on; labels of `distilled` are its teacher's predictions."""
    if kind != "distilled":
        return table, table
    from mtl_tasks.pipeline.stages.teaching import taught_tables

    return taught_tables(run, inputs, table, blend)


def member_config(kind: MemberKind) -> Config:
    """Return the configuration function of a member's stage: its settings, its device, and its warm start."""
    traits = MEMBERS[kind]
    own = traits.further if traits.section is None else (traits.section, *traits.further)
    plain = sections("tasks", "seed", "refit", "features", *own)

    def config(run: Run) -> dict[str, Any]:
        device = run.scenario.device_of(kind)
        if device is None:
            return plain(run)
        if device == "auto":  # its meaning on this machine belongs in the key
            from mtl_tasks.models import member_class

            device = member_class(kind).resolve_device(device)
        own = {**plain(run), "device": device}
        if kind == DEEP:
            own["libraries"] = jax_versions()
        return {**own, **(_start_config(run, kind) if kind in BOOSTED else {})}

    return config


def _start_config(run: Run, kind: MemberKind) -> dict[str, Any]:
    """Return the run to warm-start a member from, or why there is none: the stage's key depends on it."""
    source = run.scenario.boosting.warm_start
    if source == "none":
        return {}
    from mtl_tasks.models.warm_start import find_start

    start = find_start(run.scenario, run.as_of.iso, run.store, kind)
    name = run.scenario.name if source == "champion" else source
    if isinstance(start, str):
        return {"start": {"scenario": name, "run_key": None, "reason": start}}
    return {"start": {"scenario": name, "run_key": start.run_key}}


def _warm_start(run: Run, inputs: Inputs, kind: MemberKind, names: list[str]) -> WarmStart:
    """Load the warm start that a member's configuration names."""
    from mtl_tasks.models.warm_start import WarmStart, from_scratch, warm_start

    start = inputs.config.get("start")
    if start is None:
        return WarmStart()
    if start["run_key"] is None:
        return from_scratch(start["reason"])
    entry = Registry(run.store, start["scenario"]).get(start["run_key"])
    artifact = run.store.open(entry.refs[f"member:{kind}"])
    fitted, refitted = (member_files(artifact, prefix) for prefix in (FITTED, MODEL))
    return warm_start(kind, entry, fitted, refitted, run.scenario, run.as_of.iso, names)


def _prediction_frame(predictions: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    return pd.DataFrame({columns.prediction(task): values for task, values in predictions.items()})


def fuse(run: Run, inputs: Inputs) -> Payload:
    """Fit the fusion and calibration of every task on blend."""
    from mtl_tasks.models.fusion import fit_fusion

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
    payload.summary = {task: document.note for task, document in fitted.items()}
    payload.add_json("fusion", {task: document.to_json() for task, document in fitted.items()})
    return payload


WORK: Final = {
    "factors": Work(factors_config, factors),
    "features": Work(sections(*FEATURE_SECTIONS), features, whole=days_are_there),
    **{f"member:{kind}": Work(member_config(kind), member(kind)) for kind in MEMBERS},
    "fuse": Work(sections("fusion", "tasks"), fuse),
}
