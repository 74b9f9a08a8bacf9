"""Delivery of today's champion's recommendations to the targets of the section `publish`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mtl_tasks.integrations.targets import Delivery, deliver
from mtl_tasks.pipeline.stages import find_record
from mtl_tasks.pipeline.stages.prepare import ROOT
from mtl_tasks.store.registry import Registry

if TYPE_CHECKING:
    from mtl_tasks.pipeline.engine import Run, StageResult
    from mtl_tasks.scenario import Scenario

log = logging.getLogger(__name__)


def deliver_recommendations(
    run: Run, results: Mapping[str, StageResult], targets: Scenario, environment: Mapping[str, str]
) -> list[Delivery]:
    """Write a run's recommendations to the targets of a scenario.

    Nothing is written for a run that is not today's champion, as in a backfill.

    Parameters
    ----------
    results
        The run's stages, ``gate`` and ``recommend`` among them.
    targets
        The scenario as it is now: that of an earlier run may name other targets.
    environment
        Where URLs with secrets are looked up.
    """
    if not targets.publish.active:
        return []
    snapshot = Registry(run.store, run.scenario.name).read()
    entry = find_record(run, results["gate"].ref, snapshot)
    if snapshot.champion() != entry:
        log.info("run %s as of %s is not today's champion: nothing is delivered", entry.run_key[:12], entry.as_of)
        return []
    lists = run.store.open(results["recommend"].ref).frame("recommendations")
    return deliver(lists, targets, run.as_of, ROOT, environment)
