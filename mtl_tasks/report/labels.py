"""Display forms of names and numbers, for the report and the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.filesize import decimal

from mtl_tasks.metrics.catalog import CATALOG
from mtl_tasks.metrics.metric import Metric
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.documents.lists import RankingEvaluation
from mtl_tasks.store.documents.measurements import Measurement, Measurements

WINDOW_USES: Final[dict[str, str]] = {
    "history": "the factor models are fitted on it",
    "train": "the members learn from its rows",
    "tune": "early stopping",
    "blend": "fusion weights, calibration, thresholds",
    "test": "read by the gate and this report only",
}

SHIFTED: Final = (0.1, 0.25)  # population stability index: below the first a small shift, above the second a large one

_LISTS: Final[dict[str, str]] = {
    "popular_7d": "popular, last 7 days",
    "popularity": "popular, last 7 days",
    "popularity_1d": "popular, last day",
    "als": "ALS",
    "rrf": "popularity and ALS by reciprocal rank",
    "softmax": "softmax of a few scores",
    "lambdarank": "LambdaMART",
    "stacked": "softmax with LambdaMART",
    "with_rules": "recommendations, after the rules",
}


def metric(name: str) -> Metric:
    """Return a metric's display settings; an unknown metric is shown without a direction."""
    return CATALOG.get(name, Metric(name, name.replace("_", " "), "", 0))


def in_order(names: Iterable[str]) -> list[str]:
    """Return metrics in display order, the primary one first.

    >>> in_order(["auc", "log_loss", "ndcg", "calibration_error"])
    ['auc', 'log_loss', 'calibration_error', 'ndcg']
    """
    known = list(CATALOG)
    return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))


def users(ranking: RankingEvaluation) -> str:
    """Return how many users' recommendations were evaluated, in words.

    >>> shares = {"unreachable": 0.1, "candidate_recall": 0.4, "candidates_per_user": 300}
    >>> users(RankingEvaluation(k=10, users=10000, eligible_users=63210, lists={}, **shares))
    '10,000 of 63,210 users'
    """
    some = f"{count(ranking.users)} of " if ranking.users < ranking.eligible_users else ""
    return f"{some}{count(ranking.eligible_users)} users"


def list_title(name: str) -> str:
    """Return the readable name of a ranker.

    >>> list_title("popularity")
    'popular, last 7 days'
    """
    return _LISTS.get(name, name)


def candidate_title(name: str) -> str:
    """Return the readable name of a fusion candidate.

    >>> candidate_title("single:als")
    'als alone'
    """
    return f"{name.removeprefix('single:')} alone" if name.startswith("single:") else name


def best_first(models: Mapping[str, Measurements], name: str) -> dict[str, Measurements]:
    """Return the models in order of a metric, the largest value first; those without it last."""

    def position(model: str) -> tuple[bool, float]:
        measured = models[model].get(name)
        value = None if measured is None else measured.value
        return (value is None, -(value or 0.0))

    return {model: models[model] for model in sorted(models, key=position)}


def best(models: Mapping[str, Measurements], name: str) -> set[str]:
    """Return the models with the best value of a metric (several if they tie at the digits shown).

    >>> values = {"a": 0.7, "b": 0.6}
    >>> best({m: {"auc": Measurement(value=v, low=None, high=None)} for m, v in values.items()}, "auc")
    {'a'}
    """
    shown = metric(name)
    found = {model: metrics[name].value for model, metrics in models.items() if name in metrics}
    values = {model: round(value, shown.digits) * shown.better for model, value in found.items() if value is not None}
    return {model for model, value in values.items() if value == max(values.values())} if shown.better else set()


def stands(difference: Measurement | None) -> str:
    """Classify a difference by its interval: ``better``, ``worse``, ``unclear``, or ``""`` without an interval.

    >>> stands(Measurement(value=0.2, low=0.1, high=0.3))
    'better'
    """
    if difference is None or difference.bounds is None:
        return ""
    low, high = difference.bounds
    return "better" if low > 0 else "worse" if high < 0 else "unclear"


def shift_words(psi: float) -> str:
    """Return the common reading of a population stability index.

    >>> shift_words(0.02), shift_words(0.2), shift_words(0.3)
    ('little', 'some', 'large')
    """
    return "little" if psi < SHIFTED[0] else "some" if psi <= SHIFTED[1] else "large"


def feature_title(name: str) -> str:
    """Return the readable form of a feature's name.

    >>> feature_title("item.rating.mean_28d")
    'item: rating mean, 28 days'
    >>> feature_title("user_x_genre.share")
    'user × genre: share'
    """
    dated = re.sub(r"_(\d+)d$", lambda days: f", {days[1]} day{'s' if days[1] != '1' else ''}", name)
    subject, _, rest = dated.partition(".")
    words = re.sub(r"[._]", " ", rest)
    subject = subject.replace("_x_", " × ").replace("_", " ")
    return f"{subject}: {words}" if words else subject


def number(value: float | None, digits: int = 4) -> str:
    """Format a value with fixed digits; a dash if it could not be computed.

    >>> number(1.5837), number(None)
    ('1.5837', '–')
    """
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 4) -> str:
    """Format a difference with its sign.

    >>> signed(-0.05, 2), signed(-0.0001, 2)
    ('−0.05', '0.00')
    """
    if value is None:
        return "–"
    written = f"{value:+,.{digits}f}".replace("-", "−")
    return written if written.strip("+−0.") else written[1:]


def with_minus(text: str) -> str:
    """Return a sentence whose negative numbers have minus signs; dates and names keep their hyphens.

    >>> with_minus("-0.01 [-0.02, 0.01] on 2024-02-18, 28-day")
    '−0.01 [−0.02, 0.01] on 2024-02-18, 28-day'
    """
    return re.sub(r"(?<![\w.-])-(?=\.?\d)", "−", text)


def reason_text(text: str) -> str:
    """Return a reason for reading: mathematical signs, and times without seconds.

    >>> reason_text("retired by ada at 2013-05-09T08:00:00+00:00: rmse <= -0.5")
    'retired by ada at 2013-05-09 08:00 UTC: rmse ≤ −0.5'
    """
    timed = re.sub(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?\+00:00", r"\1 \2 UTC", text)
    return with_minus(timed).replace(" <= ", " ≤ ").replace(" >= ", " ≥ ")


def setting(value: Any) -> str:
    """Format a setting's value as a scenario file would have it.

    >>> setting(["popularity", "als"]), setting(True), setting(None), setting(0.5)
    ('popularity, als', 'true', '–', '0.5')
    >>> setting([{"task": "rating", "metric": "rmse", "min": None, "max": 3.0}])
    'task rating, metric rmse, max 3.0'
    """
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        return "; ".join(_fields(part) for part in value)
    if isinstance(value, list) and not any(isinstance(part, dict | list) for part in value):
        return ", ".join(setting(part) for part in value)
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value)


def _fields(document: dict[str, Any]) -> str:
    return ", ".join(f"{name} {setting(value)}" for name, value in document.items() if value is not None)


def percent(value: float | None, digits: int = 1) -> str:
    """Format a fraction as a percentage.

    >>> percent(0.181)
    '18.1 %'
    """
    return "–" if value is None else f"{number(100 * value, digits)} %"


def count(value: float | None) -> str:
    """Format a whole number with thousands separators.

    >>> count(100000)
    '100,000'
    """
    return "–" if value is None else f"{value:,.0f}"


def listed(titles: Sequence[str], most: int = 5) -> str:
    """Join the first few titles, and count the rest.

    >>> listed(["A", "B", "C"], most=2)
    'A; B; and 1 more'
    """
    more = [f"and {len(titles) - most} more"] if len(titles) > most else []
    return "; ".join([*titles[:most], *more]) or "nothing yet"


def duration(seconds: float) -> str:
    """Format a duration in seconds, in minutes and seconds, or in hours and minutes.

    >>> duration(0.42), duration(95), duration(3700)
    ('0.4 s', '1 min 35 s', '1 h 02 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest:02d} min"


def memory(mebibytes: float) -> str:
    """Format an amount of memory.

    >>> memory(312.4), memory(1433.0)
    ('312 MiB', '1.4 GiB')
    """
    return f"{mebibytes:,.0f} MiB" if mebibytes < 1000 else f"{mebibytes / 1024:.1f} GiB"


def figure_unit(column: str, scenario: Scenario) -> str:
    """Return the unit of a figure beside a recommendation's title; empty for one without a unit."""
    task = scenario.tasks.get(column)
    if task is None:
        return ""
    return "probability" if task.kind == "binary" else "label points"


def size(number_of_bytes: float) -> str:
    """Format a file size.

    >>> size(1_500_000), size(999)
    ('1.5 MB', '999 bytes')
    """
    return decimal(int(number_of_bytes))
