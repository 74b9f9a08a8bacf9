"""Rendering of a run's data, tables and charts into the HTML page."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mtl_tasks.core.program import PROGRAM
from mtl_tasks.report import charts, labels
from mtl_tasks.report.document import FLOOR, FUSION, Json, RunDocument

_FOLDER = Path(__file__).parent
_SHOWN_SOURCES = 40
_SHOWN_SHIFTS = 10


def render(document: RunDocument) -> str:
    """Return the HTML page of a run."""
    return make_environment().get_template("report.html").render(style=read_style(), **page_context(document))


def page_context(document: RunDocument, member: str | None = None) -> Json:
    """Return the context of the template ``sections.html``, which shows all of a run's evidence.

    Parameters
    ----------
    member
        The only member to draw learning charts for; by default all members have them.
    """
    return {
        "document": document,
        "tasks": [_task(document, name) for name in document.evaluation["tasks"]],
        "ranking": _ranking(document),
        "drift": _drift(document.drift),
        "timeline": charts.timeline(_by_day(document), document.as_of),
        "windows": _windows(document),
        "rules": [{**rule, "bar": _rule_bar(rule)} for rule in document.verdict["rules"]],
        "learning": _learning(document, member),
        "stages": _stages(document),
        "quarantined": _bars(document.validation["quarantined"]),
        "sources": _sources(document),
        "facts": _facts(document),
        "scenario_text": yaml.safe_dump(document.scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        "FLOOR": FLOOR,
        "FUSION": FUSION,
    }


def read_style() -> Markup:
    """Return the style sheet for inlining in a page."""
    return Markup((_FOLDER / "style.css").read_text(encoding="utf-8"))  # noqa: S704


def make_environment(*folders: Path) -> Environment:
    """Return a Jinja environment that loads from ``folders``, then the report's folder, and escapes everything."""
    environment = Environment(
        loader=FileSystemLoader([*folders, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in (
        "number",
        "signed",
        "percent",
        "count",
        "duration",
        "size",
        "list_title",
        "people",
        "shortlist",
        "metric",
        "setting",
        "listed",
        "stands",
        "shift_words",
        "feature_title",
    ):
        environment.filters[name] = getattr(labels, name)
    return environment


def _task(document: RunDocument, name: str) -> Json:
    evaluation, fusion = document.evaluation["tasks"][name], document.fusion[name]
    models = document.models(name)
    metrics = labels.in_order(models[FLOOR])
    calibration = document.evaluation["calibration"].get(name)
    weights = document.weights(name)
    return {
        "name": name,
        "described": document.scenario.tasks[name].described,
        "evaluation": evaluation,
        "models": models,
        "metrics": _metrics(metrics, models),
        "differences": _differences(name, evaluation["versus_floor"], metrics),
        "slices": [_slice(label, part, metrics) for label, part in document.evaluation["slices"].get(name, {}).items()],
        "fusion": fusion,
        "weights": charts.weights(weights, f"{name}: fusion weights") if weights else None,
        "candidates": _candidates(fusion["blend_loss"], document.taken(name)),
        "calibration": charts.calibration(calibration, f"{name}: calibration") if calibration else None,
        "bins": calibration,
    }


def _differences(task: str, versus_floor: Json, metrics: list[str]) -> Markup | None:
    others = {model: gains for model, gains in versus_floor.items() if model != FLOOR}
    return charts.differences(others, metrics, f"{task}: gain over the floor") if others else None


def _metrics(names: list[str], models: Json) -> list[Json]:
    return [{"name": name, "shown": labels.metric(name), "best": labels.best(models, name)} for name in names]


def _slice(label: str, part: Json, metrics: list[str]) -> Json:
    models = {**part["members"], FUSION: part["fusion"]}
    return {
        "name": label.replace("_", " "),
        "rows": part["rows"],
        "models": models,
        "metrics": _metrics(metrics, models),
    }


def _candidates(losses: dict[str, float | None], taken: str) -> list[Json]:
    """Return the blend losses, best first, with the chosen one marked."""
    ordered = sorted(losses.items(), key=lambda pair: (pair[1] is None, pair[1]))
    return [{"name": labels.candidate_title(name), "loss": loss, "taken": name == taken} for name, loss in ordered]


def _ranking(document: RunDocument) -> Json:
    ranking = document.evaluation["ranking"]
    lists = ranking["lists"]
    names = labels.in_order(next(iter(lists.values()), {}))
    return {**ranking, "metrics": _metrics(names, lists)}


def _drift(recorded: Json | None) -> list[Json]:
    """Return the largest shifts of each comparison, each with its share of a full bar."""
    if recorded is None:
        return []
    shown = []
    champion = recorded["champion"]
    if champion is not None:
        about = f"Against the test rows of the champion of {champion['as_of']}"
        shown.append({"title": about, "problem": champion["problem"], **_largest(champion)})
    return [
        *shown,
        {"title": "Against this run's own train rows", "problem": None, **_largest(recorded["since_train"])},
    ]


def _largest(compared: Json) -> Json:
    features = [row for row in compared["shifts"] if row["group"] == "features"]
    others = [row for row in compared["shifts"] if row["group"] != "features"]
    rows = [*others, *features[:_SHOWN_SHIFTS]]
    # A full bar is a large shift. On a scale up to the largest one, all others would look like none.
    drawn = [{**row, "share": min(1.0, row["psi"] / labels.SHIFTED[1])} for row in rows]
    return {"rows": drawn, "left_out": features[_SHOWN_SHIFTS:], "unmatched": compared["unmatched"]}


def _by_day(document: RunDocument) -> dict[str, list[str]]:
    """Return the first and last day of each window in time order, which a stored document does not keep."""
    return dict(sorted(document.resolve["windows"].items(), key=lambda window: window[1]))


def _windows(document: RunDocument) -> list[Json]:
    counted = document.split.get("windows", {})
    return [
        {
            "name": name,
            "first": first,
            "last": last,
            "use": labels.WINDOW_USES.get(name, ""),
            "split": counted.get(name),
        }
        for name, (first, last) in _by_day(document).items()
    ]


def _rule_bar(rule: Json) -> Json | None:
    """Return the positions of a rule's value, interval and limit on its own scale, 0 to 100; None without a value."""
    known = {part: rule[part] for part in ("value", "low", "high", "limit") if rule[part] is not None}
    if "value" not in known:
        return None
    first, last = min(known.values()), max(known.values())
    width = (last - first) or 1.0
    return {part: round(8 + 84 * (value - first) / width, 1) for part, value in known.items()}


def _learning(document: RunDocument, only: str | None) -> list[Json]:
    shown = []
    most = most_used(document)
    for member, described in document.describe.items():
        explained = document.explain.get(member, {})
        drawn = only in (None, member)
        panels = [
            _panel(member, task, facts, explained.get(task), document.scenario.tasks[task].score_unit, drawn=drawn)
            for task, facts in described["tasks"].items()
        ]
        shown.append(
            {
                "name": member,
                "device": described["device"],
                "panels": panels,
                "drawn": any(panel["curve"] or panel["importance"] for panel in panels),
                "opened": member == (only or most),
                "most_used": member == most,
                **_sharing(document, member, described.get("sharing") if drawn else None),
            }
        )
    return shown


def most_used(document: RunDocument) -> str:
    """Return the member with the largest total weight in the tasks' fusions."""
    tasks = document.evaluation["tasks"]
    say = {member: sum(document.weights(task).get(member, 0.0) for task in tasks) for member in document.describe}
    return max(say, key=lambda member: say[member])


def _sharing(document: RunDocument, member: str, sharing: Json | None) -> Json:
    if not sharing or not any(sharing["weights"].values()):
        return {"conflict": None, "task_weights": None}
    moving = document.scenario.boosting.shared.task_weighting != "fixed"
    cosines, weights = sharing["cosines"], sharing["weights"]
    return {
        "conflict": charts.conflict(cosines, f"{member}: agreement of the tasks' gradients") if cosines else None,
        "task_weights": charts.task_weights(weights, f"{member}: task weights") if moving else None,
    }


def _panel(member: str, task: str, facts: Json, explained: Json | None, unit: str, *, drawn: bool) -> Json:
    about = {"task": task, "facts": facts, "rows": explained["rows"] if explained else None}
    if not drawn:
        return {**about, "split": False, "curve": None, "effects": None, "importance": None}
    curve, shares, name = facts.get("curve"), facts.get("importance"), f"{member}, {task}"
    gain = explained["gain"] if explained else None
    return {
        **about,
        "split": gain is not None,
        "curve": charts.learning_curve(curve, facts.get("rounds"), f"{name}: learning curve") if curve else None,
        "effects": charts.effects(explained["features"], unit, f"{name}: effect of features") if explained else None,
        "importance": charts.importance(shares, f"{name}: feature importance", gain) if shares else None,
    }


def _stages(document: RunDocument) -> Json:
    longest = max((stage["seconds"] for stage in document.stages), default=0) or 1
    return {
        "rows": [{**stage, "share": stage["seconds"] / longest} for stage in document.stages],
        "seconds": sum(stage["seconds"] for stage in document.stages),
        "cpu_seconds": sum(stage["cpu_seconds"] for stage in document.stages),
        "peak_rss_mb": max((stage["peak_rss_mb"] for stage in document.stages), default=0),
    }


def _bars(counts: dict[str, int]) -> list[Json]:
    most = max(counts.values(), default=0) or 1
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"name": name, "count": value, "share": value / most} for name, value in ordered]


def _sources(document: RunDocument) -> Json:
    files = document.resolve["sources"]
    return {
        "files": files[-_SHOWN_SOURCES:],
        "left_out": max(0, len(files) - _SHOWN_SOURCES),
        "total": len(files),
        "size": sum(file["size"] for file in files),
    }


def _facts(document: RunDocument) -> dict[str, Any]:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in document.overrides.items()}
    settings = [f"--set {shlex.quote(f'{key}={text}')}" for key, text in texts.items()]
    command = [f"{PROGRAM} run", document.scenario.name, "--as-of", document.as_of, *settings]
    return {"command": " ".join(command), "seed": document.scenario.seed}
