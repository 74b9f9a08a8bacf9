"""The routes of the model board. Each requires Airflow's session or token, and none writes."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep, get_user
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException

from mtl_tasks.core.errors import ConfigError, DataError, MtlError, StoreError
from mtl_tasks.pipeline.past_runs import read_history
from plugins.model_board import access, dag_runs, pages, views
from plugins.model_board.access import ReadableScenario, ReadableScenarios, open_store
from plugins.model_board.explorer import EXPLORER
from plugins.model_board.turns import BusyError

RunKey = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$")]
AskedKey = Annotated[str, Query(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Query(min_length=1, max_length=200)]
MemberName = Annotated[str | None, Query(pattern="^[a-z_]{1,40}$")]
OptionalId = Annotated[str | None, Query(max_length=200)]
AirflowId = Annotated[str, Query(min_length=1, max_length=250)]  # Airflow's limit for the id of a DAG or a run

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
def list_scenarios(scenarios: ReadableScenarios) -> list[dict[str, Any]]:
    """Return a summary of each scenario that the caller may see."""
    return [views.summarize(open_store(), name).to_json() for name in scenarios]


@app.get("/api/scenarios/{scenario}", tags=["api"])
def show_history(scenario: ReadableScenario) -> dict[str, Any]:
    """Return all runs of a scenario, with metrics and intervals, and the champions over time."""
    return views.show_history(open_store(), scenario)


@app.get("/api/scenarios/{scenario}/runs/{run_key}", tags=["api"])
def show_run(scenario: ReadableScenario, run_key: RunKey) -> dict[str, Any]:
    """Return all evidence of a run."""
    store = open_store()
    return views.evidence(store, views.find(store, scenario, run_key))


@app.get("/api/scenarios/{scenario}/compare", tags=["api"])
def compare(scenario: ReadableScenario, first: AskedKey, second: AskedKey) -> dict[str, Any]:
    """Return two runs side by side: differences with intervals, and settings that differ."""
    return views.comparison(open_store(), scenario, first, second).to_json()


@app.get("/api/scenarios/{scenario}/explore", tags=["api"])
async def explore(scenario: ReadableScenario, run: AskedKey, user: Id, item: OptionalId = None) -> dict[str, Any]:
    """Return a run's recommendations for a user, or its predictions for a user and an item, with reasons."""
    return (await EXPLORER.answer(open_store(), scenario, run, user, item or None)).to_json()


@app.get("/", response_class=HTMLResponse, include_in_schema=False)
def home_page(request: Request, scenarios: ReadableScenarios) -> str:
    """Show the scenarios."""
    return pages.home(request, [_summary(name) for name in scenarios])


def _summary(name: str) -> views.ScenarioSummary:
    """Return the summary of a scenario; a damaged registry must not hide the other scenarios."""
    try:
        return views.summarize(open_store(), name)
    except MtlError as error:
        return views.ScenarioSummary(name, name, problem=str(error))


@app.get("/scenarios/{scenario}", response_class=HTMLResponse, include_in_schema=False)
def scenario_page(
    request: Request, scenario: ReadableScenario, show: Annotated[int, Query(ge=1, le=10_000)] = pages.SHOWN_RUNS
) -> str:
    """Show the runs of a scenario over time."""
    store = open_store()
    return pages.scenario(request, store, read_history(store, scenario), show)


@app.get("/scenarios/{scenario}/runs/{run_key}", response_class=HTMLResponse, include_in_schema=False)
def run_page(request: Request, scenario: ReadableScenario, run_key: RunKey, member: MemberName = None) -> str:
    """Show the evidence of a run."""
    store = open_store()
    return pages.run(request, store, views.find(store, scenario, run_key), member)


@app.get("/scenarios/{scenario}/compare", response_class=HTMLResponse, include_in_schema=False)
def compare_page(request: Request, scenario: ReadableScenario, first: AskedKey, second: AskedKey) -> str:
    """Show two runs side by side."""
    store = open_store()
    compared = views.comparison(store, scenario, first, second)
    return pages.compare(request, scenario, compared)


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
    chosen = run or (history.champion.entry.run_key if history.champion else None)
    found, fault = None, None
    asked = pages.Asked(chosen, user or None, item or None)
    if asked.run and asked.user:
        try:
            found = await EXPLORER.answer(store, scenario, asked.run, asked.user, asked.item)
        except StoreError:
            raise
        except MtlError as error:
            fault = str(error)
    return await run_in_threadpool(pages.explore, request, history, asked, found, fault)


@app.get("/dag-run", response_class=HTMLResponse, include_in_schema=False)
def dag_run_page(request: Request, user: GetUserDep, session: SessionDep, dag_id: AirflowId, run_id: AirflowId) -> str:
    """Show the registry's run that a run of a training DAG has made."""
    scenario = access.scenario_of(session, dag_id)
    if scenario is None or not access.may_read(user, scenario):
        raise HTTPException(404, "no model here: it is a run of a training DAG that has one")
    store = open_store()
    state = dag_runs.run_state(session, dag_id, run_id)
    key = dag_runs.published_key(session, store, dag_id, run_id) if state is not None else None
    if key is None:
        return pages.waiting(request, scenario, run_id, state)
    return pages.run(request, store, views.find(store, scenario, key))
