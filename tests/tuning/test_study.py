"""A study begins with the known settings, goes on where it ended, and its storage fails in one clear line."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path

import numpy as np
import optuna
import pytest
from upath import UPath

from mtl_tasks.core.errors import ArtifactError, ConfigError, StoreError
from mtl_tasks.scenario import Scenario
from mtl_tasks.tuning.objective import Objective
from mtl_tasks.tuning.space import search_space
from mtl_tasks.tuning.study import (
    SETTINGS,
    Counts,
    Pruning,
    TrialRunner,
    answering_storage,
    counts_of,
    load_study,
    open_storage,
    read_losses,
    require_optuna,
    run_until,
    shown_address,
    value_text,
)
from tests.conftest import PROJECT
from tests.tuning.sample import drawn_objective, drawn_scenario

SCENARIO = drawn_scenario()
LENIENT = Pruning(startup_trials=1000, warmup_fits=0)
Trials = list[tuple[dict[str, object], float | None]]


@pytest.fixture(scope="module")
def objective() -> Objective:
    return drawn_objective(SCENARIO)


def runner(
    folder: Path, objective: Objective, pruning: Pruning = LENIENT, scenario: Scenario = SCENARIO, worker: int = 0
) -> TrialRunner:
    """Open the study of a folder as a new process would."""
    require_optuna()
    study = load_study(open_storage(None, UPath(folder)), "drawn", pruning)
    return TrialRunner(study, search_space(scenario), objective, UPath(folder), str(folder), worker)


def tried(study: optuna.Study) -> Trials:
    states = ("COMPLETE", "PRUNED")
    return [(one.user_attrs[SETTINGS], one.value) for one in study.get_trials() if one.state.name in states]


def test_the_first_trial_has_the_scenarios_own_settings_and_is_made_once(tmp_path: Path, objective: Objective) -> None:
    first = runner(tmp_path, objective)
    first.run_shipped()
    run_until(first, 3, lambda *trial: None)
    runner(tmp_path, objective).run_shipped()
    trials = first.study.get_trials()
    assert [trial.user_attrs[SETTINGS] == first.space.shipped for trial in trials] == [True, False, False]
    assert counts_of(first.study) == Counts(complete=3, pruned=0, failed=0, interrupted=0)


def test_an_interrupted_study_goes_on_as_if_it_had_not_been(tmp_path: Path, objective: Objective) -> None:
    for folder in ("whole", "cut"):
        runner(tmp_path / folder, objective).run_shipped()
    whole = runner(tmp_path / "whole", objective)
    run_until(whole, 14, lambda *trial: None)  # ten at random, then some by the sampler's model
    run_until(runner(tmp_path / "cut", objective), 12, lambda *trial: None)
    killed = runner(tmp_path / "cut", objective)
    killed.space.suggest(killed.study.ask())  # a trial that a kill leaves at work
    again = runner(tmp_path / "cut", objective)
    run_until(again, 14, lambda *trial: None)
    assert tried(again.study) == tried(whole.study)
    assert counts_of(again.study).interrupted == 1


def test_workers_at_one_point_of_a_study_draw_different_settings(tmp_path: Path, objective: Objective) -> None:
    for worker in (0, 1):
        runner(tmp_path / str(worker), objective, worker=worker).run()
    first, second = (tried(runner(tmp_path / str(worker), objective).study)[0][0] for worker in (0, 1))
    assert first != second


def test_a_trial_that_is_worse_than_the_median_is_pruned_after_its_warm_up(
    tmp_path: Path, objective: Objective
) -> None:
    poor = {"boosting.learning_rate": 0.02, "boosting.num_leaves": 7, "boosting.min_data_in_leaf": 100}
    made = runner(tmp_path, objective, Pruning(startup_trials=2, warmup_fits=1))
    made.run_shipped()
    made.run(dict(made.space.shipped))
    made.study.enqueue_trial(poor)
    pruned = made.run()
    assert pruned.user_attrs[SETTINGS].items() >= poor.items()
    assert pruned.state.name == "PRUNED"
    assert pruned.value is not None
    assert value_text(pruned) == "pruned"
    assert list(pruned.intermediate_values) == [0, 1]  # two of the two fits: the warm-up is the first
    assert not (tmp_path / "trials" / f"{pruned.number}.npz").exists()


def test_settings_that_a_member_refuses_end_their_trial_and_no_other(tmp_path: Path, objective: Objective) -> None:
    scenario = drawn_scenario(min_data_in_leaf=20)
    made = runner(tmp_path, objective, scenario=scenario)
    made.run_shipped()
    made.study.enqueue_trial({"boosting.min_data_in_leaf": 1000})  # more than the rows have
    refused = made.run()
    assert refused.state.name == "PRUNED"
    run_until(made, 3, lambda *trial: None)
    assert counts_of(made.study).finished == 3


def test_the_losses_of_a_trial_are_kept_without_ids(tmp_path: Path, objective: Objective) -> None:
    made = runner(tmp_path, objective)
    trial = made.run()
    losses = read_losses(UPath(tmp_path), trial.number, objective)
    means = [objective.value(number, one) for number, one in enumerate(losses)]
    assert np.mean(means) == pytest.approx(trial.value)
    assert all(
        values.shape == fold.user_ids.shape
        for fold, one in zip(objective.folds, losses, strict=True)
        for values in one.values()
    )
    (tmp_path / "trials" / f"{trial.number}.npz").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="not a file of plain arrays"):
        read_losses(UPath(tmp_path), trial.number, objective)


def test_a_database_holds_the_trials_too(tmp_path: Path, objective: Objective) -> None:
    storage = open_storage(f"sqlite:///{tmp_path / 'trials.db'}", UPath(tmp_path))
    study = load_study(storage, "drawn", LENIENT)
    TrialRunner(study, search_space(SCENARIO), objective, UPath(tmp_path), "trials.db").run_shipped()
    again = load_study(open_storage(f"sqlite:///{tmp_path / 'trials.db'}", UPath(tmp_path)), "drawn", LENIENT)
    assert counts_of(again).complete == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", "storage nonsense: not an address that can be opened"),
        ("postgrsql://ann:secret@host/trials", r"storage postgrsql://ann:\*\*\*@host/trials: not an address"),
        ("redis://host", "storage redis://host: not an address that can be opened"),
    ],
)
def test_an_address_that_no_database_has_is_refused(address: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        open_storage(address, UPath(tmp_path))


def test_a_storage_that_does_not_answer_may_be_tried_again(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"storage sqlite:////.*: does not answer \(OperationalError\); run the same"):
        open_storage(f"sqlite:///{tmp_path / 'no' / 'folder' / 'trials.db'}", UPath(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"storage .*file/study: does not answer \((NotADirectory|FileExists)Error\)"):
        open_storage(None, UPath(tmp_path / "file" / "study"))


def test_a_password_is_in_no_error(tmp_path: Path) -> None:
    from sqlalchemy.exc import OperationalError

    address = "postgresql://ann:secret@host/trials"
    with pytest.raises(StoreError, match=r"ann:\*\*\*@host") as caught, answering_storage(address):
        raise OperationalError("connect", {}, Exception("wrong password: secret"))
    shown = "".join(traceback.format_exception(caught.value))
    assert "ann:***@host" in shown
    assert "secret" not in shown


@pytest.mark.parametrize("query", ["user=ann&password=secret", "sslpassword=secret"])
def test_a_password_in_the_query_is_not_shown(query: str) -> None:
    assert shown_address(f"postgresql://host/trials?{query}") == "postgresql://host/trials"
    assert "secret" not in shown_address(f"nonsense?{query}")


def test_losses_that_cannot_be_written_or_are_missing_are_not_blamed_on_the_trials(
    tmp_path: Path, objective: Objective
) -> None:
    made = runner(tmp_path, objective)
    (tmp_path / "trials").write_text("a file where the folder of losses goes")
    with pytest.raises(StoreError, match=r"trials/0\.npz: cannot be written"):
        made.run()
    assert counts_of(made.study).failed == 1
    with pytest.raises(ArtifactError, match=r"trials/7\.npz: is missing"):
        read_losses(UPath(tmp_path / "empty"), 7, objective)


def test_a_bucket_has_no_room_for_a_journal() -> None:
    with pytest.raises(ConfigError, match="this store is a bucket: give a database for the trials, such as --storage"):
        open_storage(None, UPath("memory://bucket/store/shop/tuning/study"))


def test_without_optuna_the_command_that_installs_it_is_named() -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from mtl_tasks.cli.main import main\n"
        "sys.exit(main(['tune', 'movies', '--as-of', '2013-08-25', '--trials', '3']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "tune needs Optuna" in done.stderr
    assert 'make install EXTRAS="tuning"' in done.stderr
