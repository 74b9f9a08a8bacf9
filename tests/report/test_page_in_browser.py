"""The report in a real browser: one screen first, nothing cut off, usable by keyboard and without script."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtl_tasks.report import render_report
from mtl_tasks.report.page import read_script
from tests.report.sample import sample_document

sync_api = pytest.importorskip("playwright.sync_api")
from tests.support.accessibility import AXE, serious_violations  # noqa: E402 - needs Playwright
from tests.support.browser import CHROMIUM, browser, recorded  # noqa: E402

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
SCREENS = {1440: 900, 768: 1000, 390: 844}  # width to height in pixels
CUT_OFF = """
() => [...document.querySelectorAll('main table, main svg, main pre')].filter(part => {
  const holder = part.closest('.scroll, figure, pre') || part;
  return holder.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
}).map(part => part.outerHTML.slice(0, 120))
"""
ONE_ROW = f"""
<!doctype html><main><div class="scroll" aria-label="Windows"><table>
<thead><tr><th>Window</th><th>Rows</th></tr></thead><tbody><tr><th>test</th><td>3</td></tr></tbody></table></div></main><script>{read_script()}</script>
"""
OPEN_ALL = "document.querySelectorAll('details').forEach(part => { part.open = true; })"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render_report(sample_document("reject")), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium() -> Iterator[sync_api.Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(chromium: sync_api.Page, address: str) -> sync_api.Page:
    chromium.set_viewport_size({"width": 1440, "height": 900})
    chromium.goto("about:blank")
    chromium.goto(address)
    return chromium


def test_the_overview_is_one_screen(page: sync_api.Page) -> None:
    assert page.evaluate("document.getElementById('overview').getBoundingClientRect().bottom") <= SCREENS[1440]


@pytest.mark.parametrize("width", SCREENS)
def test_nothing_is_cut_off(page: sync_api.Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": SCREENS[width]})
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.skipif(not AXE.exists(), reason="there is no axe-core: make test fetches it with npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_is_accessible(page: sync_api.Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": SCREENS[width]})
    page.evaluate(OPEN_ALL)
    assert serious_violations(page) == []


def test_what_scrolls_can_be_reached_by_keyboard_and_what_does_not_is_no_stop(page: sync_api.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate(OPEN_ALL)
    page.wait_for_function("document.querySelectorAll('main figure[tabindex]').length > 5")
    wrong = page.evaluate(
        "[...document.querySelectorAll('main .scroll, main figure, main pre')].filter(part => "
        "(part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1) "
        "!== part.hasAttribute('tabindex')).length"
    )
    assert wrong == 0


def test_a_link_opens_its_section(page: sync_api.Page) -> None:
    page.click(".toc a[href='#drift']")
    assert page.locator("#drift table").first.is_visible()


def test_a_link_opens_its_section_without_a_script_too(page: sync_api.Page, address: str) -> None:
    context = page.context.browser.new_context(java_script_enabled=False)  # type: ignore[union-attr]
    plain = context.new_page()
    plain.goto(f"{address}#drift")
    assert plain.locator("#drift table").first.is_visible()
    assert not plain.locator("#stages table").first.is_visible()
    context.close()


def test_tables_are_sorted_by_the_number_that_is_shown(page: sync_api.Page) -> None:
    table = page.locator("table[data-name='metrics purchase']")
    heading = table.locator("thead button").nth(1)
    heading.click()
    assert table.locator("tbody tr").first.inner_text().startswith("popularity")
    heading.focus()
    page.keyboard.press("Enter")
    assert table.locator("thead th").nth(1).get_attribute("aria-sort") == "descending"
    assert table.locator("tbody tr").last.inner_text().startswith("popularity")


def test_every_table_of_several_rows_is_sorted_by_each_heading_and_saved(page: sync_api.Page) -> None:
    page.evaluate(OPEN_ALL)
    seen = page.evaluate(
        """[...document.querySelectorAll('main table')].map(table => ({
          name: table.closest('.scroll').getAttribute('aria-label'),
          rows: [...table.tBodies].reduce((count, body) => count + body.rows.length, 0),
          unsorted: [...table.tHead.rows[0].cells].filter(cell =>
            !cell.querySelector('.sort') && !cell.querySelector(':scope > .hidden:only-child')).length,
          saved: table.closest('.scroll').nextElementSibling?.querySelectorAll('button').length ?? 0,
        }))"""
    )
    assert {"Members", "Metrics beside the champion's and the floor's", "Recommendations of sample users"} <= {
        table["name"] for table in seen
    }
    assert [table["name"] for table in seen if table["rows"] > 1 and table["unsorted"]] == []
    assert [table["name"] for table in seen if table["saved"] != 2] == []


def test_a_table_of_one_row_has_nothing_to_sort(page: sync_api.Page) -> None:
    page.set_content(ONE_ROW)
    assert page.locator(".downloads button").count() == 2
    assert page.locator(".sort").count() == 0


@pytest.mark.parametrize(
    ("name", "heading", "column"),
    [
        ("Members", "Task", 2),
        ("Metrics beside the champion's and the floor's", "This run", 1),
        ("Changed since the champion", "What", 1),
        ("Recommendations of sample users", "rating", 3),
        ("Windows", "First day", 1),
    ],
)
def test_a_table_is_sorted_by_keyboard_in_both_directions(
    page: sync_api.Page, name: str, heading: str, column: int
) -> None:
    page.evaluate(OPEN_ALL)
    table = page.get_by_role("region", name=name, exact=True).locator("table")
    before = shown_column(table, column)
    button = table.locator("thead button").filter(has_text=heading).first
    button.focus()
    ordered = {}
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        sorted_by = table.locator("th[aria-sort]").evaluate_all(
            "cells => cells.map(one => [one.cellIndex, one.ariaSort])"
        )
        assert sorted_by == [[column, direction]]
        ordered[direction] = [sort_key(value) for value in shown_column(table, column)]
    assert ordered["ascending"] == sorted(sort_key(value) for value in before)
    assert ordered["descending"] == sorted((sort_key(value) for value in before), reverse=True)
    assert len(set(ordered["ascending"])) > 1


def shown_column(table: sync_api.Locator, column: int) -> list[str]:
    """Return the first line of each cell of a column."""
    return [row.locator("th, td").nth(column).inner_text().split("\n")[0] for row in table.locator("tbody tr").all()]


def sort_key(value: str) -> float | str:
    """Return a number, or a text that is none."""
    try:
        return float(value.replace(",", "").replace("−", "-"))
    except ValueError:
        return value.casefold()


def test_a_saved_row_has_its_subject_and_every_column(page: sync_api.Page) -> None:
    page.evaluate(OPEN_ALL)
    for name in ("Members", "Recommendations of sample users", "How the ranker was chosen"):
        with page.expect_download() as saved:
            page.get_by_role("button", name=f"Save the table as CSV: {name}", exact=True).click()
        rows = list(csv.reader(Path(saved.value.path()).read_text(encoding="utf-8").splitlines()))
        assert {len(row) for row in rows} == {len(rows[0])}
        assert all(row[0] for row in rows)


@pytest.mark.parametrize(("kind", "beginning"), [("CSV", '"Model","RMSE ↓'), ("JSON", '[\n {\n  "Model"')])
def test_tables_can_be_saved(page: sync_api.Page, kind: str, beginning: str) -> None:
    with page.expect_download() as saved:
        page.get_by_role("button", name=f"Save the table as {kind}: Metrics of rating").click()
    assert saved.value.suggested_filename == f"metrics-rating.{kind.lower()}"
    assert Path(saved.value.path()).read_text(encoding="utf-8").startswith(beginning)


def test_a_saved_text_is_no_formula_of_a_spreadsheet(page: sync_api.Page) -> None:
    table = "table[data-name='metrics rating'] tbody tr:first-child"
    page.locator(f"{table} th").first.evaluate("cell => { cell.textContent = '=HYPERLINK(\"x\")'; }")
    page.locator(f"{table} td").nth(0).evaluate("cell => { cell.textContent = '+0.5 [−0.1, +1.1]'; }")
    page.locator(f"{table} td").nth(1).evaluate("cell => { cell.textContent = '-2+3+cmd|x!A0'; }")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save the table as CSV: Metrics of rating").click()
    second = Path(saved.value.path()).read_text(encoding="utf-8").splitlines()[1]
    assert second.startswith('"\'=HYPERLINK(""x"")","+0.5 [−0.1, +1.1]","\'-2+3+cmd|x!A0"')


def test_nothing_leaves_the_page(page: sync_api.Page, address: str) -> None:
    with recorded(page) as activity:
        page.goto("about:blank")
        page.goto(address)
    assert activity.errors == []
    assert [request for request in activity.requests if not request.startswith(("file:", "data:", "about:"))] == []
