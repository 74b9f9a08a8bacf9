"""The routes of the model board. Each requires Airflow's session or token, and none writes."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from mtl_tasks.core.errors import ConfigError, DataError, MtlError, StoreError
from mtl_tasks.pipeline.past_runs import PastRun, read_history
from mtl_tasks.pipeline.suggestions import Kind
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.record_times import record_times
from plugins.model_board import access, dag_runs, pages, views
from plugins.model_board.access import ReadableScenario, ReadableScenarios, open_store
from plugins.model_board.examples import Example, examples_of, suggestions_of
from plugins.model_board.explorer import EXPLORER
from plugins.model_board.run_table import BY_DATE, MOST_COLUMNS, SHOWN_RUNS, Choice, choose_rows
from plugins.model_board.turns import BusyError

RunKey = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$")]
AskedKey = Annotated[str, Query(pattern="^[0-9a-f]{64}$")]
AskedKeys = Annotated[list[Annotated[str, Field(pattern="^[0-9a-f]{64}$")]], Query(max_length=20)]
Prefix = Annotated[str, Query(max_length=200)]
Id = Annotated[str, Query(min_length=1, max_length=200)]
MemberName = Annotated[str | None, Query(pattern="^[a-z_]{1,40}$")]
OptionalId = Annotated[str | None, Query(max_length=200)]
AirflowId = Annotated[str, Query(min_length=1, max_length=250)]  # Airflow's limit for the id of a DAG or a run


class ChosenRuns(BaseModel):
    """The query of a scenario's page; see :class:`plugins.model_board.run_table.Choice`."""

    search: str = Field("", max_length=100)
    standing: str = Field("", max_length=40)
    since: str = Field("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    until: str = Field("", pattern=r"^(\d{4}-\d{2}-\d{2})?$")
    column: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=MOST_COLUMNS)
    sort: str = Field(BY_DATE, max_length=100)
    ascending: bool = False
    show: int = Field(SHOWN_RUNS, ge=1, le=10_000)

    def chosen(self) -> Choice:
        """Return the choice."""
        return Choice(**{**dict(self), "column": tuple(self.column)})


app = FastAPI(
    title="Model board",
    description="Every model of a scenario, its verdict and the reasons.",
    version="1",
    docs_url=None,  # would load scripts from other sites
    redoc_url=None,
    openapi_url=None,  # FastAPI would serve it to anybody; it is a route below
    dependencies=[Depends(get_user)],
)


@app.middleware("http")
async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Tell browsers to run and load only what the page itself contains, and to cache nothing."""
    request.state.nonce = secrets.token_urlsafe(16)
    response = await call_next(request)
    nonce = f"'nonce-{request.state.nonce}'"
    # The charts' shapes carry style attributes, which a nonce cannot allow.
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; script-src {nonce}; style-src {nonce}; style-src-attr 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    )
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-store"
    return response


@app.exception_handler(MtlError)
async def tell_fault(request: Request, error: MtlError) -> Response:
    """Answer with the fault in a line: an unanswerable question, or a damaged or unreachable store."""
    asked = isinstance(error, ConfigError | DataError)
    status = 422 if asked else 503 if isinstance(error, StoreError) else 404
    return _refuse(request, status, str(error))


@app.exception_handler(BusyError)
async def tell_busy(request: Request, error: BusyError) -> Response:
    """Answer that the board is busy, and when to ask again."""
    page = pages.busy(request, str(error), error.seconds) if _wants_page(request) else None
    answer = JSONResponse({"detail": str(error)}, 503) if page is None else HTMLResponse(page, 503)
    answer.headers["Retry-After"] = str(error.seconds)
    return answer


@app.exception_handler(StarletteHTTPException)
async def tell_refusal(request: Request, error: StarletteHTTPException) -> Response:
    """Answer with the refusal, as a page if a page was requested."""
    return _refuse(request, error.status_code, str(error.detail))


@app.exception_handler(RequestValidationError)
async def tell_misuse(request: Request, error: RequestValidationError) -> Response:
    """Answer with the wrong parameters and why they are wrong, without their values."""
    wrong = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors())
    return _refuse(request, 422, wrong)


def _refuse(request: Request, status: int, detail: str) -> Response:
    if _wants_page(request):
        return HTMLResponse(pages.problem(request, status, detail), status)
    return JSONResponse({"detail": detail}, status)


def _wants_page(request: Request) -> bool:
    return "/api/" not in request.url.path and "text/html" in request.headers.get("accept", "")


@app.get("/openapi.json", include_in_schema=False)
def describe() -> dict[str, Any]:
    """Return the OpenAPI description."""
    return app.openapi()


@app.get("/api/scenarios", tags=["api"])
def list_scenarios(session: SessionDep, scenarios: ReadableScenarios) -> list[dict[str, Any]]:
    """Return a summary of each scenario that the caller may see."""
    return [_summary(session, name).to_json() for name in scenarios]


@app.get("/api/scenarios/{scenario}", tags=["api"])
def show_history(session: SessionDep, scenario: ReadableScenario) -> dict[str, Any]:
    """Return all runs of a scenario, with metrics and intervals, and the champions over time."""
    return views.show_history(open_store(), scenario, _links(session, scenario))


@app.get("/api/scenarios/{scenario}/costs", tags=["api"])
def show_costs(scenario: ReadableScenario) -> list[dict[str, Any]]:
    """Return the time and the memory of the newest runs of a scenario, the newest first."""
    store = open_store()
    return [row.to_json() for row in views.cost_rows(store, read_history(store, scenario))]


@app.get("/api/scenarios/{scenario}/runs/{run_key}", tags=["api"])
def show_run(session: SessionDep, scenario: ReadableScenario, run_key: RunKey) -> dict[str, Any]:
    """Return all evidence of a run, and the page of its DAG run within Airflow's UI."""
    store = open_store()
    found = views.find(store, scenario, run_key)
    return {**views.evidence(store, found), "dag_run": _link(session, found)}


@app.get("/api/scenarios/{scenario}/compare", tags=["api"])
def compare(scenario: ReadableScenario, run: AskedKeys) -> dict[str, Any]:
    """Return two to six runs side by side, the first as the reference."""
    return pages.compare_in_turn(open_store(), scenario, run).to_json()


@app.get("/api/scenarios/{scenario}/explore", tags=["api"])
async def explore(scenario: ReadableScenario, run: AskedKey, user: Id, item: OptionalId = None) -> dict[str, Any]:
    """Return a run's recommendations for a user, or its predictions for a user and an item, with reasons."""
    return (await EXPLORER.answer(open_store(), scenario, run, user, item or None)).to_json()


@app.get("/api/scenarios/{scenario}/suggest", tags=["api"])
def suggest(scenario: ReadableScenario, run: AskedKey, kind: Kind, prefix: Prefix = "") -> list[dict[str, Any]]:
    """Return the first users or items of a run whose id or title begins with a text."""
    return [found.to_json() for found in suggestions_of(open_store(), scenario, run).starting_with(kind, prefix)]


@app.get("/api/dag-run", tags=["api"])
def show_dag_run(user: GetUserDep, session: SessionDep, dag_id: AirflowId, run_id: AirflowId) -> dict[str, Any]:
    """Return the state of a run of a training DAG, and the key of the registry's run that it has made."""
    scenario, state, key = _made_by(user, session, dag_id, run_id)
    return {"scenario": scenario, "state": state, "run_key": key}


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
def home_page(request: Request, session: SessionDep, scenarios: ReadableScenarios) -> str:
    """Show the scenarios."""
    return pages.home(request, [_summary(session, name) for name in scenarios])


def _summary(session: SessionDep, name: str) -> views.ScenarioSummary:
    """Return the summary of a scenario; a damaged registry must not hide the other scenarios."""
    status = dag_runs.status_of(session, f"{access.TRAINS}{name}")
    try:
        return views.summarize(open_store(), name, status, datetime.now(UTC).date())
    except MtlError as error:
        return views.ScenarioSummary(name, name, status=status, problem=str(error))


def _links(session: SessionDep, scenario: str) -> dict[str, str]:
    return dag_runs.links_by_gate(session, f"{access.TRAINS}{scenario}")


def _link(session: SessionDep, run: PastRun) -> str | None:
    gate = run.entry.refs.get("gate")
    return (
        None if gate is None else dag_runs.link_of_gate(session, f"{access.TRAINS}{run.entry.scenario_name}", gate.key)
    )


@app.get("/scenarios/{scenario}", response_class=HTMLResponse, include_in_schema=False)
def scenario_page(
    request: Request, session: SessionDep, scenario: ReadableScenario, choice: Annotated[ChosenRuns, Query()]
) -> str:
    """Show the runs of a scenario over time."""
    store = open_store()
    history = read_history(store, scenario)
    table = choose_rows(history, choice.chosen(), record_times(store, scenario), _links(session, scenario))
    return pages.scenario(request, store, history, table)


@app.get("/scenarios/{scenario}/costs", response_class=HTMLResponse, include_in_schema=False)
def costs_page(request: Request, scenario: ReadableScenario) -> str:
    """Show what the newest runs of a scenario have cost."""
    store = open_store()
    history = read_history(store, scenario)
    return pages.costs(request, history, views.cost_rows(store, history))


@app.get("/scenarios/{scenario}/runs/{run_key}", response_class=HTMLResponse, include_in_schema=False)
def run_page(
    request: Request,
    session: SessionDep,
    scenario: ReadableScenario,
    run_key: RunKey,
    member: MemberName = None,
    section: pages.Heavy | None = None,
) -> str:
    """Show the evidence of a run."""
    store = open_store()
    found = views.find(store, scenario, run_key)
    return pages.run(request, store, found, _link(session, found), member, section)


@app.get("/scenarios/{scenario}/compare", response_class=HTMLResponse, include_in_schema=False)
def compare_page(request: Request, scenario: ReadableScenario, run: AskedKeys) -> str:
    """Show two to six runs side by side."""
    return pages.compare(request, scenario, pages.compare_in_turn(open_store(), scenario, run))


@app.get("/scenarios/{scenario}/explore", response_class=HTMLResponse, include_in_schema=False)
async def explore_page(
    request: Request,
    scenario: ReadableScenario,
    run: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")] = None,
    user: OptionalId = None,
    item: OptionalId = None,
) -> str:
    """Show a form for a user or a pair, and the run's answer."""
    store = open_store()
    history = await run_in_threadpool(read_history, store, scenario)
    champion = history.champion.entry.run_key if history.champion else None
    chosen = run or champion
    found, fault = None, None
    examples, examples_run = await run_in_threadpool(_examples, store, scenario, chosen, champion)
    asked = pages.Asked(chosen, user or None, item or None, examples, examples_run)
    if asked.run and asked.user:
        try:
            found = await EXPLORER.answer(store, scenario, asked.run, asked.user, asked.item)
        except StoreError:
            raise
        except MtlError as error:
            fault = str(error)
    return await run_in_threadpool(pages.explore, request, history, asked, found, fault)


def _examples(store: Store, scenario: str, *runs: str | None) -> tuple[list[Example], str | None]:
    """Return sample users, and the first of the runs that has any."""
    for run_key in runs:
        if run_key is not None and (found := examples_of(store, scenario, run_key)):
            return found, run_key
    return [], None


@app.get("/dag-run", response_class=HTMLResponse, include_in_schema=False)
def dag_run_page(request: Request, user: GetUserDep, session: SessionDep, dag_id: AirflowId, run_id: AirflowId) -> str:
    """Show the registry's run that a run of a training DAG has made."""
    scenario, state, key = _made_by(user, session, dag_id, run_id)
    if key is None:
        return pages.waiting(request, scenario, run_id, state)
    store = open_store()
    found = views.find(store, scenario, key)
    return pages.run(request, store, found, _link(session, found))


def _made_by(user: GetUserDep, session: SessionDep, dag_id: str, run_id: str) -> tuple[str, str | None, str | None]:
    """Return the scenario of a DAG run, its state, and the key of the registry's run; what is not there is None."""
    scenario = access.scenario_of(session, dag_id)
    if scenario is None or not access.may_read(user, scenario):
        raise HTTPException(404, "no model here: only runs of training DAGs have one")
    state = dag_runs.run_state(session, dag_id, run_id)
    key = None if state is None else dag_runs.published_key(session, open_store(), dag_id, run_id)
    return scenario, state, key
