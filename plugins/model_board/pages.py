"""The board's HTML: documents and charts rendered by templates that escape everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args

from fastapi import Request
from markupsafe import Markup

from mtl_tasks.core.errors import DataError, MtlError, StoreError
from mtl_tasks.core.stages import BULK
from mtl_tasks.pipeline.artifact_states import MISSING, list_artifacts
from mtl_tasks.pipeline.changes import champion_states
from mtl_tasks.pipeline.past_documents import later_refs, past_document, read_card
from mtl_tasks.pipeline.past_runs import History, PastRun, read_history
from mtl_tasks.report.labels import metric
from mtl_tasks.store.artifacts import Store
from plugins.model_board import timeline, views
from plugins.model_board.examples import Example
from plugins.model_board.explorer import Answer
from plugins.model_board.mounted import PREFIX
from plugins.model_board.reasons import event_strip, waterfall
from plugins.model_board.run_table import MOST_COLUMNS, SHOWN_COLUMNS, RunTable, title_of
from plugins.model_board.turns import BusyError

if TYPE_CHECKING:
    from mtl_tasks.pipeline.comparison import Comparison

Heavy = Literal["metrics", "slices", "curves", "members", "fusion", "calibration"]  # sections that grow with the tasks
CHOICES: Final = 50  # runs to choose from on the page of recommendations
KEPT_PAGES: Final = 64  # about 200 kB each
KEPT_COMPARISONS: Final = 16
COMPARED_TASKS: Final = 6  # with charts on the page of a comparison
MOST_DRAWERS: Final = 8  # requests that draw or wait to: each holds one of Airflow's request threads
SECONDS: Final = 10  # after which a refused caller may ask again
MOST_COMPARED: Final = 6
WHOLE_TASKS: Final = 4  # a run with more tasks has a page that loads its heavy sections when they are opened
_TEMPLATES = Path(__file__).parent / "templates"
_drawing = Lock()  # matplotlib's settings are process-wide, and requests run in threads
_drawers = BoundedSemaphore(MOST_DRAWERS)


def home(request: Request, scenarios: list[views.ScenarioSummary]) -> str:
    """Return the page of all scenarios."""
    return _render(request, "home.html", title="Models", scenarios=scenarios)


def scenario(request: Request, store: Store, history: History, table: RunTable) -> str:
    """Return the page of a scenario: the chosen runs over time and as a table."""
    runs, shown = [row.run for row in table.rows], table.columns[:SHOWN_COLUMNS]
    drawn = (timeline.draw(runs, history, column) for column in shown)
    return _render(
        request,
        "scenario.html",
        title=views.title_of(history),
        history=history,
        card=read_card(store, history.champion) if history.champion else None,
        table=table,
        charts=[chart for chart in drawn if chart is not None],
        most=MOST_COMPARED,
        most_columns=MOST_COLUMNS,
        column_title=title_of,
    )


def costs(request: Request, history: History, rows: list[views.CostRow]) -> str:
    """Return the page of what the newest runs have cost."""
    title = f"{views.title_of(history)}: what its runs cost"
    return _render(request, "costs.html", title=title, history=history, rows=rows)


def run(
    request: Request,
    store: Store,
    past: PastRun,
    link: str | None,
    member: str | None = None,
    section: Heavy | None = None,
) -> str:
    """Return the page of a run: all of its evidence, or the registry's data if that cannot be read.

    Parameters
    ----------
    link
        Page of the DAG run that made it, within Airflow's UI; None if none did.
    member
        The member to draw learning charts for; by default the one with the largest weight.
    section
        A heavy section to include also if the page has many tasks.
    """
    from mtl_tasks.report.page import read_script

    artifacts = list_artifacts(store, past.entry)
    facts: dict[str, Any] = {
        "title": f"{past.entry.scenario_document['title']}, {past.entry.as_of}: {past.standing}",
        "scenario_name": past.entry.scenario_document["name"],
        "past": past,
        "artifacts": artifacts,
        "link": link,
    }
    stored = store, past.entry.scenario_document["name"], past.entry.run_key
    made = tuple(past.entry.refs.items()), later_refs(store, past.entry), champion_states(store, past.entry)
    changing = past.rulings, made, tuple(artifacts)
    try:
        sections = _sections(stored, changing, (member, section), request.scope.get("root_path", ""))
    except (StoreError, DataError):
        raise
    except MtlError as error:
        gone = any(artifact.state == MISSING and artifact.stage in BULK for artifact in artifacts)
        damaged = any(artifact.damaged for artifact in artifacts)
        return _render(request, "damaged.html", fault=str(error), pruned=gone and not damaged, **facts)
    champion = read_history(store, past.entry.scenario_document["name"]).champion
    return _render(request, "run.html", sections=sections, champion=champion, script=read_script(), **facts)


@lru_cache(maxsize=KEPT_PAGES)
def _sections(
    stored: tuple[Store, str, str], changing: tuple[Any, ...], asked: tuple[str | None, Heavy | None], prefix: str
) -> Markup:
    """Draw the evidence of a run, cached by everything of it that may change and by the member and section asked."""
    from mtl_tasks.report.page import make_environment, page_context
    from mtl_tasks.report.sections import most_used

    (store, scenario, run_key), (member, section) = stored, asked
    document = past_document(store, views.find(store, scenario, run_key))
    shown = member or most_used(document)
    if shown not in document.describe:
        raise DataError(f"no member {shown} in this run: choose one of {', '.join(document.describe)}")
    page = f"{prefix}/scenarios/{scenario}/runs/{run_key}"
    others = {name: f"{page}?member={name}#members" for name in document.describe if name != shown}
    links = {}
    if document.verdict.champion is not None:
        runs = f"{prefix}/scenarios/{scenario}"
        links["champion"] = f"{runs}/runs/{document.verdict.champion}"
        links["compare"] = f"{runs}/compare?run={document.verdict.champion}&run={run_key}"
    deferred = {}
    if len(document.evaluation.tasks) > WHOLE_TASKS:
        deferred = {name: f"{page}?member={shown}&section={name}" for name in get_args(Heavy) if name != section}
    with _turn_to_draw():
        drawn = page_context(document, shown, artifacts=changing[-1], links=links, deferred=deferred)
    template = make_environment().get_template("sections.html")
    return Markup(template.render(**{**drawn, "other_members": others}))  # noqa: S704 - the template has escaped it


def compare_in_turn(store: Store, scenario_name: str, run_keys: Sequence[str]) -> Comparison:
    """Compare runs, one request at a time: paired differences take seconds of a CPU."""
    with _turn_to_draw():
        return views.comparison(store, scenario_name, run_keys)


def compare(request: Request, scenario_name: str, compared: Comparison) -> str:
    """Return the page of runs side by side."""
    tables = [
        ("Metrics", "metrics", "The fusion and the recommendations on the test window"),
        ("Members", "members", "The primary metric of each member: the floor first, the fusion last"),
        ("Lists", "lists", "The primary metric of each ranker's recommendations"),
        ("Slices", "slices", "The primary metric of the fusion on each slice"),
    ]
    keys = tuple((run.entry.run_key, run.entry.refs.get("evaluate")) for run in compared.runs)
    made_of = keys, tuple(compared.problems)  # what cannot be read now may be read later
    return _render(
        request,
        "compare.html",
        title=f"{len(compared.runs)} runs compared",
        scenario_name=scenario_name,
        compared=compared,
        tables=tables,
        charts=_comparison_charts(_Drawn(made_of, compared)),
    )


@dataclass(frozen=True)
class _Drawn:
    """A comparison, equal to one of the same evaluations of which the same can be read."""

    made_of: tuple[Any, ...]
    compared: Comparison = field(compare=False)


@lru_cache(maxsize=KEPT_COMPARISONS)
def _comparison_charts(drawn: _Drawn) -> list[tuple[str, Markup]]:
    """Draw the runs' calibration and primary metric by day for the first tasks; return titles and charts."""
    from mtl_tasks.report import compare_charts

    compared, made = drawn.compared, []
    names = [f"{run.entry.as_of} {run.entry.run_key[:8]}" for run in compared.runs]
    with _turn_to_draw():
        for task, daily in list(compared.by_day.items())[:COMPARED_TASKS]:
            if task in compared.calibration:
                bins = dict(zip(names, compared.calibration[task], strict=True))
                made.append(
                    (f"{task}: calibration", compare_charts.calibration(bins, f"{task}: calibration of the runs"))
                )
            by_day = dict(zip(names, daily, strict=True))
            title = f"{task}: {metric(next(one.metric for one in daily if one is not None)).heading} by day"
            made.append((title, compare_charts.by_day(by_day, f"{title}, of the runs")))
    return made


class Asked(NamedTuple):
    """The run, user and item that a page was asked about, and users to begin with, of that run or of the champion."""

    run: str | None
    user: str | None
    item: str | None
    examples: list[Example]
    examples_run: str | None


def explore(request: Request, history: History, asked: Asked, found: Answer | None, fault: str | None) -> str:
    """Return the page with the answer for a user or a pair, or with the reason why there is none."""
    from mtl_tasks.pipeline.explore import UserExploration

    listed = isinstance(found, UserExploration)
    return _render(
        request,
        "explore.html",
        title="Recommendations and their reasons",
        history=history,
        choices=history.runs[::-1][:CHOICES],
        asked=asked,
        found=found,
        listed=listed,
        strip=event_strip(found.history) if isinstance(found, UserExploration) else None,
        waterfall=waterfall,
        fault=fault,
    )


def waiting(request: Request, scenario_name: str, run_id: str, state: str | None) -> str:
    """Return the page of a DAG run that has no verdict (yet)."""
    facts = {"scenario_name": scenario_name, "run_id": run_id, "state": state}
    return _render(request, "waiting.html", title="No verdict", **facts)


def problem(request: Request, status: int, detail: str) -> str:
    """Return the page that explains a refusal or an error."""
    title = {401: "Not logged in", 404: "Not here", 422: "Cannot be answered", 503: "The store does not answer"}
    hint = "Nothing is lost: the board only reads. Reload the page once the store answers again."
    return _problem(request, title.get(status, "Refused"), detail, hint if status == 503 else None)


def busy(request: Request, detail: str, seconds: int) -> str:
    """Return the page that says why there is no answer yet."""
    return _problem(request, "Busy", detail, f"Reload the page in {seconds} seconds.")


def _problem(request: Request, title: str, detail: str, hint: str | None) -> str:
    return _render(request, "problem.html", title=title, detail=detail, hint=hint)


@contextmanager
def _turn_to_draw() -> Iterator[None]:
    if not _drawers.acquire(blocking=False):
        raise BusyError(f"{MOST_DRAWERS} pages are being drawn, as many as may be at once: ask again.", SECONDS)
    try:
        with _drawing:
            yield
    finally:
        _drawers.release()


def _render(request: Request, template: str, **facts: Any) -> str:
    from mtl_tasks.report.page import make_environment, read_style

    root = request.scope.get("root_path", "")
    airflow = root.removesuffix(PREFIX)  # where Airflow itself is mounted
    page = make_environment(_TEMPLATES).get_template(template)
    return page.render(root=root, airflow=airflow, nonce=request.state.nonce, style=read_style(), **facts)
