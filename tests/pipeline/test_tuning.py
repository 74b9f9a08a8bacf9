"""Studies on a small world: they see nothing of the test window, go on where they ended, and say what they found."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, DataError
from mtl_tasks.pipeline.tuning.open_study import OpenStudy
from mtl_tasks.pipeline.tuning.prepare import TRIAL_CODE, code_hash, prepare_study, run_trials
from mtl_tasks.pipeline.tuning.result import conclude, read_result
from mtl_tasks.pipeline.tuning.tasks import conclude_tuning, execute_trials, prepare_tuning, tuning_note
from mtl_tasks.scenario import load_scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.documents.tuning import TuningResult
from mtl_tasks.tuning.study import SETTINGS, counts_of
from tests.support.projects import AS_OF, NAME, enter_copy, write_log, write_scenario

EARLIER = "2013-05-10"
POOR = {"rounds": 20, "threads": 1, "learning_rate": 0.9, "num_leaves": 127, "min_data_in_leaf": 2, "lambda_l2": 0.0}
SPACE = {
    "boosting.learning_rate": {"low": 0.05, "high": 0.2, "log": True},
    "boosting.min_data_in_leaf": {"low": 20, "high": 200, "log": True},
}
MEMBERS = ["popularity", "independent"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the features of the studies in its store."""
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    write_scenario(root, members=MEMBERS, boosting=POOR, tuning={"space": SPACE})
    with contextlib.chdir(root):
        prepared(1)
    return root


@pytest.fixture
def inside(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(project, tmp_path, monkeypatch)


def prepared(trials: int, days: tuple[str, ...] = (AS_OF,), store: str = ".store") -> OpenStudy:
    scenario = load_scenario(NAME)
    return prepare_study(
        scenario, [AsOf.parse(day) for day in days], trials, Store(store), None, lambda stage, result: None
    )


def tuned(trials: int, days: tuple[str, ...] = (AS_OF,)) -> tuple[OpenStudy, TuningResult]:
    opened = prepared(trials, days)
    run_trials(opened, lambda trial, finished, best: None)
    return opened, conclude(opened)


def values(opened: OpenStudy) -> list[tuple[dict[str, Any], float | None]]:
    return [(trial.user_attrs[SETTINGS], trial.value) for trial in opened.study.get_trials()]


def rewritten(root: Path, change: Any) -> None:
    """Change the ratings of the log's days from the first of the test window on."""
    for path in sorted((root / "log").rglob("*.parquet")):
        if path.parent.name.removeprefix("dt=") >= "2013-05-06":
            frame = pd.read_parquet(path)
            frame["rating"] = change(frame["rating"])
            frame.to_parquet(path, index=False)


def test_a_change_of_any_module_that_trials_depend_on_makes_another_study(tmp_path: Path) -> None:
    names = [folder.parent.name for folder in TRIAL_CODE]
    assert names == ["mtl_tasks", "pipeline"]
    copies = [Path(shutil.copytree(folder, tmp_path / folder.parent.name)) for folder in TRIAL_CODE]
    assert code_hash(copies) == code_hash(TRIAL_CODE)
    for copy in copies:
        before = code_hash(copies)
        with next(copy.glob("*.py")).open("a") as file:
            file.write("# changed\n")
        assert code_hash(copies) != before


def test_labels_of_the_test_window_change_no_trial(inside: Path) -> None:
    before, _ = tuned(3)
    rewritten(inside, lambda rating: 10 - rating)
    after, _ = tuned(3)
    assert after.spec.name != before.spec.name  # the log is another, so its trials are not mixed with the first's
    assert values(after) == values(before)
    assert after.spec.others == (before.spec.name,)


def test_labels_before_the_test_window_change_trials(inside: Path) -> None:
    before, _ = tuned(2)
    path = inside / "log" / "dt=2013-05-03" / "part-0.parquet"
    frame = pd.read_parquet(path)
    frame.assign(rating=10 - frame["rating"]).to_parquet(path, index=False)
    after, _ = tuned(2)
    assert [value for _, value in values(after)] != [value for _, value in values(before)]


def test_poor_settings_are_improved_and_the_change_can_be_applied(inside: Path) -> None:
    opened, result = tuned(6, (EARLIER, AS_OF))
    assert result.as_of == (EARLIER, AS_OF)
    assert result.confirmed
    assert result.conclusion.startswith("gain: ")
    assert result.gain is not None
    assert result.gain.low > 0
    assert result.best_value < result.shipped_value
    assert (result.shipped["boosting.learning_rate"], result.shipped["boosting.min_data_in_leaf"]) == (0.9, 2)
    assert result.widened == ("boosting.learning_rate", "boosting.min_data_in_leaf")
    assert {(one.as_of, one.task) for one in result.tasks} == {
        (day, task) for day in (EARLIER, AS_OF) for task in ("rating", "purchase")
    }
    assert result.diff is not None
    added = {line[1:].strip() for line in result.diff.splitlines() if line.startswith("+  ")}
    best = {key.removeprefix("boosting."): value for key, value in result.best.items()}
    assert {yaml.safe_dump({key: best[key]}).strip() for key in best if best[key] != POOR[key]} == added
    assert read_result(opened.folder) == result
    assert json.loads((opened.folder / "result.json").read_text())["schema_version"] == 1


def test_settings_that_gain_nothing_are_not_proposed(inside: Path) -> None:
    write_scenario(
        inside, members=MEMBERS, tuning={"space": {"boosting.bagging_fraction": {"low": 0.79, "high": 0.81}}}
    )
    _, result = tuned(2)
    assert not result.confirmed
    assert result.diff is None
    assert result.conclusion.startswith("no gain")


def test_only_the_known_settings_are_no_gain(inside: Path) -> None:
    _, result = tuned(1)
    assert result.conclusion == "no gain: no settings had a lower loss than the scenario's own"
    assert result.gain is None
    assert result.trials.begun == 1


def test_the_same_command_again_makes_nothing_and_a_larger_number_extends_the_study(inside: Path) -> None:
    first = values(tuned(2)[0])
    assert values(tuned(2)[0]) == first
    longer, result = tuned(3)
    assert values(longer)[:2] == first
    assert result.trials.complete + result.trials.pruned == 3


def test_another_version_of_the_scenario_has_a_study_of_its_own(inside: Path) -> None:
    first = prepared(1)
    write_scenario(inside, members=MEMBERS, boosting={**POOR, "rounds": 10}, tuning={"space": SPACE})
    second = prepared(1)
    assert second.spec.name != first.spec.name
    assert first.spec.name in second.spec.others
    narrower = {"boosting.learning_rate": {"low": 0.05, "high": 0.1}}
    write_scenario(inside, members=MEMBERS, boosting=POOR, tuning={"space": narrower})
    assert prepared(1).spec.name not in (first.spec.name, second.spec.name)


def test_applied_settings_become_the_known_ones_of_the_same_study(inside: Path) -> None:
    wide = {"boosting.learning_rate": {"low": 0.05, "high": 0.9}}
    write_scenario(inside, members=MEMBERS, boosting=POOR, tuning={"space": wide})
    first = prepared(1)
    write_scenario(inside, members=MEMBERS, boosting={**POOR, "learning_rate": 0.1}, tuning={"space": wide})
    second, result = tuned(2)
    assert second.spec.name == first.spec.name
    assert [settings["boosting.learning_rate"] for settings, _ in values(second)] == [0.9, 0.1]
    assert result.shipped == {"boosting.learning_rate": 0.1}


@pytest.mark.parametrize(
    ("days", "trials", "message"),
    [
        ((AS_OF,), 0, "trials: 0 is not at least 1"),
        ((AS_OF, AS_OF), 3, "as_of: give at least one day, and each day once"),
        ((), 3, "as_of: give at least one day"),
    ],
)
def test_a_study_that_cannot_be_is_refused(days: tuple[str, ...], trials: int, message: str, inside: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        prepared(trials, days)


def test_a_day_without_a_log_is_refused(inside: Path) -> None:
    with pytest.raises(DataError, match="2013-03-01"):
        prepared(2, ("2013-03-01",))


def scheduled(root: Path, **params: Any) -> Iterator[Any]:
    now = datetime(2013, 5, 11, 6, tzinfo=UTC)
    given = {"as_of": None, "trials": 3, "workers": 2, **params}
    return prepare_tuning(  # type: ignore[return-value]
        NAME, given, params, interval_end=None, run_after=now, now=now, store=str(root / ".store"), storage=None
    )


def test_a_scheduler_runs_the_study_in_several_processes(inside: Path) -> None:
    spec: Any = scheduled(inside)
    spec = type(spec).model_validate(json.loads(json.dumps(spec.to_json())))
    assert [day.as_of.iso for day in spec.days] == [AS_OF]
    assert execute_trials(spec, None, worker=1, workers=2) == 2
    assert execute_trials(spec, None, worker=0, workers=2) == 0
    result = conclude_tuning(spec, None)
    assert counts_of(OpenStudy.of(spec, None).study).finished == 3
    note = tuning_note(result)
    assert note.startswith(f"3 trials as of {AS_OF}: {result.conclusion}")
    assert ("proposed: boosting." in note) == result.confirmed


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"as_of": "2013-05-11"}, "as_of: must be a list of days as YYYY-MM-DD, or null"),
        ({"as_of": ["2013-05-32"]}, "as_of '2013-05-32' is not a date"),
        ({"as_of": ["2014-05-11"]}, "as_of 2014-05-11 is in the future"),
    ],
)
def test_wrong_parameters_of_a_scheduler_are_refused(params: dict[str, Any], message: str, inside: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        scheduled(inside, **params)
