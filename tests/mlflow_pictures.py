"""Pictures of MLflow's pages: ``make mlflow-pictures`` writes the curves of a member and the registered model.

The runs are of two days of the films, each promoted, written to a server that runs only for the pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from playwright.sync_api import Page

from mtl_tasks.core.days import AsOf
from mtl_tasks.integrations.mlflow_models import ALIAS
from mtl_tasks.pipeline.local import make_run, run_pipeline
from tests.support.browser import browser
from tests.support.projects import AS_OF, NAME, write_log, write_scenario
from tests.support.tracking_server import tracking_server

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DAYS: Final = ("2013-05-10", AS_OF)
EXPERIMENT: Final = "films"
MEMBER: Final = "independent"
CURVES: Final = "rating.rmse.t"  # of train and of tune
WIDTH, HEIGHT = 1200, 620  # pixels
PATIENCE_MS: Final = 240_000
DRAWING_MS: Final = 3_000


def make_runs(root: Path, uri: str) -> MlflowClient:
    """Make the runs, which are written to the server."""
    from mlflow.tracking import MlflowClient

    write_log(root)
    write_scenario(root, tracking={"mlflow": {"uri": uri, "experiment": EXPERIMENT}})
    with contextlib.chdir(root):
        for day in DAYS:
            run_pipeline(make_run(NAME, AsOf.parse(day), {}, ".store"), lambda stage, result: None)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def curves_path(client: MlflowClient) -> str:
    """Return the path of the page with the curves of the newest run's member."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    wanted = f"tags.`mtl.member` = '{MEMBER}' and tags.`mtl.as_of` = '{AS_OF}'"
    [found] = client.search_runs([experiment.experiment_id], wanted)
    return f"/#/experiments/{experiment.experiment_id}/runs/{found.info.run_id}/model-metrics"


def take_all(page: Page, uri: str, client: MlflowClient, folder: Path) -> None:
    """Write the pictures of a server's pages."""
    page.set_default_timeout(PATIENCE_MS)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    page.goto(uri + curves_path(client))
    page.get_by_placeholder("Search metric charts").fill(CURVES)
    take(page, f"{CURVES}une", folder / "mlflow-curves.png")
    page.goto(f"{uri}/#/models/{NAME}")
    take(page, f"@ {ALIAS}", folder / "mlflow-model.png")


def take(page: Page, text: str, path: Path) -> None:
    """Write a picture of the page, once it shows a text and its charts are drawn."""
    page.get_by_text(text, exact=True).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(DRAWING_MS)
    page.screenshot(path=path, animations="disabled")


def main() -> None:
    """Make the runs in a temporary folder, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, tracking_server() as uri, browser() as page:
        take_all(page, uri, make_runs(Path(temporary), uri), folder)


if __name__ == "__main__":
    main()
