"""Pictures of the board, a report and the question for approval, light and dark: ``make pictures`` writes them.

The runs are of forty days of the films: two that were promoted, and one without its boosted member, which was refused.
A real Airflow makes one more, which awaits approval; it needs PostgreSQL.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Final, Literal

from playwright.sync_api import Page

from tests.conftest import AIRFLOW_HOME
from tests.support import board
from tests.support.airflow import Airflow, running
from tests.support.browser import browser, screenshot
from tests.support.projects import NAME, write_log, write_scenario

WIDTHS: Final = {1440: "", 390: "-narrow"}
SCHEMES: Final[dict[Literal["light", "dark"], str]] = {"light": "", "dark": "-dark"}
TALLEST: Final = 1100  # pixels
AT_ONCE: Final = """
id => { document.documentElement.style.scrollBehavior = 'auto'; document.getElementById(id).scrollIntoView(); }
"""  # the page scrolls smoothly, which a picture would not wait for
CHAMPION, REFUSED, AWAITING = "2013-05-09", "2013-05-10", "2013-05-11"
QUESTION, ASKED = "publish.approve", "awaiting_input"  # the task, and its state while nobody has answered
GATE: Final = {
    "absolute": [{"task": "rating", "metric": "rmse", "max": 1.7}],
    "relative": [
        {"task": "purchase", "metric": "auc", "margin": 0.02},
        {"task": "rating", "metric": "rmse", "margin": 0.02},
    ],
    "beat_floor": False,
    "lists": [],
    "replicates": 200,
}


def make_runs(root: Path) -> None:
    """Make the runs whose pages are shown."""
    write_log(root)
    write_scenario(root, title="Films", members=["popularity", "als", "shared_tail"], gate=GATE, end_date="2013-05-10")
    board.run_once(root, "2013-05-08")
    board.run_once(root, CHAMPION)
    board.run_once(root, REFUSED, members=["popularity", "als"])


def write_report(root: Path, path: Path) -> None:
    """Write the report of the champion."""
    from mtl_tasks.pipeline.past_documents import past_document
    from mtl_tasks.report import render_report

    path.write_text(render_report(past_document(board.store(root), board.run_of(root, CHAMPION))), encoding="utf-8")


def board_paths(root: Path) -> dict[str, str]:
    """Return the paths of the board to show, by the names of their pictures."""
    from mtl_tasks.pipeline.past_documents import find_lists

    champion, refused = (board.entry_of(root, day) for day in (CHAMPION, REFUSED))
    lists = find_lists(board.store(root), champion)
    if lists is None:
        raise SystemExit(
            f"the run as of {CHAMPION} has no recommendations, so it was not promoted; "
            f"include/bin/mtl registry show {NAME} {champion.run_key[:12]} --root {root} says why; "
            "loosen GATE in tests/pictures.py"
        )
    user = lists.frame("recommendations")["user_id"].iloc[0]
    here = f"/scenarios/{NAME}"
    return {
        "board-home": "/",
        "board-scenario": here,
        "board-costs": f"{here}/costs",
        "board-refused": f"{here}/runs/{refused.run_key}",
        "board-curves": f"{here}/runs/{champion.run_key}#curves",
        "board-compare": f"{here}/compare?run={champion.run_key}&run={refused.run_key}",
        "board-explore": f"{here}/explore?run={champion.run_key}&user={user}",
    }


def take(page: Page, address: str, folder: Path, name: str) -> None:
    """Write pictures of a page, one for each width and color scheme; an address with a fragment shows that section."""
    for scheme, dark in SCHEMES.items():
        page.emulate_media(color_scheme=scheme)
        for width, narrow in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 900})
            answer = page.goto(address)
            if answer is not None and not answer.ok:
                raise SystemExit(f"{address} answers {answer.status}: the page has no picture")
            height: int | None = TALLEST
            if fragment := address.partition("#")[2]:
                height = None
                page.evaluate(AT_ONCE, fragment)
            screenshot(page, folder / f"{name}{narrow}{dark}.png", width=width, max_height=height)


def take_all(root: Path, folder: Path) -> None:
    """Write the pictures of the board and of the champion's report."""
    from airflow.utils.db import initdb

    initdb()
    folder.mkdir(parents=True, exist_ok=True)
    with board.serving(root) as address, browser() as page, tempfile.TemporaryDirectory() as temporary:
        for name, path in board_paths(root).items():
            take(page, address + path, folder, name)
        report = Path(temporary) / "report.html"
        write_report(root, report)
        take(page, report.as_uri(), folder, "report")


def take_approval(root: Path, folder: Path) -> None:
    """Write pictures of the question for approval, which a real Airflow asks on a copy of the project."""
    dag = f"train_{NAME}"
    with tempfile.TemporaryDirectory() as temporary:
        home, project = Path(temporary) / "home", Path(temporary) / "project"
        home.mkdir()
        shutil.copytree(root, project)
        with running(home, project, [dag]) as airflow, browser() as page:
            run = airflow.trigger(dag, {"as_of": AWAITING, "approval": "required"})
            state = airflow.until(lambda: _state_of_question(airflow, dag, run), "the question for approval", 900)
            if state != ASKED:
                raise SystemExit(
                    f"the run as of {AWAITING} is not asked about, its task {QUESTION} is {state}: "
                    f"{airflow.follow(dag, run)['note']}; loosen GATE in tests/pictures.py"
                )
            page.context.add_cookies([{"name": "_token", "value": airflow.token("admin"), "url": airflow.url}])
            for scheme, dark in SCHEMES.items():
                page.goto(airflow.url)
                page.evaluate("scheme => localStorage.setItem('theme', scheme)", scheme)
                page.goto(f"{airflow.url}/dags/{dag}/runs/{run}/tasks/{QUESTION}/required_actions")
                page.get_by_role("button", name="Approve").wait_for()
                screenshot(page, folder / f"approval{dark}.png", width=max(WIDTHS))


def _state_of_question(airflow: Airflow, dag: str, run: str) -> str | None:
    """Return the state of the task that asks once it asks or will not."""
    state: str | None = airflow.tasks(dag, run)[QUESTION]["state"]
    return state if state in (ASKED, "skipped", "failed", "upstream_failed") else None


def main() -> None:
    """Make the runs in a temporary folder, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--project", type=Path, help="folder of the runs; those that an earlier call left are shown")
    asked = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            root = (asked.project or Path(temporary)).resolve()
            if not (root / ".store").exists():
                root.mkdir(parents=True, exist_ok=True)
                make_runs(root)
            take_all(root, asked.folder.resolve())
            take_approval(root, asked.folder.resolve())
    finally:
        shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
