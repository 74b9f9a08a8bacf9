"""A finished run with made-up numbers, complete enough to show every part of the report and the summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from mtl_tasks.core.documents import validate
from mtl_tasks.report import RunDocument
from mtl_tasks.scenario import Scenario, parse_scenario
from mtl_tasks.store.documents.data import Resolution, SampleUsers, SplitSummary, StageUsage, ValidationReport
from mtl_tasks.store.documents.drift import Drift
from mtl_tasks.store.documents.evaluation import Evaluation, SliceEvaluation, TaskEvaluation
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.training import Fusion, MemberDescription, MemberExplanation, Sharing
from mtl_tasks.store.documents.verdict import Verdict

Json = dict[str, Any]
T = TypeVar("T")
P = TypeVar("P", TaskEvaluation, SliceEvaluation)

MEMBERS = ("popularity", "als", "independent")
ALL_MEMBERS = (*MEMBERS, "cascade", "shared", "shared_tail")
FILMS = (
    "Man of Steel (2013)",
    "Fast & Furious 6 (2013)",
    "Now You See Me (2013)",
    "The Wolverine (2013)",
    "The Conjuring (2013)",
    "We're the Millers (2013)",
    "Les Misérables (2012)",
    "Kick-Ass 2 (2013)",
    "The Hobbit: An Unexpected Journey (2012)",
    "Elysium (2013)",
)
FEATURES = (
    "user_x_item.rating.factors",
    "item.rating.mean",
    "user.rating.mean",
    "item.rating.mean_28d",
    "item.count_7d",
    "item.count_28d",
    "user_x_item.als.dot",
    "user_x_item.als.cosine",
    "taste.last_20",
    "co_occurrence.last_20",
    "user.count",
    "user.rating.spread",
    "item.rating.spread",
    "item.days_since_first",
    "user.days_since_last",
    "user_x_genre.share",
    "user_x_genre.rating.residual",
    "item.genre.count_28d",
    "item.als.norm",
    "user.als.norm",
    "item.year",
    "user_x_item.year_minus_usual",
)
CURVES: dict[str, Json] = {
    "rating": {"metric": "rmse", "start": 1.90, "tune": 1.60, "train": 1.38},
    "purchase": {"metric": "log_loss", "start": 0.52, "tune": 0.455, "train": 0.40},
}
WINDOWS = {
    "history": ("2013-02-28", "2013-05-18"),
    "train": ("2013-05-19", "2013-07-13"),
    "tune": ("2013-07-14", "2013-07-20"),
    "blend": ("2013-07-21", "2013-07-27"),
    "test": ("2013-07-28", "2013-08-24"),
}
STAGES = (
    ("resolve", 0.4, 0.3, 310.0),
    ("validate", 4.1, 3.9, 520.5),
    ("split", 1.2, 1.1, 498.0),
    ("factors", 5.6, 5.5, 544.2),
    ("features", 18.3, 17.9, 1190.7),
    ("member:popularity", 0.6, 0.6, 402.0),
    ("member:als", 0.9, 0.8, 410.4),
    ("member:independent", 74.2, 139.0, 933.1),
    ("fuse", 1.5, 1.5, 388.0),
    ("evaluate", 12.8, 12.6, 702.3),
    ("gate", 0.2, 0.2, 300.1),
    ("publish", 0.1, 0.1, 300.1),
    ("recommend", 21.7, 25.0, 1044.8),
)


def sample_scenario() -> Scenario:
    """The films' scenario, as far as the report shows it."""
    document = {
        "name": "movies",
        "title": "Films tweeted about in 2013",
        "description": "What people will rate, and what they will take next.",
        "source": {"events": "include/data/movietweetings", "columns": {"user": "user", "item": "film", "time": "at"}},
        "tasks": {
            "rating": {"kind": "regression", "label": "rating", "range": [0, 10]},
            "purchase": {"kind": "binary", "negatives": {"how": "sampled", "per_positive": 4}},
        },
        "windows": {"train": 56, "tune": 7, "blend": 7, "test": 28},
        "gate": {"absolute": [{"task": "purchase", "metric": "auc", "min": 0.6}]},
    }
    return parse_scenario(document, where="tests")


def sample_document(decision: str = "promote") -> RunDocument:
    """A whole run; ``decision="reject"`` fails one rule."""
    return RunDocument(
        scenario=sample_scenario(),
        as_of="2013-08-25",
        run_key="5d1c" * 16,
        resolve=_typed(Resolution, _resolve()),
        windows=WINDOWS,
        validation=_typed(ValidationReport, _validation()),
        split=_typed(SplitSummary, _split()),
        describe=_typed(dict[str, MemberDescription], {member: _describe(member) for member in MEMBERS}),
        explain=_typed(
            dict[str, MemberExplanation],
            {member: _explain() if member == "independent" else {} for member in MEMBERS},
        ),
        fusion=_typed(Fusion, _fusion()),
        evaluation=_typed(Evaluation, _evaluation()),
        verdict=_typed(Verdict, _verdict(decision)),
        drift=_typed(Drift, _drift()),
        sample=_people(),
        stages=tuple(_typed(StageUsage, _stage(number, *stage)) for number, stage in enumerate(STAGES)),
        libraries={"lightgbm": "4.7.0", "implicit": "0.7.3", "pandas": "3.1.1"},
        overrides={"boosting.rounds": 800},
        report=".store/movies/2013-08-25/report/5d1c5d1c/report.html",
    )


def wide_document(names: tuple[str, ...]) -> RunDocument:
    """The same run with six members and the given tasks: the first is rated, the others are taken or not."""
    document = sample_document()
    scenario, evaluation = document.scenario, document.evaluation
    described = {member: document.describe[model] for member, model in _alike().items()}
    shape = {name: "purchase" if place else "rating" for place, name in enumerate(names)}

    def by_task(parts: Mapping[str, T]) -> dict[str, T]:
        return {name: parts[model] for name, model in shape.items() if model in parts}

    def by_member(part: P) -> P:
        return part.model_copy(update={"members": {member: part.members[model] for member, model in _alike().items()}})

    weights = dict.fromkeys(ALL_MEMBERS, 0.1) | {"shared_tail": 0.5}
    slices = {
        name: {label: by_member(part) for label, part in parts.items()}
        for name, parts in by_task(evaluation.slices).items()
    }
    sharing = _typed(Sharing, _sharing(names))
    return replace(
        document,
        scenario=scenario.model_copy(update={"tasks": by_task(scenario.tasks), "boosting": _moving(scenario)}),
        describe={
            member: part.model_copy(
                update={
                    "tasks": by_task(part.tasks),
                    "sharing": sharing if member in ("shared", "shared_tail") else None,
                }
            )
            for member, part in described.items()
        },
        explain={member: by_task(document.explain[model]) for member, model in _alike().items()},
        fusion=dict.fromkeys(names, document.fusion["rating"].model_copy(update={"weights": weights})),
        evaluation=evaluation.model_copy(
            update={
                "tasks": {name: by_member(task) for name, task in by_task(evaluation.tasks).items()},
                "slices": slices,
                "calibration": by_task(evaluation.calibration),
            }
        ),
        sample=_people(names),
    )


def _alike() -> dict[str, str]:
    """Every member, and the one whose figures it has."""
    return {member: member if member in MEMBERS else "independent" for member in ALL_MEMBERS}


def _typed(kind: type[T], document: Any) -> T:
    return validate(kind, document, "sample")


def _people(names: tuple[str, ...] = ("rating", "purchase")) -> SampleUsers:
    return _typed(SampleUsers, [_person(number, names) for number in range(3)])


def _moving(scenario: Scenario) -> Any:
    shared = scenario.boosting.shared.model_copy(update={"task_weighting": "dwa"})
    return scenario.boosting.model_copy(update={"shared": shared})


def _sharing(names: tuple[str, ...]) -> Json:
    """Curves of 900 rounds; the first task stops early."""
    pairs = [f"{first}|{second}" for place, first in enumerate(names) for second in names[place + 1 :]]
    rounds = range(900)
    return {
        "cosines": {
            pair: [
                None if pair.startswith(names[0]) and n > 600 else 0.5 * math.cos(n / 200 + place) + 0.2 * (-1) ** n
                for n in rounds
            ]
            for place, pair in enumerate(pairs)
        },
        "weights": {name: [1 + 0.3 * math.sin(n / 150 + place) for n in rounds] for place, name in enumerate(names)},
    }


def metric(value: float | None, half: float | None = None, rows: int = 21_480) -> Measurement:
    """A metric with a symmetric interval."""
    half = 0.01 * value if half is None and value is not None else half
    if value is None or half is None:
        return Measurement(value=None, low=None, high=None, rows=rows)
    return Measurement(value=value, low=value - half, high=value + half, rows=rows)


def _resolve() -> Json:
    return {
        "as_of": "2013-08-25",
        "sources": [
            {
                "path": f"include/data/movietweetings/dt=2013-{3 + day // 28:02d}-{1 + day % 28:02d}/part-0.parquet",
                "day": f"2013-{3 + day // 28:02d}-{1 + day % 28:02d}",
                "size": 9_000 + 37 * day,
                "sha256": f"{day:04x}" * 16,
            }
            for day in range(160)
        ],
    }


def _validation() -> Json:
    checks = [
        ("expect_column_values_to_not_be_null", "user_id", "critical", True, "0 % null", 0),
        ("expect_column_values_to_be_between", "rating", "critical", True, "0 to 10", 3),
        ("expect_compound_columns_to_be_unique", None, "critical", True, "0.01 % duplicates", 9),
        ("expect_table_row_count_to_be_between", None, "warning", False, "212 rows on the last day, at least 430", 1),
    ]
    names = ("expectation", "column", "severity", "success", "observed", "unexpected")
    return {
        "success": True,
        "rows_read": 96_512,
        "rows_kept": 96_500,
        "bad_fraction": 12 / 96_512,
        "max_bad_fraction": 0.001,
        "duplicates": {"rows": 41, "rule": "drop"},
        "attribution": {
            "labels": {
                "purchase": {
                    "type": "buy",
                    "events": 9_100,
                    "joined": 9_000,
                    "incomplete": 1,
                    "before_exposure": 70,
                    "outside_window": 9,
                    "no_exposure": 20,
                }
            },
            "unread": {"types": 2, "events": 412, "most": {"scroll": 400, "Buy": 12}},
        },
        "quarantined": {"out_of_range:rating": 3, "conflicting_duplicate": 9},
        "expectations": [dict(zip(names, check, strict=True)) for check in checks],
        "first_day": "2013-02-28",
        "last_day": "2013-08-24",
        "max_event_time": "2013-08-24T23:58:41Z",
    }


def _split() -> Json:
    rows = {"train": 151_200, "tune": 17_900, "blend": 18_350, "test": 71_760}
    return {
        "windows": {
            name: {
                "first": first,
                "last": last,
                "rows": rows[name],
                "tasks": {
                    "rating": {"labelled": rows[name] // 5, "mean": 7.31},
                    "purchase": {"labelled": rows[name], "positives": rows[name] // 5},
                },
            }
            for name, (first, last) in WINDOWS.items()
            if name in rows
        }
    }


def _describe(member: str) -> Json:
    notes = {
        "popularity": "damped user and item rates over all earlier days",
        "als": "dot product of implicit ALS factors, calibrated",
        "independent": "one LightGBM a task, refitted through blend",
    }
    boosted = member == "independent"
    return {
        "kind": member,
        "device": "cpu",
        "tasks": {
            task: {
                "note": notes[member],
                "rounds": 412 if boosted else None,
                "curve": _curve(**CURVES[task]) if boosted else None,
                "importance": _importance(task) if boosted else None,
            }
            for task in CURVES
        },
    }


def _curve(metric: str, start: float, tune: float, train: float) -> Json:
    falling = [math.exp(-round_number / 90) for round_number in range(1, 463)]
    return {
        "metric": metric,
        "train": [train + (start - train) * share - 0.00004 * number for number, share in enumerate(falling)],
        "tune": [tune + (start - tune) * share + 4e-8 * (number - 380) ** 2 for number, share in enumerate(falling)],
    }


def _importance(task: str) -> list[list[Any]]:
    names = FEATURES if task == "rating" else FEATURES[4:] + FEATURES[:4]
    return [[name, 0.27 * 0.8**number] for number, name in enumerate(names)]


def _explain() -> Json:
    """SHAP summaries, and the gain apart where there are trees of both kinds (of the rating)."""
    return {
        task: {
            "rows": 1_873,
            "features": [
                {"feature": name, "mean_abs": 0.4 * 0.85**number, "direction": (0.8, -0.6, 0.02, None)[number % 4]}
                for number, name in enumerate(FEATURES[:20])
            ],
            "gain": [[name, 0.2 * 0.8**number, 0.07 * 0.8**number] for number, name in enumerate(FEATURES[:20])]
            if task == "rating"
            else None,
        }
        for task in CURVES
    }


def _fusion() -> Json:
    return {
        "rating": {
            "method": "weighted",
            "members": list(MEMBERS),
            "requested": "auto",
            "weights": {"popularity": 0.07, "als": 0.0, "independent": 0.93},
            "blend_loss": _losses(1.658, 1.691, 1.583, mean=1.644, weighted=1.580, vote=1.629),
            "calibration": {"kind": "none"},
            "note": "weighted had the least loss on blend",
        },
        "purchase": {
            "method": "single",
            "member": "independent",
            "members": list(MEMBERS),
            "requested": "auto",
            "weights": {"popularity": 0.0, "als": 0.0, "independent": 1.0},
            "blend_loss": _losses(0.501, 0.488, 0.4630, mean=0.4791, weighted=0.4634, vote=0.4802),
            "calibration": {"kind": "isotonic"},
            "note": "no fusion beat independent alone on blend, so it is used alone",
        },
    }


def _losses(*single: float, **methods: float) -> Json:
    return {f"single:{name}": loss for name, loss in zip(MEMBERS, single, strict=True)} | methods


_VALUES: Json = {
    "rating": {"rmse": (1.647, 1.702, 1.581, 1.579), "mae": (1.251, 1.298, 1.196, 1.195)},
    "purchase": {
        "auc": (0.553, 0.596, 0.6912, 0.6912),
        "pr_auc": (0.237, 0.268, 0.371, 0.371),
        "log_loss": (0.498, 0.489, 0.4611, 0.4611),
        "calibration_error": (0.021, 0.013, 0.006, 0.006),
    },
}
_LOWER = ("rmse", "mae", "log_loss", "calibration_error")


def _models(task: str, shift: float = 0.0) -> Json:
    columns = {name: [value + shift for value in values] for name, values in _VALUES[task].items()}
    models = {model: {name: metric(columns[name][n]) for name in columns} for n, model in enumerate(MEMBERS)}
    return {"members": models, "fusion": {name: metric(columns[name][3]) for name in columns}}


def _versus_floor(task: str) -> Json:
    def gain(name: str, column: int) -> Json:
        values = _VALUES[task][name]
        return metric(
            (values[column] - values[0]) * (-1 if name in _LOWER else 1),
            half=0.15 * abs(values[column] - values[0]) + 0.002 * values[0],
        )

    return {model: {name: gain(name, n) for name in _VALUES[task]} for n, model in enumerate([*MEMBERS, "fusion"])}


def _evaluation() -> Json:
    lists = {
        "popular_7d": (0.106, 0.150, 0.065, 0.004),
        "als": (0.047, 0.071, 0.026, 0.061),
        "fusion": (0.118, 0.167, 0.072, 0.043),
    }
    names = ("ndcg", "recall", "map", "coverage")
    return {
        "tasks": {
            "rating": {"kind": "regression", "rows": 14_352, "positives": None, **_models("rating")}
            | {"versus_floor": _versus_floor("rating")},
            "purchase": {"kind": "binary", "rows": 71_760, "positives": 14_352, **_models("purchase")}
            | {"versus_floor": _versus_floor("purchase")},
        },
        "slices": {
            task: {
                name: {"rows": 3_000 + 4_000 * number, **_models(task, 0.04 - 0.02 * number)}
                for number, name in enumerate(("cold_users", "warm_users", "cold_items", "warm_items"))
            }
            for task in _VALUES
        },
        "ranking": {
            "k": 10,
            "users": 1_874,
            "eligible_users": 1_874,
            "lists": {
                name: {column: metric(value, 0.1 * value) for column, value in zip(names, values, strict=True)}
                for name, values in lists.items()
            },
            "unreachable": 0.181,
            "candidate_recall": 0.42,
            "candidates_per_user": 312.4,
        },
        "calibration": {
            "purchase": [
                {
                    "predicted": 0.04 + 0.055 * n,
                    "observed": 0.035 + 0.056 * n + 0.008 * (-1) ** n,
                    "rows": 9_000 - 800 * n,
                }
                for n in range(10)
            ]
        },
    }


def _drift() -> Json:
    def row(group: str, name: str, psi: float) -> Json:
        return {"group": group, "name": name, "psi": psi, "noise": 0.0009, "rows": 20_000, "reference_rows": 19_500}

    labels = [row("labels", "purchase", 0.0071), row("labels", "rating", 0.0024)]
    predictions = [row("predictions", "rating", 0.1312), row("predictions", "purchase", 0.0562)]
    features = [row("features", name, 0.31 / (1 + place)) for place, name in enumerate(FEATURES)]
    champion = {"run_key": "77aa" * 16, "as_of": "2013-08-18", "problem": None}
    unmatched = [{"group": "features", "name": "item.runtime"}]
    return {
        "champion": {**champion, "shifts": [*labels, *predictions, *features], "unmatched": unmatched},
        "since_train": {"shifts": [*labels, *features], "unmatched": []},
    }


def _verdict(decision: str) -> Json:
    passed = decision == "promote"
    rules: list[Json] = [
        {
            "rule": "purchase auc >= 0.70" if not passed else "purchase auc >= 0.60",
            "kind": "absolute",
            "passed": passed,
            "value": 0.6912,
            "limit": 0.60 if passed else 0.70,
            "low": 0.6812,
            "high": 0.7012,
            "rows": 71_760,
            "reason": f"purchase AUC is 0.6912, {'at least 0.60' if passed else 'below 0.70'}, on 71,760 rows of test.",
        },
        {
            "rule": "rating rmse <= 1.70",
            "kind": "absolute",
            "passed": True,
            "value": 1.579,
            "limit": 1.70,
            "low": 1.569,
            "high": 1.589,
            "rows": 14_352,
            "reason": "rating RMSE is 1.5790, at most 1.70, on 14,352 rows of test.",
        },
        {
            "rule": "rating rmse vs champion, margin 0.01",
            "kind": "relative",
            "passed": True,
            "value": None,
            "limit": -0.01,
            "low": None,
            "high": None,
            "rows": 0,
            "reason": "There is no champion before 2013-08-25: nothing to compare with.",
        },
    ]
    return {
        "decision": decision,
        "first": True,
        "mode": "enforce",
        "champion": None,
        "rules": rules,
        "reasons": [rule["reason"] for rule in rules],
    }


def _person(number: int, tasks: tuple[str, ...] = ("rating", "purchase")) -> Json:
    films = FILMS[number:] + FILMS[:number]
    return {
        "user_id": 8_321 + 17 * number,
        "history": list(films[5 : 6 + number]),
        "recommendations": [
            {"title": film}
            | {task: (0.42 - 0.05 * place if nth else 8.1 - 0.3 * place) for nth, task in enumerate(tasks)}
            | {"utility": 0.42 - 0.05 * place}
            for place, film in enumerate(films[:5])
        ],
    }


def _stage(number: int, name: str, seconds: float, cpu: float, peak: float) -> Json:
    return {
        "name": name,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_rss_mb": peak,
        "reused": number < 2,
        "key": f"{number:02x}ab" * 16,
    }
