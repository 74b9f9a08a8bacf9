"""Growing on from an earlier member: exact where it can be, refused with the reason where it may not be."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ConfigError, MtlError
from mtl_tasks.models import member_class
from mtl_tasks.models.boosted import BoostedMember
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.report.document import RunDocument
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import Registry
from tests.contracts.member import draw_table, member_scenario
from tests.support.projects import NAME, run_until, write_log, write_scenario

FIRST, SECOND = "2013-05-10", "2013-05-11"
MEMBERS = ["popularity", "independent", "cascade", "shared", "shared_tail"]


def fit(kind: str, earlier: BoostedMember | None = None, **boosting: Any) -> BoostedMember:
    cls = member_class(kind)  # type: ignore[arg-type]
    assert issubclass(cls, BoostedMember)
    settings = {"patience": 1000, "learning_rate": 0.01, **boosting}
    return cls.fit(draw_table(600, 1), draw_table(300, 2), member_scenario(**settings), earlier)


def test_shared_trees_that_were_interrupted_are_those_that_were_not() -> None:
    # A low rate, so that every round is better on tune and no round is cut off.
    slow = {"shared": {"learning_rate": 0.002}}
    whole = fit("shared", rounds=300, **slow)
    half = fit("shared", rounds=256, **slow)
    assert half.learned.trees["like"].rounds == [256]
    resumed = fit("shared", half, rounds=300, **slow)
    unseen = draw_table(400, 3).features
    for task, scores in whole.raw_scores(unseen, ["rating", "like", "purchase"]).items():
        assert whole.learned.trees[task].rounds == resumed.learned.trees[task].rounds == [300]
        assert resumed.learned.trees[task].inherited == [256]
        assert np.abs(scores - resumed.raw_scores(unseen, [task])[task]).max() < 1e-12


@pytest.mark.parametrize("kind", ["independent", "shared", "shared_tail"])
def test_a_member_that_was_grown_on_keeps_its_start_through_refit_and_files(kind: str) -> None:
    earlier = fit(kind, rounds=10)
    member = fit(kind, earlier, rounds=25)
    refitted = member.refit(draw_table(900, 4), earlier.refit(draw_table(800, 5)))
    unseen = draw_table(400, 3).features
    for made in (member, refitted):
        for task, trees in made.learned.trees.items():
            assert trees.inherited == earlier.learned.trees[task].rounds
            assert trees.inherited[0] < trees.rounds[0] <= 25
            native = trees.boosters[0].predict(unseen.to_numpy(dtype=np.float32), raw_score=True)
            assert np.abs(made.raw_scores(unseen, [task])[task] - native).max() < 1e-12
        loaded = type(made).load(made.files(), made.scenario)
        assert np.array_equal(loaded.predict(unseen)["like"], made.predict(unseen)["like"])
    assert not np.array_equal(refitted.predict(unseen)["like"], member.predict(unseen)["like"])


def test_trees_are_grown_on_from_those_of_the_same_loss_only() -> None:
    squared = fit("independent", rounds=10)
    learned, rating = draw_table(600, 1), squared.scenario.tasks["rating"].model_copy(update={"loss": "log_loss"})
    scenario = squared.scenario.model_copy(update={"tasks": {**squared.scenario.tasks, "rating": rating}})
    anew = type(squared).fit(learned, draw_table(300, 2), scenario, squared)
    assert {task: trees.inherited for task, trees in anew.learned.trees.items()} == {
        "rating": [0],
        "like": [10],
        "purchase": [10],
    }
    on = type(squared).fit(learned, draw_table(300, 2), scenario, anew)
    assert on.learned.trees["rating"].inherited == anew.learned.trees["rating"].rounds


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("warm_start")
    boosting = {"rounds": 400, "threads": 1, "patience": 5, "learning_rate": 0.3, "warm_start": "champion"}
    for name in (NAME, "other"):
        write_scenario(root, name, members=MEMBERS, boosting=boosting)
    write_log(root)
    return root


def run(project: Path, as_of: str, name: str = NAME, **overrides: Any) -> RunDocument:
    with contextlib.chdir(project):
        return run_pipeline(make_run(name, AsOf.parse(as_of), overrides, ".store"), lambda stage, result: None)


@pytest.fixture(scope="module")
def first(project: Path) -> RunDocument:
    return run(project, FIRST)


def note(document: RunDocument, member: str) -> str:
    return str(document.describe[member].transfer)


def test_without_a_champion_trees_grow_from_scratch_and_the_report_says_so(first: RunDocument) -> None:
    for member in ("independent", "shared", "shared_tail"):
        assert note(first, member) == f"trained from scratch: no run of small was published before {FIRST}"
    assert first.describe["cascade"].transfer is not None


def test_the_next_day_grows_on_from_the_champion(first: RunDocument, project: Path) -> None:
    second = run(project, SECOND)
    for member in ("independent", "shared", "shared_tail"):
        assert note(second, member) == f"warm-started from small as of {FIRST} (run {first.run_key[:12]})"
    assert note(second, "cascade").startswith("trained from scratch: a cascade's folds may not know")
    entry = Registry(Store(str(project / ".store")), NAME).get(second.run_key)
    facts = json.loads(Store(str(project / ".store")).open(entry.refs["member:shared"]).read("model.shared.json"))
    assert facts["tasks"]["rating"]["inherited"][0] > 0
    again = run(project, SECOND)
    assert all(stage.reused for stage in again.stages)


def test_factors_of_other_dimensions_than_the_champions_are_fitted_from_scratch_and_the_manifest_says_so(
    first: RunDocument, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def scratch(**overrides: Any) -> list[str]:
        _, results = run_until(project, "factors", SECOND, ".store", **{"factors.warm_start": "champion", **overrides})
        summary = Store(str(project / ".store")).open(results["factors"].ref).summary
        assert summary["warm_start"] == first.run_key
        return list(summary["started_from_scratch"])

    assert scratch() == []
    [problem] = scratch(**{"factors.dimensions": 6})
    assert problem == (
        "factors 'taste': the earlier run's have 8 dimensions, the scenario asks for 6: fitted from scratch"
    )
    assert problem in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"boosting.seeds": 2}, r"has boosting\.seeds 1, and this scenario 2: set both to the same number"),
        ({"features.raw_factors": True}, "trees cannot be warm-started with features.raw_factors"),
        (
            {"features.windows": [7, 14]},
            r"learned from different features: \d+ that this run lacks \(.*\), and this run has \d+ more",
        ),
        (
            {"windows.test": 7, "windows.train": 8},
            r"learned from days before 2013-04-27, of which this run chooses rounds on",
        ),
        ({"boosting.warm_start": "nobody"}, r"boosting\.warm_start: no scenario 'nobody' \(known: other, small\)"),
        ({"boosting.warm_start": "other"}, r"boosting\.warm_start: no run of other was published before"),
    ],
)
def test_a_start_that_does_not_fit_is_refused_with_the_reason(
    first: RunDocument, project: Path, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(project, SECOND, **overrides)


def test_another_scenario_can_be_grown_on_from(first: RunDocument, project: Path) -> None:
    made = run(project, SECOND, "other", **{"boosting.warm_start": NAME, "members": ["popularity", "shared"]})
    assert note(made, "shared").startswith(f"warm-started from small as of {FIRST}")


def test_a_champion_that_kept_no_start_and_one_that_has_grown_enough_are_not_grown_on_from(
    first: RunDocument, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    few = run(project, SECOND, **{"boosting.rounds": 2, "members": ["popularity", "independent"]})
    assert "boosting.rounds is 2" in note(few, "independent")
    assert "trained from scratch" in caplog.text
    with pytest.raises(MtlError, match="no entry of run"):
        Registry(Store(str(project / ".store")), NAME).get("0" * 64)
