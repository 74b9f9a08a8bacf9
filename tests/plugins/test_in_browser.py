"""The board in a real browser, without an Airflow server: layout, keyboard, accessibility, and what it requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support import board
from tests.support.accessibility import AXE, violations
from tests.support.browser import CHROMIUM, PageActivity, browser, recorded
from tests.support.projects import NAME

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium")
WIDTHS = (390, 768, 1440)
PAGES = ("home", "scenario", "run", "costs", "compare", "list", "pair")
CUT_OFF = """
() => [...document.querySelectorAll('main *, header *')].filter(element => {
  const box = element.getBoundingClientRect();
  if (!box.width || box.right <= innerWidth + 1) return false;
  for (let at = element; at; at = at.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(at).overflowX)) return false;
  return true;
}).map(element => element.outerHTML.slice(0, 100))
"""
RECORD_PRINTS = """
() => { window.print = () => { document.body.dataset.printed = document.querySelectorAll('table').length; }; }
"""


@pytest.fixture(scope="module")
def address(board_project: Path, airflow_database: None) -> Iterator[str]:
    """The board on a port of its own, for somebody who may read the scenario."""
    with board.serving(board_project) as address:
        yield address


@pytest.fixture(scope="module")
def opened() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(opened: Page, address: str) -> Iterator[Page]:
    """The page; the board must log no error and request nothing of another host."""
    with recorded(opened) as activity:
        yield opened
    assert activity.errors == []
    assert activity.requests
    assert foreign(activity, address) == []


def foreign(activity: PageActivity, address: str) -> list[str]:
    return [url for url in activity.requests if not url.startswith((f"{address}/", "data:"))]


@pytest.fixture(scope="module")
def paths(board_project: Path) -> dict[str, str]:
    keys = [board.entry_of(board_project, f"2013-05-{day}").run_key for day in ("08", "10", "11")]
    here = f"/scenarios/{NAME}"
    store = board.store(board_project)
    from mtl_tasks.pipeline.past_documents import find_lists

    lists = find_lists(store, board.entry_of(board_project, "2013-05-08"))
    assert lists is not None
    first = lists.frame("recommendations").iloc[0]
    asked = f"{here}/explore?run={keys[0]}&user={first['user_id']}"
    return {
        "home": "/",
        "scenario": here,
        "run": f"{here}/runs/{keys[1]}",
        "costs": f"{here}/costs",
        "compare": f"{here}/compare?{'&'.join(f'run={key}' for key in keys)}",
        "list": asked,
        "pair": f"{asked}&item={first['item_id']}",
    }


@pytest.mark.parametrize("name", PAGES)
def test_no_content_is_cut_off_at_any_width(page: Page, address: str, paths: dict[str, str], name: str) -> None:
    page.goto(address + paths[name])
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize("width", [768, 1200, 1280, 1440])
def test_the_gains_of_the_overview_are_seen_without_scrolling(
    page: Page, address: str, board_project: Path, width: int
) -> None:
    compared = board.entry_of(board_project, "2013-05-11").run_key
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/scenarios/{NAME}/runs/{compared}")
    expect(page.locator(".columns th", has_text="Gain over it")).to_be_visible()
    tables = page.locator(".columns .scroll").evaluate_all("tables => tables.map(e => [e.clientWidth, e.scrollWidth])")
    assert tables
    assert [pair for pair in tables if pair[1] > pair[0]] == []


@pytest.mark.skipif(not AXE.exists(), reason="no axe-core here: make fetches it where npm is")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_no_page_breaks_a_rule_of_accessibility(
    page: Page, address: str, paths: dict[str, str], name: str, scheme: str
) -> None:
    page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
    page.goto(address + paths[name])
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true }")
    assert violations(page) == []


def test_runs_are_compared_by_keyboard(page: Page, address: str, paths: dict[str, str]) -> None:
    page.goto(address + paths["scenario"])
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.get_by_role("button", name="Compare chosen runs")).to_be_disabled()
    for box in page.locator("input[name=run]").all()[:2]:
        box.focus()
        page.keyboard.press("Space")
    expect(page.locator("form[data-most] [role=status]")).to_have_text("2 of at most 6 runs chosen")
    page.get_by_role("button", name="Compare chosen runs").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("2 runs compared")


def test_a_point_of_the_time_line_says_which_run_it_is_and_leads_to_it(
    page: Page, address: str, paths: dict[str, str]
) -> None:
    page.goto(address + paths["scenario"])
    point = page.locator("svg.timeline a").first
    assert (point.locator("title").text_content() or "").startswith("2013-05-11, forced: ")
    assert (point.get_attribute("href") or "").startswith(f"/scenarios/{NAME}/runs/")


def test_on_a_phone_the_reason_of_the_last_run_is_read_without_scrolling(
    page: Page, address: str, paths: dict[str, str]
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address + paths["home"])
    box = page.locator("td[data-head=Reason]").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["width"] > 250
    assert box["x"] + box["width"] <= 390


def test_what_is_typed_is_completed_and_a_link_opens_its_reasons(
    page: Page, address: str, paths: dict[str, str]
) -> None:
    page.goto(address + paths["list"])
    user = page.locator("input[name=user]")
    known = user.input_value()
    user.fill("")
    user.press_sequentially(known[:2])
    expect(page.locator("#users option")).not_to_have_count(0)
    values = page.locator("#users option").evaluate_all("options => options.map(option => option.value)")
    assert all(value.startswith(known[:2]) for value in values)
    page.locator("a[href='#rank-2']").click()
    expect(page.locator("#rank-2")).to_have_attribute("open", "")
    expect(page.locator("#rank-1")).not_to_have_attribute("open", "")


@pytest.fixture
def light_page(page: Page, address: str, paths: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """The page of a run that leaves its heavy sections for later, with a record of what is printed."""
    from plugins.model_board import pages

    monkeypatch.setattr(pages, "WHOLE_TASKS", 1)
    pages._sections.cache_clear()
    page.goto(address + paths["run"])
    page.evaluate(RECORD_PRINTS)
    expect(page.locator("#metrics table")).to_have_count(0)
    yield page
    pages._sections.cache_clear()


def test_a_section_that_was_left_for_later_is_loaded_when_it_is_opened(light_page: Page) -> None:
    light_page.locator(".toc a[href='#metrics']").click()
    expect(light_page.locator("#metrics table")).to_have_count(2)
    expect(light_page.locator("#metrics table .sort").first).to_be_visible()
    expect(light_page.locator("#metrics .downloads")).to_have_count(2)
    light_page.locator("#curves summary").click()
    expect(light_page.locator("#curves figure svg")).not_to_have_count(0)


@pytest.mark.parametrize("way", ["button", "keys"])
def test_all_sections_are_loaded_before_the_page_is_printed(light_page: Page, way: str) -> None:
    before = light_page.locator("table").count()
    if way == "button":
        light_page.get_by_role("button", name="Print").click()
    else:
        light_page.keyboard.press("Control+p")
    expect(light_page.locator("body[data-printed]")).to_have_count(1)
    assert light_page.locator("details[data-load]").count() == 0
    printed = light_page.locator("body").get_attribute("data-printed")
    assert printed == str(light_page.locator("table").count())
    assert light_page.locator("table").count() > before + 4
    light_page.emulate_media(media="print")
    expect(light_page.locator("#metrics table").first).to_be_visible()
    expect(light_page.get_by_role("button", name="Print")).not_to_be_visible()
    light_page.emulate_media(media="screen")


def test_an_answer_without_the_section_is_said_in_a_sentence_and_not_printed(light_page: Page) -> None:
    light_page.locator("#metrics > details").evaluate("part => { part.dataset.load = location.pathname + '/nowhere' }")
    light_page.route("**/nowhere", lambda route: route.fulfill(body="<p>Log in</p>", content_type="text/html"))
    light_page.get_by_role("button", name="Print").click()
    sentence = "This section could not be loaded: the answer does not contain it; reload this page."
    expect(light_page.locator("#metrics [role=status]")).to_contain_text(sentence)
    expect(light_page.locator("#metrics [role=status] a")).to_be_visible()
    expect(light_page.locator("body[data-printed]")).to_have_count(0)
    light_page.unroute("**/nowhere")
