"""The section `pods`: what the tasks ask of Kubernetes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator

from mtl_tasks.core.errors import nearest
from mtl_tasks.core.stages import STAGES
from mtl_tasks.scenario.base import Line, Model, Name, Real, Whole

# Of all DAGs: the stages', that of the members on a GPU, and those that run no stage.
TASKS: Final = (*STAGES, "member_gpu", "deliver", "track", "prepare", "trials")


class Pod(Model):
    """Resources of a task's pod: both what is requested and the limit, so that a node is never overcommitted."""

    cpu: Annotated[Real, Field(ge=0.1, le=1000)] | None = Field(
        default=None,
        description="CPUs; those of `member` should be boosting.threads or more. null: the template's",
    )
    memory_mib: Annotated[Whole, Field(ge=64, le=10_000_000)] | None = Field(
        default=None, description="memory in MiB; `mtl registry costs` shows what past runs took. null: the template's"
    )
    gpu: Annotated[Whole, Field(ge=0, le=64)] = Field(default=0, description="GPUs")


class Pods(Model):
    """Resources of the pods of Airflow's KubernetesExecutor."""

    default: Pod = Field(default=Pod(), description="tasks that `tasks` does not name")
    tasks: dict[Name, Pod] = Field(
        default={}, description="task -> its resources; `member_gpu` are the members that are fitted on a GPU"
    )
    gpu_resource: Line = Field(default="nvidia.com/gpu", description="name of the cluster's GPU resource")

    @field_validator("tasks")
    @classmethod
    def _known(cls, tasks: dict[str, Pod]) -> dict[str, Pod]:
        for name in tasks:
            if name not in TASKS:
                raise ValueError(f"unknown task {name!r}{nearest(name, list(TASKS))} (known: {', '.join(TASKS)})")
        return tasks

    def of(self, task: str) -> Pod:
        """Return the resources of a task, by its name without the group."""
        return self.tasks.get(task, self.default)
