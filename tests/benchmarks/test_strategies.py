"""The table of training strategies compares the members of a run on the same rows."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from mtl_tasks.store.registry import Registry
from tests.benchmarks.strategies import (
    DAYS,
    HEADINGS,
    SEPARATE,
    STRATEGIES,
    Case,
    Options,
    fit,
    measure,
    parse_days,
    table,
)
from tests.support.projects import AS_OF, NAME, enter_copy, write_log, write_scenario

TRANSFER = STRATEGIES[-1]
BOOSTING = {"rounds": 100, "patience": 2, "learning_rate": 0.3, "threads": 1}  # trees that have room to grow on


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose store has the member that is warm-started, and thus a champion of the day before."""
    root = tmp_path_factory.mktemp("strategies")
    write_log(root)
    write_scenario(root, boosting=BOOSTING)
    with contextlib.chdir(root):
        fit(_case(), TRANSFER)
    return root


@pytest.fixture
def case(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    enter_copy(project, tmp_path, monkeypatch)
    return _case()


def _case() -> Case:
    return Case("store", NAME, AS_OF, Options({NAME: AS_OF}, age=1))


def test_each_strategy_has_a_row_a_task_beside_separate_training(case: Case) -> None:
    before, notes = _manifests(), list[str]()
    shared = next(strategy for strategy in STRATEGIES if strategy.member == "shared")
    cells = table(case, (SEPARATE, shared, TRANSFER), notes, fit)
    rows = [dict(zip(HEADINGS, row, strict=True)) for row in cells]

    assert [row["task"] for row in rows] == ["purchase", "rating"] * 3
    assert [row["member"] for row in rows] == ["independent", "", "shared", "", "independent, warm start", ""]
    assert [row["scenario"] for row in rows] == [NAME, *[""] * 5]
    assert [row["gain over separate"] for row in rows[:2]] == ["–", "–"]
    assert all("[" in row["gain over separate"] for row in rows[2:])
    assert all(float(rows[at]["peak MiB"]) > 0 for at in (0, 2, 4))
    [note] = notes
    assert note.startswith(f"{NAME}, independent, warm start: warm-started from {NAME} as of 2013-05-10")
    # Nothing else is made, and what is there is reused.
    assert {path.parts[3] for path in _manifests() - before} == {"member-independent", "member-shared"}


def _manifests() -> set[Path]:
    return set(Path("store").rglob("manifest.json"))


def test_a_strategy_that_cannot_be_is_a_note(case: Case) -> None:
    elsewhere = replace(TRANSFER, settings={"boosting.warm_start": "nowhere"}, detail=", elsewhere")
    notes: list[str] = []
    assert not list(table(case, (elsewhere,), notes))
    [note] = notes
    assert note.startswith(f"{NAME}, independent, elsewhere: not fitted: boosting.warm_start: no scenario 'nowhere'")


def test_separate_training_is_that_of_a_run(case: Case) -> None:
    [champion] = Registry(Store("store"), NAME).entries()
    earlier = case.earlier()
    assert champion.as_of == earlier.as_of == "2013-05-10"
    stored = {stage: Store("store").open(ref) for stage, ref in champion.refs.items()}
    usage = stored["member:independent"].manifest["usage"]
    fitted = fit(earlier, SEPARATE)
    assert (fitted.cpu_seconds, fitted.peak_mb, fitted.note) == (usage["cpu_seconds"], usage["peak_rss_mb"], None)

    evaluated = read_document(stored["evaluate"], "evaluation", Evaluation).tasks
    for cells in table(earlier, (SEPARATE,), [], fit):
        row = dict(zip(HEADINGS, cells, strict=True))
        metric = {"rating": "rmse", "purchase": "auc"}[row["task"]]
        assert row["value"].startswith(f"{evaluated[row['task']].members['independent'][metric].value:.4f} [")


def test_a_start_from_scratch_is_no_transfer(case: Case) -> None:
    with pytest.raises(ConfigError, match="trained from scratch: small as of 2013-05-10 has no member shared"):
        fit(case, replace(TRANSFER, member="shared"))


def test_a_gain_is_paired_and_positive_if_better() -> None:
    rng = np.random.default_rng(0)
    users = rng.integers(50, size=400)
    label = rng.normal(size=400)
    label[::5] = np.nan
    near, far = label + rng.normal(0, 0.1, 400), label + rng.normal(0, 1.0, 400)
    seen = ~np.isnan(label)
    value, gain = measure("rmse", label, near, far, users)
    expected = compute("rmse", label[seen], near[seen])
    assert (value.value, value.rows) == (expected, 320)
    assert gain.value == pytest.approx(compute("rmse", label[seen], far[seen]) - expected)
    assert gain.value is not None
    assert gain.bounds is not None
    assert 0 < gain.bounds[0] < gain.value < gain.bounds[1]
    assert measure("rmse", label, far, far, users)[1].bounds == (0, 0)


def test_a_day_that_is_not_readable_is_refused() -> None:
    assert parse_days([]) == DAYS
    with pytest.raises(ConfigError, match="'movies' is not of the form SCENARIO=YYYY-MM-DD"):
        parse_days(["movies"])


def test_another_scenario_to_transfer_from_is_a_strategy_of_its_own() -> None:
    assert Options(DAYS).strategies == STRATEGIES
    *others, last = Options(DAYS, source="social").strategies
    assert tuple(others) == STRATEGIES
    assert (last.name, last.settings) == ("independent, warm start from social", {"boosting.warm_start": "social"})
