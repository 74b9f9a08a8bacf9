"""A whole scenario: its sections, what they must be to each other, and what follows from them together."""

from __future__ import annotations

import datetime
import keyword
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from mtl_tasks.core import columns
from mtl_tasks.core.errors import nearest
from mtl_tasks.scenario.base import Days, Flag, Fraction, Line, Link, Model, Name, Real, Short, Whole
from mtl_tasks.scenario.compression import Compression
from mtl_tasks.scenario.deep import Deep
from mtl_tasks.scenario.features import Factors, Features
from mtl_tasks.scenario.gate import Gate
from mtl_tasks.scenario.members import MEMBERS, Boosting, Fusion, MemberKind
from mtl_tasks.scenario.notify import Notify
from mtl_tasks.scenario.pods import Pods
from mtl_tasks.scenario.publish import Publish
from mtl_tasks.scenario.recommend import Recommend
from mtl_tasks.scenario.reranking import check_reranking
from mtl_tasks.scenario.source import Source, no_number
from mtl_tasks.scenario.tasks import Negatives, Task
from mtl_tasks.scenario.tracking import Tracking
from mtl_tasks.scenario.tuning import Tuning, check_space
from mtl_tasks.scenario.utility import Formula

LISTS: Final = "ranking"  # what rules of the gate call the lists, beside the tasks
SCENARIO_FOLDER = Path("include/scenarios")
FEATURE_SECTIONS: Final = ("features", "factors", "source", "tasks")  # what features depend on


class AssetSchedule(Model):
    """A schedule by events instead of times."""

    asset: Line = Field(
        description="URI of an asset that others update, such as s3://shop/log; each update starts a run"
    )
    partitioned: bool = Field(
        default=False,
        description="whether the partition key of each update is the day that is complete (YYYY-MM-DD): each day then "
        "starts a run of its own, as of the day after",
    )

    @field_validator("asset")
    @classmethod
    def _plain(cls, uri: str) -> str:
        if re.fullmatch(r"[a-z][a-z0-9+.-]*://[^@]+", uri) is None:
            raise ValueError("must be a URI such as s3://shop/log, without a user or a password")
        return uri


# The tags are in brackets, so that they are no part of a key in a message.
Schedule = Annotated[
    Annotated[Short, Tag("[cron]")] | Annotated[AssetSchedule, Tag("[asset]")],
    Discriminator(lambda given: "[asset]" if isinstance(given, dict | AssetSchedule) else "[cron]"),
]


class Windows(Model):
    """Lengths in days of the consecutive windows that end at as_of; history is all that comes before."""

    train: Days = Field(description="days that the members learn from")
    tune: Days = Field(description="days for early stopping")
    blend: Days = Field(description="days for fusion weights and calibration")
    test: Days = Field(description="days that metrics and gate use; nothing else reads them")
    min_history: Days = Field(default=14, description="minimum days of log before `train`")


class Validation(Model):
    """Limits of the data checks."""

    max_bad_fraction: Real = Field(
        default=0.001, ge=0, lt=1, description="largest share of bad rows; above it the run is refused"
    )
    earliest: Annotated[datetime.date, BeforeValidator(no_number)] = Field(
        default=datetime.date(1990, 1, 1),
        ge=datetime.date(1900, 1, 1),
        le=datetime.date(2200, 1, 1),
        description="a row of an earlier day (UTC) is bad: its time is in another unit, or stands for a missing time",
    )
    latest: Annotated[datetime.date, BeforeValidator(no_number)] = Field(
        default=datetime.date(2100, 1, 1),
        ge=datetime.date(1900, 1, 1),
        le=datetime.date(2200, 1, 1),
        description="a row of this day or a later one is bad; other rows from as_of on are only left out",
    )
    duplicates: Literal["drop", "quarantine", "refuse"] = Field(
        default="drop",
        description="exact copies of a row: drop leaves them out and counts them, quarantine treats them as bad rows, "
        "refuse refuses the log",
    )
    max_unattributed: Fraction | dict[Name, Fraction] = Field(
        default=0.5,
        description="long layout: largest share of a label's events that may follow no exposure; one share for all "
        "labels, or task or signal -> share (0.5 for those not named)",
    )
    max_age_days: Days = Field(default=2, description="largest age of the last event at as_of, in days")
    min_daily_ratio: Fraction = Field(
        default=0.2, description="smallest ratio of the last day's rows to the mean of the 28 days before"
    )
    volume_severity: Literal["critical", "warning"] = Field(
        default="warning", description="severity of a last day below min_daily_ratio: critical refuses the run"
    )
    missing_days: Literal["refuse", "warn"] = Field(
        default="warn", description="days without a row between the first and the last"
    )
    quote_rows: Flag | None = Field(
        default=None,
        description="whether messages may quote values of rows, such as ids; null: on the command line, not in Airflow",
    )

    def unattributed_limit(self, name: str) -> float:
        """Most events of the type of a task or signal that may follow no exposure, as a share of them."""
        return (
            self.max_unattributed.get(name, 0.5) if isinstance(self.max_unattributed, dict) else self.max_unattributed
        )

    @model_validator(mode="after")
    def _ordered(self) -> Validation:
        if not self.earliest < self.latest:
            raise ValueError(f"`earliest` {self.earliest} must be before `latest` {self.latest}")
        return self


class Evaluate(Model):
    """Settings of the evaluation of recommendations on the test window."""

    list_days: Whole = Field(
        default=1,
        ge=1,
        le=365,
        description="days of the test window, equally far from each other, at whose start recommendations are made; "
        "each is judged by what users take until the next one",
    )
    list_users: Whole = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="maximum number of users whose recommendations are judged, over all of these days; the interval "
        "of a mean NDCG over 10,000 users is about ±.005",
    )


def _on_one_line(text: Any) -> Any:
    return " ".join(text.split()) if isinstance(text, str) else text


class Scenario(Model):
    """A whole scenario file."""

    name: Name = Field(description="name of the file without .yaml, of the DAGs and of the folder in the store")
    title: Annotated[Line, BeforeValidator(_on_one_line)] = Field(description="one line, for Airflow and reports")
    description: str = Field(default="", max_length=10_000, description="what the scenario is about, for reports")
    owner: Short = Field(default="ml-platform", description="owner of the DAGs")
    # Left out of stored documents, as are `notify`, `tracking` and `pods`: none changes a result, and so none is part
    # of a key.
    owner_link: Link | None = Field(
        default=None,
        exclude=True,
        description="page or address of the owner, to which Airflow links; https://… or mailto:…",
    )
    schedule: Schedule = Field(
        default="0 0 * * *",
        description="when a run starts: a cron expression of five fields in UTC, or an asset of Airflow",
    )
    end_date: Annotated[datetime.date, BeforeValidator(no_number)] | None = Field(
        default=None,
        ge=datetime.date(1900, 1, 1),
        le=datetime.date(2200, 1, 1),
        description="last day of a log that has ended; nothing is scheduled after it",
    )
    # With what is added to it, a C int.
    seed: Whole = Field(default=7, ge=0, le=2_000_000_000, description="seed of everything that is drawn at random")
    source: Source = Field(description="the log and the tables beside it")
    tasks: dict[Name, Task] = Field(min_length=1, description="name -> what is predicted")
    windows: Windows = Field(description="lengths in days of the windows that end at as_of")
    validation: Validation = Field(default=Validation(), description="limits of the data checks")
    factors: Factors = Field(default=Factors(), description="collaborative-filtering factors")
    features: Features = Field(default=Features(), description="point-in-time aggregates")
    members: tuple[MemberKind, ...] = Field(
        default=("popularity", "als", "independent", "cascade", "shared_tail"),
        description="models to train; popularity, the baseline, must be among them",
    )
    boosting: Boosting = Field(default=Boosting(), description="settings of the boosted members")
    compression: Compression = Field(default=Compression(), description="a smaller model of a finished run")
    deep: Deep = Field(default=Deep(), description="settings of the member `deep`")
    refit: Literal["none", "through_blend"] = Field(
        default="through_blend", description="through_blend: fit the members again on train, tune and blend before test"
    )
    fusion: Fusion = Field(default=Fusion(), description="how the members' predictions are combined")
    gate: Gate = Field(description="rules that a candidate must meet to be promoted")
    recommend: Recommend = Field(default=Recommend(), description="how recommendations are made")
    evaluate: Evaluate = Field(default=Evaluate(), description="how recommendations are judged")
    publish: Publish = Field(
        default=Publish(), description="where today's champion's recommendations are written, beside the store"
    )
    notify: Notify | None = Field(
        default=None, exclude=True, description="messages on the outcome of a run in Airflow; null: none"
    )
    tracking: Tracking | None = Field(
        default=None, exclude=True, description="servers that finished runs are written to; null: none"
    )
    pods: Pods | None = Field(
        default=None,
        exclude=True,
        description="resources of the tasks' pods with Airflow's KubernetesExecutor; null: those of its template",
    )
    tuning: Tuning | None = Field(
        default=None,
        description="how `tune` searches for better settings; null: no DAG `tune_<name>`, and a default space on the "
        "command line",
    )

    @field_validator("name")
    @classmethod
    def _no_choice_of_warm_start(cls, name: str) -> str:
        if name in ("none", "champion"):
            raise ValueError(
                "is a choice of boosting.warm_start, which names scenarios: give the scenario another name"
            )
        return name

    @field_validator("tasks")
    @classmethod
    def _nameable(cls, tasks: dict[str, Task]) -> dict[str, Task]:
        for name in tasks:
            if keyword.iskeyword(name):
                raise ValueError(f"{name!r} is a Python keyword, so that no formula can name it: rename the task")
            if name == LISTS:
                raise ValueError(f"{name!r} is reserved for recommendations in gate rules: give the task another name")
        return tasks

    @field_validator("members")
    @classmethod
    def _with_the_floor(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        for name in members:
            if members.count(name) > 1:
                raise ValueError(f"{name!r} is duplicated: list each member once")
        if "popularity" not in members:
            raise ValueError("'popularity' must be a member: it is the floor that the others are measured against")
        return members

    @model_validator(mode="after")
    def _gate_names_tasks(self) -> Scenario:
        if isinstance(self.boosting.shared.leaf_l2, dict):
            for task in sorted(set(self.boosting.shared.leaf_l2) ^ set(self.tasks)):
                raise ValueError(f"boosting.shared.leaf_l2 must give every task a value: {task!r} does not match")
        if sorted(self.cascade_order) != sorted(self.tasks):
            raise ValueError(
                f"boosting.cascade.order must name every task once: it names {', '.join(self.cascade_order)}, "
                f"the tasks are {', '.join(self.tasks)}"
            )
        self._check_types()
        self._check_signals()
        self._check_teacher()
        sampled = {task.negatives for task in self.tasks.values() if task.sampled}
        if len(sampled) > 1:
            raise ValueError(
                "tasks: all tasks with sampled negatives must set `negatives` to the same value, as they share the rows"
            )
        judged = [*(rule.task for rule in self.gate.absolute), *(rule.task for rule in self.gate.relative)]
        for task in judged:
            if task not in self.tasks and task != LISTS:
                raise ValueError(f"gate: unknown task {task!r}{nearest(task, [*self.tasks, LISTS])}")
        try:
            Formula.parse(self.utility, list(self.tasks))
        except ValueError as error:
            raise ValueError(f"recommend.utility: {error}") from None
        self._check_target()
        if self.tuning is not None:
            check_space(self.tuning.space, {"boosting": self.boosting})
        return self

    def _check_target(self) -> None:
        items = self.source.items
        attributes = [] if items is None else [*items.categorical, *items.multi]
        if self.recommend.sources.content and (items is None or not items.contents):
            raise ValueError(
                f"recommend.sources.content is {self.recommend.sources.content}, but the items have neither texts nor "
                "vectors: name them in source.items.text or source.items.vectors, or set the size to 0"
            )
        check_reranking(self.recommend.reranking, attributes, self.recommend.top_k)
        for name in self.recommend.target or ():
            if name not in self.tasks:
                raise ValueError(f"recommend.target: unknown task {name!r}{nearest(name, list(self.tasks))}")
        for name in self.recommend.gains:
            if name not in self.target:
                known = ", ".join(self.target)
                raise ValueError(
                    f"recommend.gains: {name!r} is not a target{nearest(name, list(self.target))} (targets: {known})"
                )

    def _check_teacher(self) -> None:
        named = self.compression.teacher is not None
        if "distilled" in self.members and not named:
            raise ValueError(
                "members: 'distilled' learns from a finished run: name its key in compression.teacher, or let `mtl "
                "compress` do so"
            )
        if named and not self.gate.relative:
            raise ValueError(
                "compression.teacher: gate.relative has no rule, so that nothing would compare the run with its "
                "teacher: add one with the margin that a smaller model may lose"
            )

    def _check_types(self) -> None:
        limits = self.validation.max_unattributed
        for name in limits if isinstance(limits, dict) else ():
            if name not in self.labels:
                raise ValueError(
                    f"validation.max_unattributed: {name!r} has no label{nearest(name, list(self.labels))}"
                )
        long = self.source.long
        if long is None:
            return
        for name, task in self.labels.items():
            if task.label == long.exposure:
                raise ValueError(
                    f"{self.label_key(name)} is the type of the exposures: name the type that they may lead to"
                )
            if task.above is not None:
                raise ValueError(
                    f"{self.label_key(name)}: `above` compares the values of a column, but in a long log it is a type"
                )
            if task.kind == "regression" and long.value is None:
                raise ValueError(f"tasks.{name} predicts an event's value: name its column in source.long.value")

    def _check_signals(self) -> None:
        clash = sorted(set(self.source.signals) & set(self.tasks))
        if clash:
            raise ValueError(f"source.signals: {clash[0]!r} is a task already: leave it out, tasks are signals too")
        known = [*self.tasks_of("binary"), *self.source.signals]
        weights = self.factors.signals
        for name in weights or ():
            if name not in known:
                raise ValueError(f"factors.signals: {name!r} is not a binary task or signal{nearest(name, known)}")
        if weights is not None and not any(weights.values()):
            raise ValueError("factors.signals: no signal has a weight above 0, so no item is ever taken")
        for name in self.source.prior.labels if self.source.prior else ():
            if name not in self.labels:
                raise ValueError(f"source.prior.labels: {name!r} has no label{nearest(name, list(self.labels))}")

    @property
    def labels(self) -> dict[str, Task]:
        """Everything observed of an exposure: tasks with a label of their own, and signals in the form of tasks."""
        logged = Negatives(how="logged")
        signals = {
            name: Task(kind="binary", label=signal.column, above=signal.above, negatives=logged)
            for name, signal in self.source.signals.items()
        }
        return {name: task for name, task in self.tasks.items() if task.label is not None} | signals

    @property
    def thresholds(self) -> dict[str, float]:
        """By canonical column of a label: the value above which it is 1, where it is not 0/1 itself."""
        return {columns.label(name): task.above for name, task in self.labels.items() if task.above is not None}

    def label_key(self, name: str) -> str:
        """Return the place in the file that names a label's column, for messages."""
        return f"source.signals.{name}" if name in self.source.signals else f"tasks.{name}.label"

    @property
    def taste_signals(self) -> dict[str, float]:
        """Weight of each signal that says that an item was taken; empty: every interaction does."""
        given = self.factors.signals
        weights = dict.fromkeys(self.tasks_of("binary"), 1.0) if given is None else given
        return {name: weight for name, weight in weights.items() if weight > 0}

    def tasks_of(self, kind: Literal["regression", "binary"]) -> list[str]:
        """Names of the tasks of one kind, in file order."""
        return [name for name, task in self.tasks.items() if task.kind == kind]

    def device_of(self, kind: MemberKind) -> str | None:
        """Return the device that a member's settings ask for; None for a member without settings."""
        section = MEMBERS[kind].section
        return None if section is None else getattr(self, section).device

    @property
    def cascade_order(self) -> tuple[str, ...]:
        """The tasks in the order in which a cascade learns them."""
        return self.boosting.cascade.order or tuple(self.tasks)

    @property
    def utility(self) -> str:
        """The formula that lists are ordered by."""
        given = self.recommend.utility
        return next(iter([*self.tasks_of("binary"), *self.tasks])) if given is None else given

    @property
    def formula(self) -> Formula:
        """The same, to be evaluated."""
        return Formula.parse(self.utility, list(self.tasks))

    @property
    def target(self) -> tuple[str, ...]:
        """The tasks that recommendations are judged by."""
        if self.recommend.target is not None:
            return self.recommend.target
        named = self.formula.tasks
        return tuple(name for name in named if self.tasks[name].kind == "binary") or named

    @property
    def file(self) -> str:
        """The scenario's file, for error messages."""
        return str(SCENARIO_FOLDER / f"{self.name}.yaml")
