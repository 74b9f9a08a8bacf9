"""Finished runs as runs of an MLflow experiment, with a child run for each member."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mtl_tasks.integrations.mlflow_unique import insert, unique_experiment, unique_run
from mtl_tasks.store.documents.measurements import Measurement, Measurements

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from mtl_tasks.store.documents.evaluation import Evaluation
    from mtl_tasks.store.documents.training import MemberDescription
    from mtl_tasks.store.documents.verdict import Verdict
    from mtl_tasks.store.registry import RunRecord

RUN_KEY: Final = "mtl.run_key"
STATUS: Final = "mtl.status"
_MEMBER: Final = "mtl.member"
_COMPLETE: Final = "mtl.complete"
_PAGE: Final = "mtl.page"
_PARENT: Final = "mlflow.parentRunId"
_KEY_LENGTH: Final = 250
_VALUE_LENGTH: Final = 6000
_TAG_LENGTH: Final = 5000
_METRICS: Final = 1000  # of a request
_PAIRS: Final = 100  # parameters or tags of a request
_FORBIDDEN: Final = re.compile(r"[^\w.\-:/ ]")
Point = tuple[str, float, int]  # metric, value, step
T = TypeVar("T")


@dataclass(frozen=True)
class TrackedRun:
    """A finished run.

    Attributes
    ----------
    status
        Current status, such as ``promoted``.
    members
        Descriptions by member.
    at
        Time of the verdict in seconds since 1970.
    page
        The report as HTML; None without one.
    backfill
        Whether it is a run of a backfill; None if that is not known now.
    commit
        The project's commit; None if it is not known.
    """

    entry: RunRecord
    status: str
    evaluation: Evaluation
    verdict: Verdict
    members: Mapping[str, MemberDescription]
    at: float
    page: str | None = None
    backfill: bool | None = None
    commit: str | None = None


def write_run(client: MlflowClient, experiment: str, run: TrackedRun) -> str:
    """Write a run, or update the one with its key, and return MLflow's id of it.

    What a run's key determines is written once; its status and its report are updated.
    """
    writer = _Writer(client, unique_experiment(client, experiment), int(run.at * 1000))
    run_id, known = writer.open_run({RUN_KEY: run.entry.run_key}, f"{run.entry.as_of} {run.entry.run_key[:12]}")
    if known.get(_COMPLETE) != "true":
        _write_content(writer, run_id, run)
    if run.page is not None:
        digest = hashlib.sha256(run.page.encode()).hexdigest()
        if known.get(_PAGE) != digest:
            client.log_text(run_id, run.page, "report.html")
            writer.log(run_id, tags={_PAGE: digest})
    writer.log(run_id, tags={**_tags(run), _COMPLETE: "true"})
    return run_id


def mark_run(client: MlflowClient, experiment: str, run_key: str, status: str) -> None:
    """Set the status of the runs whose key begins with some digits: those whose record cannot be read."""
    wanted = f"tags.`{RUN_KEY}` LIKE '{run_key}%'"
    for found in client.search_runs([unique_experiment(client, experiment)], wanted):
        client.set_tag(found.info.run_id, STATUS, status)


@dataclass(frozen=True)
class _Writer:
    """Writes to the runs of an experiment.

    Attributes
    ----------
    at
        Time of every run and point in milliseconds since 1970: the server then takes a point written twice for one.
    """

    client: MlflowClient
    experiment_id: str
    at: int

    def open_run(self, tags: Mapping[str, str], name: str) -> tuple[str, Mapping[str, str]]:
        """Return the id and the tags of the run with some tags, which is made if there is none."""
        return unique_run(self.client, self.experiment_id, tags, name, self.at)

    def log(
        self,
        run_id: str,
        points: Sequence[Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send points, parameters and tags in requests within MLflow's limits."""
        from mlflow.entities import Metric, Param, RunTag

        send = partial(self.client.log_batch, run_id)
        for some in _batches(list((params or {}).items()), _PAIRS):
            insert(partial(send, params=[Param(*pair) for pair in some]))
        for some in _batches(list((tags or {}).items()), _PAIRS):
            insert(partial(send, tags=[RunTag(key, value[:_TAG_LENGTH]) for key, value in some]))
        for few in _batches(points, _METRICS):
            insert(partial(send, metrics=[Metric(name, value, self.at, step) for name, value, step in few]))

    def finish(self, run_id: str) -> None:
        """Set the status of a run to finished."""
        self.client.set_terminated(run_id, "FINISHED", end_time=self.at)


def _batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (values[start : start + size] for start in range(0, len(values), size))


def _write_content(writer: _Writer, run_id: str, run: TrackedRun) -> None:
    """Write what does not change; after a failure halfway the same points are written again."""
    writer.log(run_id, _points(_measured(run.evaluation)), flat_params(run.entry.scenario_document))
    writer.client.log_dict(run_id, run.verdict.to_json(), "verdict.json")
    writer.client.log_dict(run_id, run.evaluation.to_json(), "evaluation.json")
    for kind, description in run.members.items():
        child, _ = writer.open_run({_PARENT: run_id, _MEMBER: kind}, kind)
        tasks = run.evaluation.tasks.items()
        own = {task: measured.members[kind] for task, measured in tasks if kind in measured.members}
        about = {"kind": description.kind, "device": description.device}
        writer.log(child, [*_points(own), *_curve_points(description)], about, {"mtl.as_of": run.entry.as_of})
        writer.finish(child)
    writer.finish(run_id)


def _tags(run: TrackedRun) -> dict[str, str]:
    """Return the tags that later decisions may change, and those that only some callers know."""
    entry = run.entry
    tags = {
        "mtl.scenario": entry.scenario_name,
        "mtl.as_of": entry.as_of,
        STATUS: run.status,
        "mtl.verdict": run.verdict.decision,
        "mtl.code": entry.code,
        "mlflow.note.content": run.verdict.line,
    }
    if run.commit is not None:
        tags["mlflow.source.git.commit"] = run.commit
    if run.backfill is not None:
        tags["mtl.backfill"] = str(run.backfill).lower()
    return tags


def flat_params(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a scenario's settings by dotted key, within MLflow's limits; lists are JSON.

    >>> flat_params({"name": "shop", "windows": {"train": 10}, "members": ["als"], "deep": None})
    {'name': 'shop', 'windows.train': '10', 'members': '["als"]', 'deep': 'null'}
    """
    return {_legal(name): _clipped(value) for name, value in _leaves(document, "")}


def _leaves(document: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _clipped(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 1]}…"


def _legal(key: str) -> str:
    return _FORBIDDEN.sub("_", key)[:_KEY_LENGTH]


def _measured(evaluation: Evaluation) -> dict[str, Measurements]:
    """Return the metrics of the fusion by task, of its gain over the baseline, of slices, and of recommendations."""
    made = dict(evaluation.metrics)
    for task, found in evaluation.tasks.items():
        gain = found.versus_floor.get("fusion")
        made |= {} if gain is None else {f"gain_over_popularity.{task}": gain}
    for task, slices in evaluation.slices.items():
        made |= {f"slice.{name}.{task}": part.fusion for name, part in slices.items()}
    for ranker, metrics in evaluation.ranking.by_ranker.items():
        made[f"ranker.{ranker}"] = metrics
    return made


def _points(measured: Mapping[str, Measurements]) -> list[Point]:
    """Return each metric with the ends of its interval; those that cannot be computed are left out."""
    found = []
    for group, metrics in measured.items():
        for name, measurement in metrics.items():
            found += [(_legal(f"{group}.{name}{end}"), value, 0) for end, value in _ends(measurement)]
    return found


def _ends(measurement: Measurement) -> list[tuple[str, float]]:
    ends = (("", measurement.value), (".low", measurement.low), (".high", measurement.high))
    return [(end, value) for end, value in ends if value is not None]


def _curve_points(description: MemberDescription) -> list[Point]:
    """Return the training curves of a member: a point for each boosting round or epoch."""
    series: dict[str, Iterable[float | None]] = {}
    for task, trained in description.tasks.items():
        if trained.curve is not None:
            series[f"{task}.{trained.curve.metric}.train"] = trained.curve.train
            series[f"{task}.{trained.curve.metric}.tune"] = trained.curve.tune
    if description.sharing is not None:
        series |= {f"gradient_cosine.{pair}": values for pair, values in description.sharing.cosines.items()}
        series |= {f"task_weight.{task}": values for task, values in description.sharing.weights.items()}
    return [
        (_legal(name), value, step)
        for name, values in series.items()
        for step, value in enumerate(values, 1)
        if value is not None
    ]
