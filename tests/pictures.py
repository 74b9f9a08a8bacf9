"""Pictures of the board's pages: ``make pictures`` writes them to a folder, in light and dark, wide and narrow.

The runs are of forty days of the films: two that were promoted, and one without its boosted member, which was refused.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Final

from tests.conftest import AIRFLOW_HOME
from tests.support import board
from tests.support.browser import browser, screenshot
from tests.support.projects import NAME, write_log, write_scenario

WIDTHS: Final = {1440: "", 390: "-narrow"}
TALLEST: Final = 1500  # pixels
GATE: Final = {
    "absolute": [{"task": "rating", "metric": "rmse", "max": 1.7}],
    "relative": [
        {"task": "purchase", "metric": "auc", "margin": 0.005},
        {"task": "rating", "metric": "rmse", "margin": 0.02},
    ],
    "beat_floor": False,
    "lists": [],
    "replicates": 200,
}


def make_runs(root: Path) -> None:
    """Make the runs whose pages are shown."""
    write_log(root)
    write_scenario(root, title="Films", members=["popularity", "als", "shared_tail"], gate=GATE)
    board.run_once(root, "2013-05-08")
    board.run_once(root, "2013-05-09")
    board.run_once(root, "2013-05-10", members=["popularity", "als"])


def paths(root: Path) -> dict[str, str]:
    """Return the addresses to show, by the name of their pictures."""
    from mtl_tasks.pipeline.past_documents import find_lists

    champion, refused = (board.entry_of(root, f"2013-05-{day}") for day in ("09", "10"))
    lists = find_lists(board.store(root), champion)
    if lists is None:
        raise SystemExit("the promoted run has no recommendations: the gate's rules in tests/pictures.py refuse it")
    user = lists.frame("recommendations")["user_id"].iloc[0]
    here = f"/scenarios/{NAME}"
    return {
        "home": "/",
        "scenario": here,
        "costs": f"{here}/costs",
        "refused": f"{here}/runs/{refused.run_key}",
        "curves": f"{here}/runs/{champion.run_key}#curves",
        "compare": f"{here}/compare?run={champion.run_key}&run={refused.run_key}",
        "explore": f"{here}/explore?run={champion.run_key}&user={user}",
    }


def take(root: Path, folder: Path) -> None:
    """Write a picture of each page in each width and color scheme."""
    from airflow.utils.db import initdb

    initdb()
    folder.mkdir(parents=True, exist_ok=True)
    with board.serving(root) as address, browser() as page:
        for name, path in paths(root).items():
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme="light" if scheme == "light" else "dark")
                for width, suffix in WIDTHS.items():
                    page.set_viewport_size({"width": width, "height": 900})
                    page.goto(address + path)
                    file = f"board-{name}{suffix}{'-dark' if scheme == 'dark' else ''}.png"
                    screenshot(page, folder / file, width=width, max_height=None if "#" in path else TALLEST)


def main() -> None:
    """Make the runs in a temporary folder, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--project", type=Path, help="folder of the runs; those that an earlier call left are shown")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (asked.project or Path(temporary)).resolve()
        if not (root / ".store").exists():
            root.mkdir(parents=True, exist_ok=True)
            make_runs(root)
        take(root, asked.folder.resolve())
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


if __name__ == "__main__":
    main()
