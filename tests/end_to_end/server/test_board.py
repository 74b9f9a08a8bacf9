"""The model board as people see it: in a real browser, on the runs that a real Airflow has made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import FrameLocator, Page, expect

from mtl_tasks.pipeline.days.log import read_events
from mtl_tasks.pipeline.past_documents import find_lists
from mtl_tasks.store.promotion import promote
from mtl_tasks.store.registry import RunRecord
from plugins.model_board.mounted import PREFIX
from tests.end_to_end.server.scenarios import (
    BOOSTED,
    DAYS,
    HOSTILE,
    LISTS,
    SHOWN,
    backfilled,
    entries,
    registry,
    run_here,
    store,
)
from tests.support.accessibility import AXE, serious_violations
from tests.support.airflow import Airflow, unpause
from tests.support.board import ASKED, TITLE, paths
from tests.support.board import HOSTILE as REASON
from tests.support.browser import CHROMIUM, PageActivity, browser, element, recorded, screenshot
from tests.support.projects import AS_OF

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
RUN_ID = "<script>alert('run')</script>"
PAGES = ["home", "scenario", "refused", "compare", "explore"]


@dataclass(frozen=True)
class Shown:
    """Runs to look at: the one that was refused, by DAG run and by entry, today's champion, and who has a list."""

    dag_run: str
    refused: RunRecord
    champion: RunRecord
    user: str

    def path(self, page: str) -> str:
        """Return the address of a page within the board."""
        scenario = f"{PREFIX}/scenarios/{SHOWN}"
        return {
            "home": f"{PREFIX}/",
            "scenario": scenario,
            "refused": f"{scenario}/runs/{self.refused.run_key}",
            "compare": f"{scenario}/compare?run={self.champion.run_key}&run={self.refused.run_key}",
            "explore": f"{scenario}/explore?run={self.champion.run_key}&user={self.user}",
        }[page]


@pytest.fixture(scope="module")
def shown(airflow: Airflow, early_runs: dict[str, str]) -> Shown:
    """Backfill the scenario, make the last champion's lists, and let a run without the boosted member be refused."""
    backfilled(airflow, SHOWN)
    unpause(airflow, LISTS)
    airflow.trigger(LISTS, {})
    dag_run = airflow.trigger(f"train_{SHOWN}", {"as_of": AS_OF, "members": ["popularity", "als"]})
    assert airflow.follow(f"train_{SHOWN}", dag_run)["state"] == "success"
    (refused,) = [entry for entry in entries(airflow, SHOWN) if not entry.promoted]
    champion = registry(airflow, SHOWN).champion()
    assert champion is not None
    lists = airflow.until(lambda: find_lists(store(airflow), champion), "the champion's lists", 120)
    past = read_events(store(airflow), store(airflow).open(champion.refs["validate"]), ["user_id"])
    listed = past[past["user_id"].isin(lists.frame("recommendations")["user_id"])]
    user = str(listed["user_id"].mode()[0])  # who has done most
    return Shown(dag_run, refused, champion, user)


@pytest.fixture(scope="module")
def hostile(airflow: Airflow) -> RunRecord:
    """A run of a scenario whose title is a script, forced for a reason that is one."""
    with contextlib.chdir(airflow.project):
        run_here(HOSTILE, AS_OF, ".store")
    (entry,) = entries(airflow, HOSTILE)
    promote(registry(airflow, HOSTILE), store(airflow), entry.run_key, by="ada", reason=REASON, at=f"{AS_OF}T08:00")
    return entry


@pytest.fixture(scope="module")
def opened(airflow: Airflow, shown: Shown) -> Iterator[Page]:
    """The page of a user who has logged in by the form, not before the runs: a page of Airflow polls all the time."""
    with browser() as page:
        page.goto(airflow.url)
        page.locator("input[name=username]").fill("admin")
        page.locator("input[name=password]").fill("admin")
        page.locator("button[type=submit]").click()
        expect(element(page, "button", "Browse")).to_be_visible()
        yield page


@pytest.fixture
def activity(airflow: Airflow, opened: Page) -> Iterator[PageActivity]:
    """The page's activity: the board must log no error, and nothing but the server may be asked."""
    with recorded(opened) as activity:
        yield activity
    assert [(where, what) for where, what in activity.errors if PREFIX in where or not where] == []
    own = (f"{airflow.url}/", f"blob:{airflow.url}/", "data:")
    assert activity.requests
    assert [url for url in activity.requests if not url.startswith(own)] == []


@pytest.fixture
def page(opened: Page, activity: PageActivity) -> Page:
    return opened


@pytest.fixture
def board(page: Page) -> FrameLocator:
    """The frame in which Airflow shows the board."""
    return page.frame_locator("iframe")


def expect_text(board: FrameLocator, text: str) -> None:
    expect(board.locator("body")).to_contain_text(text, use_inner_text=True)


def in_airflow(airflow: Airflow, path: str) -> str:
    """Return the address that shows a page of the board in Airflow's frame."""
    return f"{airflow.url}/plugin/models{path}"


@in_a_browser
def test_from_the_navigation_to_the_runs_of_a_backfill(page: Page, board: FrameLocator, airflow: Airflow) -> None:
    page.goto(f"{airflow.url}/")
    element(page, "button", "Browse").click()
    element(page, "[role=menuitem]", "Models").click()
    element(board, "a", BOOSTED["title"]).click()
    expect_text(board, "Today’s champion")
    rows = board.locator("tbody tr").evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.innerText))")
    found = [*((day, "✓ promoted") for day in DAYS[1:]), (AS_OF, "✗ rejected")]
    assert sorted((row[1], row[3]) for row in rows) == found
    assert {row[-1] for row in rows} == {"DAG run"}


@in_a_browser
def test_a_refused_run_says_why(page: Page, board: FrameLocator, airflow: Airflow, shown: Shown) -> None:
    page.goto(in_airflow(airflow, shown.path("scenario")))
    reason = f"purchase auc ≥ 0.58: auc is {shown.refused.metrics['purchase']['auc']['value']:.4f}"
    element(board, "a", shown.refused.run_key[:12]).click()
    expect_text(board, reason)
    page.goto(f"{airflow.url}/dags/train_{SHOWN}/runs/{shown.dag_run}")
    element(page, "a", "Model").click()
    expect_text(board, reason)


@in_a_browser
def test_two_runs_are_compared(page: Page, board: FrameLocator, airflow: Airflow, shown: Shown) -> None:
    page.goto(in_airflow(airflow, shown.path("scenario")))
    expect(element(board, "button", "Compare chosen runs")).to_be_disabled()
    for key in (shown.champion.run_key, shown.refused.run_key):
        board.locator(f"input[value='{key}']").check()
    element(board, "button", "Compare chosen runs").click()
    expect_text(board, "Settings that differ")
    rows = board.locator("tbody tr").all_inner_texts()
    assert any(cells.startswith("members") and "shared_tail" in cells for cells in rows)


@in_a_browser
def test_a_user_is_explored(page: Page, board: FrameLocator, airflow: Airflow, shown: Shown) -> None:
    page.goto(in_airflow(airflow, shown.path("scenario")))
    element(board, "a", "Explore a user").click()
    board.locator("input[name=user]").fill(shown.user)
    element(board, "button", "Show").click()
    expect(board.locator("details.offer")).to_have_count(5)
    board.locator("details.offer summary").first.click()
    expect_text(board, "Largest contributions to shared_tail")


@in_a_browser
def test_the_board_follows_airflows_dark_mode(page: Page, board: FrameLocator, airflow: Airflow, shown: Shown) -> None:
    page.goto(in_airflow(airflow, shown.path("scenario")))
    for mode, color in (("Dark", "rgb(18, 22, 28)"), ("Light", "rgb(246, 247, 249)")):
        element(page, "button", "User").click()
        element(page, "[role=menuitem]", "Appearance").click()
        element(page, "[role=menuitemradio]", f"{mode} Mode").click()
        expect(board.locator("body")).to_have_css("background-color", color)


@in_a_browser
@pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: make fetches it where npm is")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_a_serious_violation_of_accessibility(
    page: Page, airflow: Airflow, shown: Shown, name: str, scheme: str
) -> None:
    page.goto(f"{airflow.url}{PREFIX}/")
    page.evaluate(f"localStorage.setItem('theme', '{scheme}')")
    page.goto(f"{airflow.url}{shown.path(name)}")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert serious_violations(page) == []


@in_a_browser
def test_the_check_finds_a_violation_and_the_log_an_error(page: Page, activity: PageActivity, airflow: Airflow) -> None:
    """The assertions about every page could not fail if the browser reported nothing."""
    page.goto(f"{airflow.url}{PREFIX}/")
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/favicon.ico>')")
    if AXE.exists():
        assert [rule["rule"] for rule in serious_violations(page)] == ["image-alt"]
    assert any("Content Security Policy" in what and PREFIX in where for where, what in activity.errors)
    activity.errors.clear()


@pytest.mark.faults(32)
@in_a_browser
def test_a_script_in_a_title_a_reason_or_a_run_id_is_shown_as_text(
    page: Page, airflow: Airflow, hostile: RunRecord
) -> None:
    run = f"{PREFIX}/scenarios/{HOSTILE}/runs/{hostile.run_key}"
    for path, told in ((f"{PREFIX}/", TITLE), (f"{PREFIX}/scenarios/{HOSTILE}", REASON), (run, TITLE)):
        page.goto(f"{airflow.url}{path}")
        assert told in page.inner_text("body")
        assert page.evaluate("[...document.scripts].filter((script) => !script.nonce).length") == 0
    body = {"logical_date": None, "conf": {}, "dag_run_id": RUN_ID}
    airflow.call(f"dags/train_{HOSTILE}/dagRuns", body)
    asked = httpx.QueryParams(dag_id=f"train_{HOSTILE}", run_id=RUN_ID)
    page.goto(f"{airflow.url}{PREFIX}/dag-run?{asked}")
    assert RUN_ID in page.inner_text("body")
    assert page.evaluate("[...document.scripts].filter((script) => !script.nonce).length") == 0


@pytest.mark.faults(32)
def test_without_login_every_url_is_refused(airflow: Airflow) -> None:
    answers = {path: httpx.get(f"{airflow.url}{PREFIX}{path}", params=ASKED).status_code for path in paths(SHOWN)}
    assert len(answers) > 8
    assert set(answers.values()) == {401}


def test_who_may_not_read_the_dag_learns_nothing(airflow: Airflow, shown: Shown) -> None:
    """Here she may read no DAG; tests/end_to_end/compose has people who may read some."""
    with httpx.Client(base_url=airflow.url, headers={"Authorization": f"Bearer {airflow.token('nora')}"}) as nora:
        assert nora.get(f"{PREFIX}/api/scenarios").json() == []
        for name in PAGES[1:]:
            answer = nora.get(shown.path(name), headers={"Accept": "text/html"})
            assert answer.status_code == 404
            assert BOOSTED["title"] not in answer.text
        asked = {"dag_id": f"train_{SHOWN}", "run_id": shown.dag_run}
        assert nora.get(f"{PREFIX}/dag-run", params=asked).status_code == 404


@in_a_browser
def test_pictures_of_the_board(page: Page, airflow: Airflow, shown: Shown, tmp_path: Path) -> None:
    """They are those of the documentation where SCREENSHOTS names the folder for them."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    page.goto(f"{airflow.url}{PREFIX}/")
    page.evaluate("localStorage.setItem('theme', 'light')")
    for name in PAGES[1:]:
        page.goto(f"{airflow.url}{shown.path(name)}")
        screenshot(page, folder / f"board-{name}.png", width=1200, max_height=1700 if name == "scenario" else 1000)
        assert (folder / f"board-{name}.png").stat().st_size < 250_000
