"""The regret benchmark measures what a run measures, averages it as it says, and goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.report import labels
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from tests.benchmarks import regret
from tests.benchmarks.rankers import CHOICES, choice
from tests.benchmarks.regret import FOLDER, Options, Plan, measure_missing, regrets, table
from tests.benchmarks.stages import results_until
from tests.support.projects import AS_OF, NAME, write_log, write_scenario


def entry(metric: str, fusion: float, boosted_mean: float, **members: float) -> dict[str, Any]:
    return {"metric": metric, "fusion": fusion, "boosted_mean": boosted_mean, "members": members}


def record(scenario: str, as_of: str, **tasks: dict[str, Any]) -> dict[str, Any]:
    return {"scenario": scenario, "as_of": as_of, "tasks": tasks}


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (entry("auc", 0.70, 0.69, als=0.60, independent=0.71), (-0.01, 0.01)),
        (entry("rmse", 0.70, 0.69, als=0.60, independent=0.71), (-0.10, -0.01)),
    ],
)
def test_a_regret_is_positive_where_the_fusion_is_better(
    measured: dict[str, Any], expected: tuple[float, float]
) -> None:
    assert regrets(measured) == pytest.approx(expected)


def test_every_task_counts_once_in_the_average_whatever_its_number_of_dates() -> None:
    records = [
        record("shop", "2024-03-04", purchase=entry("auc", 0.7002, 0.7001, independent=0.7000)),
        record("shop", "2024-03-14", purchase=entry("auc", 0.7000, 0.7001, independent=0.7004)),
        record("news", "2022-05-09", click=entry("auc", 0.7010, 0.7006, independent=0.7000)),
    ]
    shop, news, average = table(records).splitlines()[2:]
    assert shop == "| shop | purchase | AUC | 2 | **−1.0** | **+0.0** | +2.0, −4.0 | +1.0, −1.0 |"
    assert news == "| news | click | AUC | 1 | **+10.0** | **+4.0** | +10.0 | +4.0 |"
    assert average == "| average of the tasks | | AUC | 2 | **+4.5** | **+2.0** | | |"


def test_a_date_outside_the_plans_is_refused() -> None:
    with pytest.raises(ConfigError, match="--days: movies=2013-09-03 is not in PLANS"):
        Options(only=["movies=2013-09-03"]).runs()


def test_a_run_is_measured_once_and_as_its_evaluation_measures_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(regret, "PLANS", {NAME: Plan((AS_OF,))})
    options = Options(jobs=1)
    assert list(measure_missing("store", options)) == [(NAME, AS_OF, None)]
    assert list(measure_missing("store", options)) == []

    found = json.loads((FOLDER / f"{NAME}-{AS_OF}.json").read_text())["tasks"]
    run = make_run(NAME, AsOf.parse(AS_OF), {"boosting.threads": 1}, "store")
    evaluated = run.store.open(results_until(run, "evaluate")["evaluate"].ref)
    tasks = read_document(evaluated, "evaluation", Evaluation).tasks
    assert set(found) == set(tasks)
    for task, made in found.items():
        assert made["fusion"] == pytest.approx(tasks[task].fusion[made["metric"]].value, abs=1e-6)
        members = {name: measured[made["metric"]].value for name, measured in tasks[task].members.items()}
        assert made["members"] == pytest.approx(members, abs=1e-6)


def test_a_date_of_the_rankers_shows_the_choice_and_what_it_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path)
    write_scenario(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = make_run(NAME, AsOf.parse(AS_OF), {"boosting.threads": 1}, "store")
    row = dict(zip(CHOICES, choice(run), strict=True))
    ranking = read_document(
        run.store.open(results_until(run, "evaluate")["evaluate"].ref), "evaluation", Evaluation
    ).ranking
    values = {name: metrics["ndcg"].value or 0.0 for name, metrics in ranking.by_ranker.items()}
    assert row["scenario"] == NAME
    assert row["chosen ranker"] == labels.list_title(ranking.published)
    assert row["NDCG"].startswith(f"{values[ranking.published]:.4f} [")
    assert float(row["ALS"]) == pytest.approx(values["als"], abs=5e-5)
    lost = float(row["chosen − best"].replace("−", "-"))
    assert lost == pytest.approx(values[ranking.published] - max(values.values()), abs=1e-4)
