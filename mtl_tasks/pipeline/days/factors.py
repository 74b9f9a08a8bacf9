"""Factor models as artifacts: runs share the fit and the folding in of new items where they can."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pandas as pd
from upath import UPath

from mtl_tasks.core.days import day_text
from mtl_tasks.features.als import ItemFactors
from mtl_tasks.features.builder import FactorModels, extend_factor_models, fit_factor_models
from mtl_tasks.pipeline.days.fingerprints import DayFingerprints, Digests, id_types
from mtl_tasks.pipeline.engine import Run
from mtl_tasks.store.artifacts import DAYS, Artifact, Payload

log = logging.getLogger(__name__)
_LABELS: Final = {"text": "U", "vectors": "i"}  # projections of contents: dtype of their terms or positions


def make_factor_models(
    run: Run,
    config: Mapping[str, Any],
    events: pd.DataFrame,
    digests: Digests,
    start: int,
    earlier: FactorModels | None = None,
) -> FactorModels:
    """Return the factor models fitted on the events before ``start``, with new items folded in until as_of.

    Models that an earlier run fitted on the same events are loaded from the store, and new items are folded in; the
    result is the same to the bit.

    Parameters
    ----------
    config
        Settings that the models depend on beside the events, with the run of ``earlier``, if any.
    digests
        A hash of the events of each day.
    earlier
        Factor models of another fit to warm-start from.
    """
    every = run.scenario.factors.refresh_days
    refreshed = [start, *range((start // every + 1) * every, run.as_of.day + 1, every)]
    fingerprints = DayFingerprints(
        run.in_key({"factors": dict(config), "start": start, "ids": id_types(events)}), digests
    )
    keys = {day: key.hexdigest() for day, key in fingerprints.before(refreshed)}
    found = _newest(run, keys)
    if found is None:
        factor_models = fit_factor_models(events, run.scenario, start, run.as_of.day, earlier)
    else:
        reached, artifact = found
        factor_models = load_factor_models(artifact)
        log.info("%s: factors of %s folded into further", run.scenario.name, day_text(reached))
        if reached == refreshed[-1]:
            return factor_models
        factor_models = extend_factor_models(factor_models, events, run.scenario, run.as_of.day, reached)
    day, payload = (
        refreshed[-1],
        Payload(rows=sum(len(item_factors.item_ids) for item_factors in factor_models.values())),
    )
    add_factor_models(payload, factor_models)
    facts = {"scenario": run.scenario.name, "stage": "factors", "as_of": day_text(day), "usage": {}}
    run.store.publish(_folder(run, day, keys[day]), keys[day], payload, facts)
    return factor_models


def add_factor_models(payload: Payload, factor_models: FactorModels) -> None:
    """Add factor models to a payload, for :func:`load_factor_models` to read."""
    for name, item_factors in factor_models.items():
        payload.add_arrays(_file(name), asdict(item_factors))
    payload.summary["vectors"] = {
        name: list(item_factors.vectors.shape) for name, item_factors in factor_models.items()
    }
    payload.summary["text_ids"] = any(
        item_factors.item_ids.dtype.kind == "U" for name, item_factors in factor_models.items() if name not in _LABELS
    )


def load_factor_models(artifact: Artifact) -> FactorModels:
    """Return the factor models of an artifact, with the projections of texts and given vectors.

    Raises
    ------
    ArtifactError
        If it is damaged.
    """
    factor_models, of_items = {}, "U" if artifact.summary["text_ids"] else "i"
    for name in artifact.summary["vectors"]:
        kind = _LABELS.get(name, of_items)
        expected = {"item_ids": (kind, 1), "valid_from": ("i", 1), "vectors": ("f", 2)}
        factor_models[name] = ItemFactors(**artifact.arrays(_file(name), expected))
    return factor_models


def same_factors(some: FactorModels, others: FactorModels) -> bool:
    """Whether both are the same to the bit: runs of one week share their factors if factors.refit_days allows it."""
    return some.keys() == others.keys() and all(
        np.array_equal(getattr(item_factors, part), getattr(others[name], part))
        for name, item_factors in some.items()
        for part in ("item_ids", "valid_from", "vectors")
    )


def _newest(run: Run, keys: Mapping[int, str]) -> tuple[int, Artifact] | None:
    """Return the last day that the store has an artifact for, and the artifact."""
    for day in sorted(keys, reverse=True):
        artifact = run.store.find(_folder(run, day, keys[day]))
        if artifact is not None:
            return day, artifact
    return None


def _folder(run: Run, day: int, key: str) -> UPath:
    return run.store.folder(run.scenario.name, DAYS, day_text(day), key)


def _file(name: str) -> str:
    return name.replace(":", "-")
