"""Rendering of a run's data, tables and charts into the HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mtl_tasks.report import charts, data_tables, labels, sections
from mtl_tasks.report.document import FLOOR, FUSION, RunDocument
from mtl_tasks.report.order import order_of, utility_of
from mtl_tasks.report.overview import overview

_FOLDER = Path(__file__).parent
_TEMPLATES = _FOLDER / "templates"


def render(document: RunDocument) -> str:
    """Return the HTML page of a run."""
    facts = {"style": read_style(), "script": read_script()}
    return _environment().get_template("report.html").render(**facts, **page_context(document))


def page_context(
    document: RunDocument,
    member: str | None = None,
    *,
    artifacts: Sequence[Any] = (),
    links: Mapping[str, str] | None = None,
    deferred: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the context of the template ``sections.html``, which shows all of a run's evidence.

    Parameters
    ----------
    member
        The only member to draw learning charts for; by default all members have them.
    artifacts
        States of the run's artifacts, :class:`mtl_tasks.pipeline.artifact_states.ArtifactState`, where they are known.
    links
        Name to address of pages about the run: ``champion``, ``compare``.
    deferred
        Sections that the page loads when they are opened, to the address that shows them: nothing is drawn for them.
    """
    later = deferred or {}
    return {
        "document": document,
        "tasks": [sections.task_section(document, name, later) for name in document.evaluation.tasks],
        "ranking": sections.ranking_table(document),
        "drift": data_tables.drift_tables(document.drift),
        "timeline": charts.timeline(document.windows, document.as_of),
        "windows": data_tables.window_rows(document),
        "overview": overview(document),
        "expectations": data_tables.expectation_rows(document),
        "order": order_of(document),
        "utility": utility_of(document),
        "artifacts": artifacts,
        "links": {"champion": "", "compare": "", **(links or {})},
        "deferred": later,
        "learning": sections.member_panels(document, member, drawn="members" not in later),
        "stages": data_tables.stage_table(document.stages),
        "quarantined": data_tables.bars(document.validation.quarantined),
        "sources": data_tables.source_table(document.resolve.sources),
        "command": sections.run_command(document),
        "scenario_text": yaml.safe_dump(document.scenario.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        "other_members": {},
    }


def read_style() -> Markup:
    """Return the style sheet for inlining in a page."""
    return Markup((_FOLDER / "style.css").read_text(encoding="utf-8"))  # noqa: S704


def read_script() -> Markup:
    """Return the script for inlining in a page, which works without it."""
    return Markup((_FOLDER / "page.js").read_text(encoding="utf-8"))  # noqa: S704


@cache
def _environment() -> Environment:
    """Return the report's own environment: templates are compiled once a process."""
    return make_environment()


def make_environment(*folders: Path) -> Environment:
    """Return a Jinja environment that loads from ``folders``, then the report's folder, and escapes everything."""
    environment = Environment(
        loader=FileSystemLoader([*folders, _TEMPLATES]),
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
        "memory",
        "with_minus",
        "reason_text",
        "size",
        "list_title",
        "users",
        "metric",
        "setting",
        "listed",
        "stands",
        "shift_words",
        "feature_title",
    ):
        environment.filters[name] = getattr(labels, name)
    environment.globals |= {"FLOOR": FLOOR, "FUSION": FUSION, "figure_unit": labels.figure_unit}
    return environment
