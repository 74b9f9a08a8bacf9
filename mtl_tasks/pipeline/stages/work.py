"""The work of a stage; `mtl_tasks/core/stages.py` declares its place in a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.stages.config import Config
from mtl_tasks.store.artifacts import Artifact, Payload, Store

Body = Callable[[Run, Inputs], Payload]


@dataclass(frozen=True)
class Work:
    """The functions of a stage, in the terms of :class:`~mtl_tasks.pipeline.engine.Stage`.

    Every module that the table of stages names has them in ``WORK``, by the stage's name.
    """

    config: Config
    body: Body
    whole: Callable[[Store, Artifact], bool] = field(default=lambda store, artifact: True)
