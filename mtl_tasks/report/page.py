"""Rendering of a run's data, tables and charts into the HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mtl_tasks.report import charts, labels, sections
from mtl_tasks.report.document import FLOOR, FUSION, RunDocument

_FOLDER = Path(__file__).parent


def render(document: RunDocument) -> str:
    """Return the HTML page of a run."""
    return make_environment().get_template("report.html").render(style=read_style(), **page_context(document))


def page_context(document: RunDocument, member: str | None = None) -> dict[str, Any]:
    """Return the context of the template ``sections.html``, which shows all of a run's evidence.

    Parameters
    ----------
    member
        The only member to draw learning charts for; by default all members have them.
    """
    return {
        "document": document,
        "tasks": [sections.task_section(document, name) for name in document.evaluation.tasks],
        "ranking": sections.ranking_table(document),
        "drift": sections.drift_tables(document.drift),
        "timeline": charts.timeline(document.windows, document.as_of),
        "windows": sections.window_rows(document),
        "rules": sections.rule_rows(document),
        "learning": sections.member_panels(document, member),
        "stages": sections.stage_table(document.stages),
        "quarantined": sections.bars(document.validation.quarantined),
        "sources": sections.source_table(document.resolve.sources),
        "command": sections.run_command(document),
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
        "metric",
        "setting",
        "listed",
        "stands",
        "shift_words",
        "feature_title",
    ):
        environment.filters[name] = getattr(labels, name)
    return environment
