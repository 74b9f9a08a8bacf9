"""The model board as people see it: in a real browser, on the runs that a real Airflow has made."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mtl_tasks.pipeline.days.log import read_events
from mtl_tasks.pipeline.past_runs import find_lists
from mtl_tasks.store.promotion import promote
from mtl_tasks.store.registry import RunRecord
from plugins.model_board.mounted import PREFIX
from tests.end_to_end.server.scenarios import (
    BOOSTED,
    DAYS,
    HOSTILE,
    SHOWN,
    backfill,
    entries,
    registry,
    run_here,
    store,
)
from tests.support.accessibility import AXE, serious_violations
from tests.support.airflow import Airflow
from tests.support.board import ASKED, TITLE, paths
from tests.support.board import HOSTILE as REASON
from tests.support.browser import CHROMIUM, Page, browser
from tests.support.projects import AS_OF

in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
FRAME = "document.querySelector('iframe').contentDocument"
RUN_ID = "<script>alert('run')</script>"
PAGES = ["home", "scenario", "refused", "compare", "explore"]


@dataclass(frozen=True)
class Shown:
    """What there is to see: the run that was refused, by DAG run and by entry, today's champion, and who has a list."""

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
            "compare": f"{scenario}/compare?first={self.champion.run_key}&second={self.refused.run_key}",
            "explore": f"{scenario}/explore?run={self.champion.run_key}&user={self.user}",
        }[page]


@pytest.fixture(scope="module")
def shown(airflow: Airflow) -> Shown:
    """Backfill the scenario, and let a run without the boosted member be refused by its gate."""
    backfill(airflow, SHOWN, "3")
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
def opened(airflow: Airflow, shown: Shown, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page of somebody who has logged in by the form, not before the runs: a page of Airflow asks on and on."""
    with browser(tmp_path_factory.mktemp("profile")) as page:
        page.open(airflow.url)
        page.type("document.querySelector('input[name=username]')", "admin")
        page.type("document.querySelector('input[name=password]')", "admin")
        page.click("document.querySelector('button[type=submit]:enabled')")
        page.wait(named("button", "Browse"))
        yield page


@pytest.fixture
def page(airflow: Airflow, opened: Page) -> Iterator[Page]:
    """The page, which must log no error of the board's and ask nobody but the server."""
    opened.faults.clear()
    opened.requests.clear()
    yield opened
    assert [(where, what) for where, what in opened.faults if PREFIX in where or not where] == []
    own = (f"{airflow.url}/", f"blob:{airflow.url}/", "data:")
    assert opened.requests
    assert [url for url in opened.requests if not url.startswith(own)] == []


def named(kind: str, text: str, document: str = "document") -> str:
    """Return JavaScript that finds an element by its text."""
    return f"[...{document}.querySelectorAll('{kind}')].find(found => found.innerText.includes({json.dumps(text)}))"


def text(document: str = FRAME) -> str:
    return f"{document}.body.innerText"


def in_airflow(airflow: Airflow, path: str) -> str:
    """Return the address that shows a page of the board in Airflow's frame."""
    return f"{airflow.url}/plugin/models{path}"


@in_a_browser
def test_from_the_navigation_to_the_runs_of_a_backfill(page: Page, airflow: Airflow, shown: Shown) -> None:
    page.open(f"{airflow.url}/")
    page.click(named("button", "Browse"))
    page.click(named("[role=menuitem]", "Models"))
    page.click(named("a", BOOSTED["title"], FRAME))
    page.wait(f"{text()}.includes('Runs over time')")
    rows = page.evaluate(f"[...{FRAME}.querySelectorAll('tbody tr')].map(row => [...row.cells].map(c => c.innerText))")
    assert sorted((row[0], row[2]) for row in rows) == [*((day, "promoted") for day in DAYS[1:]), (AS_OF, "rejected")]


@in_a_browser
def test_a_refused_run_says_why(page: Page, airflow: Airflow, shown: Shown) -> None:
    page.open(in_airflow(airflow, shown.path("scenario")))
    page.click(named("a", shown.refused.run_key[:12], FRAME))
    page.wait(f"{text()}.includes('purchase auc >= 0.58: fails, auc is 0.52')")
    page.open(f"{airflow.url}/dags/train_{SHOWN}/runs/{shown.dag_run}")
    page.click(named("a", "Model"))
    page.wait(f"{text()}.includes('purchase auc >= 0.58: fails, auc is 0.52')")


@in_a_browser
def test_two_runs_are_compared(page: Page, airflow: Airflow, shown: Shown) -> None:
    page.open(in_airflow(airflow, shown.path("scenario")))
    for name, key in (("first", shown.champion.run_key), ("second", shown.refused.run_key)):
        choice = f"{FRAME}.querySelector('select[name={name}]')"
        page.wait(choice)
        page.evaluate(f"{choice}.value = '{key}'")
    page.click(named("button", "Compare", FRAME))
    page.wait(f"{text()}.includes('Settings that differ')")
    row = page.evaluate(f"[...{FRAME}.querySelectorAll('tbody tr')].map(row => row.innerText)")
    assert any(cells.startswith("members") and "shared_tail" in cells for cells in row)


@in_a_browser
def test_a_user_is_explored(page: Page, airflow: Airflow, shown: Shown) -> None:
    page.open(in_airflow(airflow, shown.path("scenario")))
    page.click(named("a", "Explore a user", FRAME))
    page.type(f"{FRAME}.querySelector('input[name=user]')", shown.user)
    page.click(named("button", "Show", FRAME))
    page.wait(f"{FRAME}.querySelectorAll('article').length === 5")
    page.wait(f"{text()}.includes('Largest contributions to shared_tail')")


@in_a_browser
def test_the_board_follows_airflows_dark_mode(page: Page, airflow: Airflow, shown: Shown) -> None:
    page.open(in_airflow(airflow, shown.path("scenario")))
    for mode, color in (("Dark", "rgb(18, 22, 28)"), ("Light", "rgb(246, 247, 249)")):
        page.click(named("button", "User"))
        page.click(named("[role=menuitem]", "Appearance"))
        page.click(named("[role=menuitemradio]", f"{mode} Mode"))
        page.wait(f"getComputedStyle({FRAME}.body).backgroundColor === '{color}'")


@in_a_browser
@pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: make fetches it where npm is")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_has_a_serious_violation_of_accessibility(
    page: Page, airflow: Airflow, shown: Shown, name: str, scheme: str
) -> None:
    page.open(f"{airflow.url}{PREFIX}/")
    page.evaluate(f"localStorage.setItem('theme', '{scheme}')")
    page.open(f"{airflow.url}{shown.path(name)}")
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert serious_violations(page) == []


@in_a_browser
def test_the_check_finds_a_violation_and_the_log_an_error(page: Page, airflow: Airflow) -> None:
    """What is asserted of every page could not fail if nothing were seen."""
    page.open(f"{airflow.url}{PREFIX}/")
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=/favicon.ico>')")
    page.wait("document.images.length === 1")
    if AXE.exists():
        assert [rule["rule"] for rule in serious_violations(page)] == ["image-alt"]
    assert any("Content Security Policy" in what and PREFIX in where for where, what in page.faults)
    page.faults.clear()


@pytest.mark.faults(32)
@in_a_browser
def test_a_script_in_a_title_a_reason_or_a_run_id_is_shown_as_text(
    page: Page, airflow: Airflow, hostile: RunRecord
) -> None:
    run = f"{PREFIX}/scenarios/{HOSTILE}/runs/{hostile.run_key}"
    for path, told in ((f"{PREFIX}/", TITLE), (f"{PREFIX}/scenarios/{HOSTILE}", REASON), (run, TITLE)):
        page.open(f"{airflow.url}{path}")
        assert told in page.evaluate("document.body.innerText")
        assert page.evaluate("document.scripts.length") == 1
    body = {"logical_date": None, "conf": {}, "dag_run_id": RUN_ID}
    airflow.call(f"dags/train_{HOSTILE}/dagRuns", body)
    asked = httpx.QueryParams(dag_id=f"train_{HOSTILE}", run_id=RUN_ID)
    page.open(f"{airflow.url}{PREFIX}/dag-run?{asked}")
    assert RUN_ID in page.evaluate("document.body.innerText")
    assert page.evaluate("document.scripts.length") == 1


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
    page.open(f"{airflow.url}{PREFIX}/")
    page.evaluate("localStorage.setItem('theme', 'light')")
    for name in PAGES[1:]:
        page.open(f"{airflow.url}{shown.path(name)}")
        with page.sized(width=1200, most=1700 if name == "scenario" else 1000):
            page.picture(folder / f"board-{name}.png")
        assert (folder / f"board-{name}.png").stat().st_size < 250_000
