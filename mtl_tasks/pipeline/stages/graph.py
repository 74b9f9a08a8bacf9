"""The stage graph of a scenario: the stages in order, their inputs and their configuration."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from mtl_tasks.core.stages import MEMBER, STAGES, StageTraits
from mtl_tasks.pipeline.engine import Stage
from mtl_tasks.pipeline.stages.work import Work
from mtl_tasks.scenario import Scenario


def build_stages(scenario: Scenario) -> dict[str, Stage]:
    """Return the stages of a scenario in the order they run, by name.

    The stage that only shows a run, `report`, is not among them: :func:`~mtl_tasks.pipeline.stages.report_stage`.
    """
    members = tuple(f"{MEMBER}:{kind}" for kind in scenario.members)
    built = {}
    for kind, traits in STAGES.items():
        if not traits.presentation:
            needs = tuple(_expanded(traits.inputs, members))
            for name in _expanded((kind,), members):
                built[name] = _build(name, needs, traits)
    return built


def _expanded(names: tuple[str, ...], members: tuple[str, ...]) -> Iterator[str]:
    """Yield names of stages, with those of the members in the place of ``member``."""
    for name in names:
        yield from members if name == MEMBER else (name,)


def _build(name: str, needs: tuple[str, ...], traits: StageTraits) -> Stage:
    work: Work = importlib.import_module(f"{__package__}.{traits.module}").WORK[name]
    return Stage(name, needs, work.config, work.body, whole=work.whole, optional=traits.optional)
