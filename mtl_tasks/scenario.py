"""The typed form of a scenario file: what the log is, what to predict, over which windows, under which gate."""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from mtl_tasks import columns
from mtl_tasks.errors import ConfigError, nearest

SCENARIO_FOLDER = Path("include/scenarios")
MemberKind = Literal["popularity", "als", "independent", "cascade", "shared", "shared_tail"]
BOOSTED: frozenset[MemberKind] = frozenset({"independent", "cascade", "shared", "shared_tail"})  # grow trees
FEATURE_SECTIONS: Final = ("features", "factors", "source", "tasks")  # what features depend on
FusionMethod = Literal["auto", "mean", "weighted", "vote"]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
CALENDAR = ("hour", "weekday")
RESERVED = ("user_id", "item_id", "title", "valid_from")  # columns of the attribute tables that are not attributes


# LightGBM's settings that someone may miss in the section `boosting`, and why they are not there.
REFUSED: dict[Any, str] = {
    "boosting_type": "trees are gbdt; dart rescales earlier trees, and each task's own leaves must stay as set",
    "linear_tree": "every task gives the shared trees leaves of its own, which must be constants",
    "use_quantized_grad": "it was slower and less accurate here, and LightGBM aborts on categorical columns with CUDA",
}


class Model(BaseModel):
    """Base of every section: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Columns(Model):
    """The log's own names for the canonical columns."""

    user: str
    item: str
    time: str


class AttributeTable(Model):
    """What is known of users or items besides the log: one row an id, or one row a version of it."""

    path: str = Field(description="a Parquet or CSV file")
    id: str
    numeric: dict[Name, str] = Field(default={}, description="attribute -> column of numbers")
    categorical: dict[Name, str] = Field(default={}, description="attribute -> column that names a kind")
    multi: dict[Name, str] = Field(default={}, description="attribute -> column of '|'-separated values")
    times: dict[Name, str] = Field(default={}, description="attribute -> column of times; becomes an age in days")
    valid_from: str | None = Field(
        default=None, description="column of the time from which a version holds; null: a row always held"
    )

    @model_validator(mode="after")
    def _told_apart(self) -> AttributeTable:
        names = [*self.numeric, *self.categorical, *self.multi, *self.times]
        for name in names:
            if names.count(name) > 1 or name in RESERVED:
                raise ValueError(f"attribute {name!r} is there twice or has a name of ours: give it another name")
        return self


class UserTable(AttributeTable):
    """Attributes of users; a user who is not in the table has none."""


class ItemTable(AttributeTable):
    """Attributes of items."""

    title: str | None = None
    missing: Literal["quarantine", "allow"] = Field(
        default="quarantine", description="a row of the log whose item is not in the table: a bad row, or no attributes"
    )


class Context(Model):
    """What is known of an exposure before it happens: columns of its row."""

    numeric: dict[Name, str] = Field(default={}, description="name -> column of numbers")
    categorical: dict[Name, str] = Field(default={}, description="name -> column that names a kind")
    calendar: bool = Field(default=False, description="hour and weekday, in source.timezone (UTC without one)")
    serve: dict[Name, Literal["item", "user"] | None] = Field(
        default={},
        description="what stands for a value when lists are made: the last one seen of the item or of the user; null, "
        "and whatever is not named here, is missing then",
    )

    @model_validator(mode="after")
    def _told_apart(self) -> Context:
        names = [*self.numeric, *self.categorical, *(CALENDAR if self.calendar else ())]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is there twice: give one of them another name")
        for name in self.serve:
            if name not in names:
                raise ValueError(f"`serve` names {name!r}, which is no context{nearest(name, names)}")
        return self

    @property
    def numbers(self) -> list[str]:
        """Names of what is a number."""
        return [*self.numeric, *(CALENDAR if self.calendar else ())]


class Prior(Model):
    """Exposures from before the log, of which the times are not known."""

    path: str = Field(description="a Parquet or CSV file, one row a user and item")
    user: str
    item: str
    labels: dict[Name, str] = Field(default={}, description="task or signal -> column; of others nothing is known")
    days_before: int = Field(
        default=1, ge=1, description="they count as of one day, so many days before the first of the log"
    )


class Sql(Model):
    """A database that holds the log, asked day by day."""

    url: str | None = Field(default=None, description="SQLAlchemy URL without a password")
    url_env: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="environment variable that holds the URL, for example AIRFLOW_CONN_SHOP",
    )
    query: str = Field(description="selects the rows with :start <= time < :end, in the unit of the time column")
    start: datetime.date = Field(description="first day of the log (UTC)")

    @model_validator(mode="after")
    def _askable(self) -> Sql:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give exactly one of `url` and `url_env`")
        if self.url is not None and re.search(r"//[^/@]*:[^/]*@|[?&]pass", self.url):
            raise ValueError(
                "`url` holds a password: put the URL into an environment variable and name it in `url_env`"
            )
        for name in (":start", ":end"):
            if not re.search(rf"(?<![:\w]){name}\b", self.query):
                raise ValueError(f"`query` must hold {name}, so that no more is asked for than a run needs")
        return self

    @property
    def name(self) -> str:
        """What the database is called in messages."""
        return f"source.sql.url_env {self.url_env}" if self.url is None else f"source.sql.url {self.url}"


class Long(Model):
    """How rows that are events of several types become exposures with labels; a task's `label` is then a type."""

    type: str = Field(description="column of the event's type")
    value: str | None = Field(default=None, description="column of the event's value: what a regression predicts")
    exposure: str = Field(description="the type whose events are the rows")
    attribution_hours: float = Field(
        default=24, gt=0, le=24 * 90, description="an event counts for the exposure that it follows by at most these"
    )


class Signal(Model):
    """Something that people did besides, and nobody predicts."""

    column: str = Field(description="0/1 column, or type of event in a long log")
    above: float | None = Field(
        default=None, description="larger values of the column say that it happened, all others that it did not"
    )


def _named(signal: Any) -> Any:
    return {"column": signal} if isinstance(signal, str) else signal


class Source(Model):
    """Where the interaction log is and how to read it."""

    events: str | None = Field(
        default=None, description="a Parquet or CSV file, or a folder partitioned by dt=YYYY-MM-DD"
    )
    sql: Sql | None = Field(default=None, description="a database, instead of `events`")
    format: Literal["parquet", "csv"] = "parquet"
    layout: Literal["wide", "long"] = Field(
        default="wide", description="wide: a row is an interaction with its labels; long: a row is an event with a type"
    )
    long: Long | None = None
    columns: Columns
    time_unit: Literal["s", "ms", "us"] | None = Field(
        default=None, description="unit of an integer epoch time column; null: the column holds timestamps"
    )
    timezone: str | None = Field(default=None, description="zone of timestamps that carry none; null refuses them")
    items: ItemTable | None = None
    users: UserTable | None = None
    context: Context = Context()
    signals: dict[Name, Annotated[Signal, BeforeValidator(_named)]] = Field(
        default={}, description="name -> column, or a section that says from which value on it counts"
    )
    prior: Prior | None = None

    @model_validator(mode="after")
    def _one_log(self) -> Source:
        if (self.events is None) == (self.sql is None):
            raise ValueError("give exactly one of `events` and `sql`")
        if self.sql is not None and self.format != "parquet":
            raise ValueError("`format` belongs to `events` only")
        if (self.layout == "long") != (self.long is not None):
            raise ValueError("the section `long` and `layout: long` go together")
        return self

    @property
    def log(self) -> str:
        """What the log is called in messages."""
        return self.events if self.events is not None else "source.sql"

    @property
    def tables(self) -> dict[str, str]:
        """Path of each file beside the log, by the key of its section."""
        sections = {"source.items": self.items, "source.users": self.users, "source.prior": self.prior}
        return {key: section.path for key, section in sections.items() if section is not None}


class Negatives(Model):
    """How the negatives of a binary task arise."""

    how: Literal["logged", "sampled"]
    per_positive: int = Field(default=4, ge=1, le=100)
    power: float = Field(default=1.0, ge=0, le=1, description="exponent on the same day's item counts")


class Task(Model):
    """One thing to predict."""

    kind: Literal["regression", "binary"]
    label: str | None = Field(default=None, description="label column; null: every interaction is a positive")
    range: tuple[float, float] | None = None
    above: float | None = Field(
        default=None, description="binary: larger values of the label count as 1, all others as 0; null: it is 0/1"
    )
    scale: Literal["linear", "log"] = Field(
        default="linear", description="log: log(1 + label) is learnt, predicted and judged; lists give the value back"
    )
    negatives: Negatives | None = None
    weight: float = Field(default=1.0, gt=0, description="say of the task in the structure of shared trees")

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.kind == "regression" and (self.label is None or self.range is None):
            raise ValueError("a regression task needs `label` and `range: [low, high]`")
        if self.kind == "regression" and self.negatives is not None:
            raise ValueError("`negatives` belongs to binary tasks only")
        if self.kind == "binary" and self.label is None and (self.negatives is None or self.negatives.how == "logged"):
            raise ValueError("a binary task without a `label` column needs `negatives: {how: sampled}`")
        if self.above is not None and (self.kind != "binary" or self.label is None):
            raise ValueError("`above` is for a binary task with a `label` column")
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("`range` must be [low, high] with low < high")
        if self.scale == "log" and (self.kind != "regression" or self.range is None or self.range[0] < 0):
            raise ValueError("`scale: log` is for a regression whose range begins at 0 or above")
        return self

    @property
    def limits(self) -> tuple[float, float] | None:
        """The range on the scale that is learnt."""
        if self.range is None or self.scale == "linear":
            return self.range
        return math.log1p(self.range[0]), math.log1p(self.range[1])

    @property
    def described(self) -> str:
        """What is predicted, for people."""
        return "regression of log(1 + label)" if self.scale == "log" else self.kind

    @property
    def sampled(self) -> bool:
        """Whether the task's negatives are drawn by us rather than logged."""
        return self.negatives is not None and self.negatives.how == "sampled"


class Windows(Model):
    """Lengths in days of the consecutive windows that end at as_of; history is all that comes before."""

    train: int = Field(ge=1)
    tune: int = Field(ge=1)
    blend: int = Field(ge=1)
    test: int = Field(ge=1)
    min_history: int = Field(default=14, ge=1, description="fewest days of log before `train`")


class Validation(Model):
    """Limits of the data checks."""

    max_bad_fraction: float = Field(default=0.001, ge=0, lt=1)
    max_age_days: int = Field(default=2, ge=1, description="as_of minus the last event, in days")
    min_daily_ratio: float = Field(
        default=0.2, ge=0, le=1, description="last day's rows over the mean of the 28 days before"
    )
    volume_severity: Literal["critical", "warning"] = "warning"
    missing_days: Literal["refuse", "warn"] = Field(
        default="warn", description="what to do about a day without a row between the first and the last"
    )


class Factors(Model):
    """Hyper-parameters of the two factor models."""

    dimensions: int = Field(default=32, ge=2, le=512)
    iterations: int = Field(default=15, ge=1)
    regularization: float = Field(default=10.0, gt=0)
    alpha: float = Field(default=10.0, gt=0, description="confidence = 1 + alpha * sum of the weights of its signals")
    signals: dict[Name, Annotated[float, Field(ge=0)]] | None = Field(
        default=None,
        description="weight of each signal that an item was taken, a binary task or one of source.signals; null: every "
        "binary task weighs 1, and without any every interaction does",
    )
    rating_dimensions: int = Field(default=32, ge=2, le=256)
    rating_regularization: float = Field(default=20.0, gt=0)
    rating_iterations: int = Field(default=10, ge=1)
    refresh_days: int = Field(default=7, ge=1, description="how often items new since history get a vector")
    refit_days: int = Field(
        default=1,
        ge=1,
        description="how often the factors are fitted anew: on what lies before the last day divisible by this, at or "
        "before the train window. With 7, the runs of a week share them, and with them the features of the days that "
        "they have in common",
    )
    warm_start: Literal["none", "champion"] = Field(
        default="none",
        description="champion: fitting goes on from the factors of the champion of the time, for warm_iterations "
        "instead of iterations. What a run makes then depends on which runs were promoted before it",
    )
    warm_iterations: int = Field(default=5, ge=1)
    device: Literal["auto", "cpu", "gpu"] = "cpu"


class Features(Model):
    """Which lengths and dampings the point-in-time aggregates use."""

    windows: tuple[int, ...] = (7, 28)
    damping: float = Field(default=5.0, gt=0, description="pseudo-count of a damped mean")
    last_items: int = Field(default=20, ge=1)
    raw_factors: bool = Field(
        default=False, description="the taste vectors of user and item as columns too, a column a dimension"
    )

    @field_validator("windows")
    @classmethod
    def _with_a_week(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(windows)) != len(windows) or any(length < 1 for length in windows):
            raise ValueError("lengths must be different whole days of 1 or more")
        if 7 not in windows:
            raise ValueError(
                "7 must be one of the lengths: what was taken in the last week orders the list `popular_7d`"
            )
        return windows


class Shared(Model):
    """How several tasks grow trees together: members `shared` and `shared_tail`."""

    combine: Literal["sketch", "alternate", "sum"] = Field(
        default="sketch",
        description="one split gradient from those of all tasks: a random projection a round, one task after the "
        "other, or their sum (which conflicting tasks spoil)",
    )
    learning_rate: float = Field(default=0.1, gt=0, le=1)
    leaf_l2: float | dict[Name, float] = Field(
        default=30.0, description="added to a leaf's sum of second derivatives, of every task or by task"
    )
    split_hessian: Literal["newton", "constant"] = "newton"
    task_weighting: Literal["fixed", "uncertainty", "dwa"] = Field(
        default="fixed", description="fixed: tasks.<task>.weight alone; the others multiply it by a moving weight"
    )
    checkpoints: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(
        default=(1.0,),
        min_length=1,
        description="member `shared_tail`: the parts of the shared rounds after which a task's own trees begin; the "
        "first, unless another is clearly better on tune. [1, 0] lets a task that sharing harms keep to trees of its "
        "own, at the cost of growing those for every task to compare",
    )


class Cascade(Model):
    """How a chain of tasks is told each other's predictions: member `cascade`."""

    order: tuple[Name, ...] | None = Field(
        default=None,
        description="each task is told the predictions of those before it; null: as they stand in the file",
    )
    folds: int = Field(
        default=3, ge=2, le=20, description="users are divided so that no row is told a prediction that learnt from it"
    )


class Boosting(Model):
    """LightGBM settings shared by the boosted members."""

    learning_rate: float = Field(default=0.05, gt=0, le=1)
    num_leaves: int = Field(default=31, ge=2)
    min_data_in_leaf: int = Field(default=50, ge=1)
    min_sum_hessian_in_leaf: float = Field(
        default=0.001,
        ge=0,
        description="of trees of a binary task's own: a leaf's sum of p (1 - p), where positives are rare about how "
        "many of them it is expected to hold",
    )
    bagging_fraction: float = Field(default=0.8, gt=0, le=1)
    feature_fraction: float = Field(default=0.8, gt=0, le=1)
    lambda_l2: float = Field(default=1.0, ge=0)
    rounds: int = Field(default=2000, ge=1)
    patience: int = Field(default=50, ge=1)
    seeds: int = Field(default=1, ge=1, le=20, description="models averaged per task")
    device: Literal["auto", "cpu", "gpu", "cuda"] = Field(
        default="cpu", description="gpu is OpenCL; auto takes cuda, else gpu unless it is the processor, else cpu"
    )
    threads: int = Field(default=2, ge=1)
    transfer: str = Field(
        default="none",
        pattern=r"^[a-z][a-z0-9_]{0,39}$",
        description="what trees are grown on from: none, champion, or the champion of the scenario of that name",
    )
    cascade: Cascade = Cascade()
    shared: Shared = Shared()

    @model_validator(mode="before")
    @classmethod
    def _combinable(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key in REFUSED:
                raise ValueError(f"{key!r} is not offered: {REFUSED[key]}")
        return given


class Fusion(Model):
    """How the members' predictions are combined."""

    method: FusionMethod = "auto"


class Rule(Model):
    """One absolute rule: a floor or a ceiling on a task's fused metric."""

    task: str
    metric: str
    min: float | None = None
    max: float | None = None
    slice: str | None = None
    min_rows: int = Field(default=50, ge=1)

    @model_validator(mode="after")
    def _bounded(self) -> Rule:
        if (self.min is None) == (self.max is None):
            raise ValueError("give exactly one of `min` and `max`")
        return self


class Margin(Model):
    """One relative rule: how much worse than the champion a metric may be."""

    task: str
    metric: str
    margin: float = Field(ge=0)
    slice: str | None = None
    min_rows: int = Field(default=50, ge=1)


class Drift(Model):
    """How far the test rows may have shifted from those that the champion was judged on; null: no limit."""

    labels: float | None = Field(default=None, gt=0)
    predictions: float | None = Field(default=None, gt=0)
    features: float | None = Field(default=None, gt=0)

    @property
    def limits(self) -> dict[str, float]:
        """What is limited, and to which population stability index."""
        given = {"labels": self.labels, "predictions": self.predictions, "features": self.features}
        return {group: limit for group, limit in given.items() if limit is not None}


class Gate(Model):
    """The rules a candidate must meet to be promoted."""

    absolute: tuple[Rule, ...] = ()
    relative: tuple[Margin, ...] = ()
    drift: Drift = Field(
        default=Drift(),
        description="limits on the population stability index, of the furthest variable of each group. Off by default: "
        "seasons and campaigns move a log too, and refusing the run that has learnt from the new days keeps a model "
        "that has not",
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    replicates: int = Field(default=500, ge=100)
    beat_floor: bool = Field(default=True, description="every task's fusion must beat `popularity` significantly")
    mode: Literal["enforce", "dry_run"] = "enforce"
    approval: Literal["none", "required"] = Field(
        default="none", description="required: what passed is promoted only once somebody has approved it"
    )
    approval_hours: float = Field(default=24.0, gt=0, description="no answer for so long in Airflow is a no")


class Recommend(Model):
    """How the lists are made."""

    top_k: int = Field(default=10, ge=1, le=1000)
    candidates: int = Field(default=100, ge=10, description="items taken from each candidate source")
    active_days: int = Field(default=28, ge=1, description="a user with an event in these days gets a list")
    utility: str | None = Field(
        default=None, description="arithmetic over task names, such as purchase * rating; null: the first binary task"
    )


class Scenario(Model):
    """A whole scenario file."""

    name: Name
    title: str
    description: str = ""
    owner: str = "ml-platform"
    schedule: str = "0 0 * * *"
    seed: int = Field(default=7, ge=0)
    source: Source
    tasks: dict[Name, Task] = Field(min_length=1)
    windows: Windows
    validation: Validation = Validation()
    factors: Factors = Factors()
    features: Features = Features()
    members: tuple[MemberKind, ...] = ("popularity", "als", "independent", "cascade", "shared_tail")
    boosting: Boosting = Boosting()
    refit: Literal["none", "through_blend"] = "through_blend"
    fusion: Fusion = Fusion()
    gate: Gate
    recommend: Recommend = Recommend()

    @field_validator("members")
    @classmethod
    def _with_the_floor(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(members)) != len(members):
            raise ValueError("a member is listed twice")
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
        sampled = {task.negatives for task in self.tasks.values() if task.sampled}
        if len(sampled) > 1:
            raise ValueError("tasks: all tasks with sampled negatives must sample them alike, they share the rows")
        judged = [*(rule.task for rule in self.gate.absolute), *(rule.task for rule in self.gate.relative)]
        for task in judged:
            if task not in self.tasks and task != "ranking":
                raise ValueError(f"gate: unknown task {task!r}{nearest(task, [*self.tasks, 'ranking'])}")
        return self

    def _check_types(self) -> None:
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
                raise ValueError(f"factors.signals: {name!r} is no binary task or signal{nearest(name, known)}")
        if weights is not None and not any(weights.values()):
            raise ValueError("factors.signals: no signal has a weight above 0, so no item is ever taken")
        for name in self.source.prior.labels if self.source.prior else ():
            if name not in self.labels:
                raise ValueError(f"source.prior.labels: {name!r} has no label{nearest(name, list(self.labels))}")

    @property
    def labels(self) -> dict[str, Task]:
        """All that the log tells of an exposure: tasks with a label of their own, and signals as if they were tasks."""
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
        """Where in the file a label's column is named, for messages."""
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

    @property
    def cascade_order(self) -> tuple[str, ...]:
        """The tasks in the order in which a cascade learns them."""
        return self.boosting.cascade.order or tuple(self.tasks)

    @property
    def utility(self) -> str:
        """The formula that lists are ordered by."""
        return self.recommend.utility or next(iter([*self.tasks_of("binary"), *self.tasks]))

    @property
    def file(self) -> str:
        """Where a reader finds the scenario, for error messages."""
        return str(SCENARIO_FOLDER / f"{self.name}.yaml")


def scenario_names(folder: Path = SCENARIO_FOLDER) -> list[str]:
    """Names of the scenario files in a folder."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def load_scenario(name: str, overrides: dict[str, Any] | None = None, folder: Path = SCENARIO_FOLDER) -> Scenario:
    """Read, override and check a scenario.

    Parameters
    ----------
    name
        File name without ``.yaml``.
    overrides
        Dotted key to value, for example ``{"windows.train": 28}``; checked like the file itself.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, or a key or value is wrong; the message names the key and the remedy.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = scenario_names(folder)
        hint = nearest(name, known)
        raise ConfigError(f"scenario {name!r}: no file {path}{hint} (known: {', '.join(known) or 'none'})")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected a mapping of keys at the top, found {type(document).__name__}")
    for key, value in (overrides or {}).items():
        _set(document, key, value)
    scenario = parse_scenario({"name": name, **document}, where=str(path))
    if scenario.name != name:  # two files of one name would write to the same place in the store
        raise ConfigError(f"{path}: name: is {scenario.name!r} but must be the file's, {name!r}")
    return scenario


def parse_scenario(document: dict[str, Any], where: str) -> Scenario:
    """Check a scenario document; ``where`` is named in errors."""
    try:
        return Scenario.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{where}: {'; '.join(_explain(e) for e in error.errors())}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Split ``key=value`` of the command line; the value is read as YAML.

    >>> parse_setting("windows.train=28")
    ('windows.train', 28)
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"--set {text!r}: expected key=value, for example --set windows.train=28")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is not YAML") from error


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    for parent in parents:
        child = document.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {key}: {parent!r} is not a section")
        document = child
    document[leaf] = value


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "(top level)"
    if error["type"] == "extra_forbidden":
        *parents, leaf = error["loc"]
        return f"unknown key {key!r}{nearest(str(leaf), _known_keys(tuple(parents)))}"
    value = error.get("input")
    shown = "" if isinstance(value, dict) or value is None else f" (got {value!r})"
    return f"{key}: {' '.join(error['msg'].removeprefix('Value error, ').split())}{shown}"


def _known_keys(parents: tuple[Any, ...]) -> list[str]:
    """Keys of the section at ``parents``, found by walking the models' annotations."""
    model: Any = Scenario
    for part in parents:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, Model) else None
        if field is None:
            continue  # a task's name or a rule's index: its model was reached one step earlier
        model = _inner_model(field.annotation)
    return list(model.model_fields) if model is not None else []


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
