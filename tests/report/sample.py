"""A finished run with made-up numbers, complete enough to show every part of the report and the summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from mtl_tasks.core.documents import validate
from mtl_tasks.report import RunDocument
from mtl_tasks.report.document import ChampionFacts, Change
from mtl_tasks.scenario import Scenario, parse_scenario
from mtl_tasks.store.documents.curves import Curves
from mtl_tasks.store.documents.data import Resolution, SampleUsers, SplitSummary, StageUsage, ValidationReport
from mtl_tasks.store.documents.drift import Drift
from mtl_tasks.store.documents.evaluation import Evaluation, SliceEvaluation, TaskEvaluation
from mtl_tasks.store.documents.measurements import Measurement
from mtl_tasks.store.documents.origin import Origin
from mtl_tasks.store.documents.rank import RankDocument
from mtl_tasks.store.documents.training import Fusion, MemberDescription, MemberExplanation, Sharing
from mtl_tasks.store.documents.verdict import Verdict
from mtl_tasks.store.documents.versus_champion import VersusChampion

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
CHAMPION = "77aa" * 16
CHANGES = (
    Change("data", "rows kept", 95_100, 96_500),
    Change("data", "last day", "2013-08-17", "2013-08-24"),
    Change("code", "hash of the code", "0ld0ld0ld0ld", "c0dec0dec0de"),
    Change("library", "lightgbm", "4.6.0", "4.7.0"),
    Change("setting", "boosting.rounds", 400, 800),
)
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
        rank=_typed(RankDocument, _rank()),
        curves=_typed(Curves, _curves()),
        champion=ChampionFacts(CHAMPION, "2013-08-18", CHANGES),
        versus_champion=_typed(VersusChampion, _versus_champion()),
        made_at=1_377_400_000.0,
        code="c0de" * 16,
        origin=Origin(start="command line", user="ada", commit="ab12" * 10, local_changes=True),
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
        ("expect_column_values_to_be_between", "label:rating", "warning", False, "3 of 96,512 rows (out_of_range)", 3),
        ("expect_compound_columns_to_be_unique", None, "critical", True, "0.01 % duplicates", 9),
        ("expect_table_row_count_to_be_between", None, "warning", False, "212 rows on the last day, at least 430", 1),
    ]
    names = ("expectation", "column", "severity", "success", "observed", "unexpected")
    arguments = [{}, {"min_value": 0.0, "max_value": 10.0}, {}, {"min_value": 430}]
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
        "expectations": [
            {**dict(zip(names, check, strict=True)), "arguments": bounds}
            for check, bounds in zip(checks, arguments, strict=True)
        ],
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
                "rounds_by_seed": [412, 397] if boosted else [],
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
            "chosen": "softmax",
            "comparison": _comparison(),
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


_RANKERS: dict[str, tuple[float, ...]] = {
    "popularity": (0.106, 0.150, 0.065, 0.004),
    "als": (0.047, 0.071, 0.026, 0.061),
    "softmax": (0.118, 0.167, 0.072, 0.043),
}


def _comparison() -> Json:
    names = ("ndcg", "recall", "map", "coverage")
    rankers = {
        ranker: {
            "metrics": {name: metric(value, 0.1 * value) for name, value in zip(names, values, strict=True)},
            "versus": {}
            if ranker == "popularity"
            else {
                "popularity": {
                    name: metric(value - floor, 0.004)
                    for name, value, floor in zip(names, values, _RANKERS["popularity"], strict=True)
                }
            },
        }
        for ranker, values in _RANKERS.items()
    }
    return {
        "k": 10,
        "starts": [15_914],
        "items": 9_000,
        "confidence": 0.95,
        "replicates": 200,
        "unreachable": 0.181,
        "everyone": {"lists": 1_874, "users": 1_874, "rankers": rankers},
        "slices": {},
    }


def _rank() -> Json:
    day = {"day": "2013-07-21", "users": 850, "lists": 640}
    return {
        "chosen": "softmax",
        "requested": "auto",
        "note": "softmax had the best NDCG at 10, 0.1210, on lists of 850 users as of 2013-07-21",
        "degraded": False,
        "k": 10,
        "target": ["purchase"],
        "gains": {"purchase": 1.0},
        "horizon_days": 7,
        "blend": day,
        "early": [{**day, "day": "2013-07-14"}],
        "evidence": {
            "softmax": {"ndcg": 0.121, "difference": 0.0, "standard_error": 0.0},
            "popularity": {"ndcg": 0.108, "difference": -0.013, "standard_error": 0.003},
        },
        "left_out": {"lambdarank": "too few lists"},
        "rankers": {"softmax": {"lists": 640}},
    }


def _curves() -> Json:
    models = [*MEMBERS, "fusion"]
    days = [f"2013-08-{day:02d}" for day in range(1, 8)]
    shares = [place / 20 for place in range(21)]

    def by_day(name: str, level: float) -> Json:
        values = {model: [level + 0.01 * n + 0.002 * day for day in range(7)] for n, model in enumerate(models)}
        return {"metric": name, "days": days, "rows": [2_000] * 7, "models": {**values, "als": [None] * 7}}

    lines = {model: {"x": shares, "y": [x ** (0.9 - 0.1 * n) for x in shares]} for n, model in enumerate(models)}
    falling = {model: {"x": shares, "y": [0.5 - 0.3 * x for x in shares]} for model in models}
    edges = [0.0, 0.25, 0.5, 0.75, 1.0]
    return {
        "tasks": {
            "purchase": {
                "by_day": by_day("auc", 0.6),
                "scores": {"edges": edges, "counts": {"negative": [50, 30, 15, 5], "positive": [10, 20, 40, 30]}},
                "roc": lines,
                "precision_recall": falling,
                "lift": {model: [2.0 - 0.2 * tenth for tenth in range(10)] for model in models},
            },
            "rating": {
                "by_day": by_day("rmse", 1.5),
                "scores": {
                    "edges": [-2.0, -1.0, 0.0, 1.0, 2.0],
                    "counts": {"fusion": [5, 40, 45, 10], "popularity": [10, 35, 40, 15]},
                },
                "predicted": [
                    {"predicted": 6 + n / 4, "actual": 6 + n / 4, "low": 5.0, "high": 8.0, "rows": 700}
                    for n in range(8)
                ],
            },
        }
    }


def _versus_champion() -> Json:
    def pair(name: str, value: float) -> Json:
        sign = -1 if name in _LOWER else 1
        return {"candidate": value, "champion": value - 0.01 * sign, "gain": metric(0.01, 0.006)}

    worse = {"candidate": 0.61, "champion": 0.64, "gain": metric(-0.03, 0.01)}
    tasks = {
        task: {"metrics": {name: pair(name, values[3]) for name, values in columns.items()}, "slices": {}}
        for task, columns in _VALUES.items()
    }
    tasks["purchase"]["slices"] = {"cold_users": {"auc": worse}}
    return {
        "run_key": CHAMPION,
        "as_of": "2013-08-18",
        "problem": None,
        "tasks": tasks,
        "lists": {"ndcg": {"candidate": 0.118, "champion": 0.115, "gain": metric(0.003, 0.005)}},
    }


def _drift() -> Json:
    def row(group: str, name: str, psi: float) -> Json:
        return {"group": group, "name": name, "psi": psi, "noise": 0.0009, "rows": 20_000, "reference_rows": 19_500}

    labels = [row("labels", "purchase", 0.0071), row("labels", "rating", 0.0024)]
    predictions = [row("predictions", "rating", 0.1312), row("predictions", "purchase", 0.0562)]
    features = [row("features", name, 0.31 / (1 + place)) for place, name in enumerate(FEATURES)]
    champion = {"run_key": CHAMPION, "as_of": "2013-08-18", "problem": None}
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
            "rule": "rating rmse at most 0.01 worse than the champion",
            "kind": "relative",
            "passed": True,
            "value": 0.01,
            "limit": -0.01,
            "low": 0.004,
            "high": 0.016,
            "rows": 14_352,
            "reason": "rating rmse at most 0.01 worse than the champion: holds, the difference to the champion of "
            "2013-08-18 is 0.0100 [0.0040, 0.0160] on 14,352 rows (positive is better)",
        },
    ]
    return {
        "decision": decision,
        "first": False,
        "mode": "enforce",
        "champion": CHAMPION,
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
