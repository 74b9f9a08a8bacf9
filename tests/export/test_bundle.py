"""A bundle predicts as the run's models do, from a Python that lacks the project, and refuses what it cannot score."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ConfigError
from mtl_tasks.export.bundle import bundle_files
from mtl_tasks.export.scoring import BundleError, load
from mtl_tasks.models import Member, Table, member_class
from mtl_tasks.models.fusion import fuse
from mtl_tasks.models.linear import PopularityMember
from mtl_tasks.scenario import MemberKind, Scenario
from tests.conftest import PROJECT
from tests.contracts.member import draw_table, member_scenario

KINDS: tuple[MemberKind, ...] = ("popularity", "als", "independent", "cascade", "shared_tail", "distilled")
ABOUT = {"scenario": "tiny", "as_of": "2013-05-07", "run_key": "0" * 64, "status": "promoted"}
MAPS = {
    "rating": {"kind": "none"},
    "like": {"kind": "platt", "slope": 0.9, "offset": 0.1},
    "purchase": {"kind": "isotonic", "x": [0.1, 0.5, 0.9], "y": [0.2, 0.4, 0.8]},
}


def with_categories(table: Table, seed: int) -> Table:
    colors = np.random.default_rng(seed).choice(["red", "blue", "green"], len(table.features))
    table.features["color"] = pd.Categorical(np.where(colors == "green", None, colors))
    return table


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return member_scenario(rounds=8, seeds=2)


@pytest.fixture(scope="module")
def members(scenario: Scenario) -> dict[str, Member]:
    train, tune = with_categories(draw_table(600, 1), 1), with_categories(draw_table(300, 2), 2)
    return {kind: member_class(kind).fit(train, tune, scenario) for kind in KINDS}


@pytest.fixture(scope="module")
def unseen() -> pd.DataFrame:
    return with_categories(draw_table(400, 3), 3).features


def fusions_of(scenario: Scenario, names: tuple[str, ...] = KINDS) -> dict[str, dict[str, Any]]:
    weights = {name: round((place + 1) / sum(range(1, len(names) + 1)), 6) for place, name in enumerate(names)}
    return {
        task: {"method": "weighted", "members": list(names), "weights": weights, "calibration": MAPS[task]}
        for task in scenario.tasks
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def bundle(scenario: Scenario, members: dict[str, Member], tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = bundle_files(scenario, members, fusions_of(scenario), ABOUT)
    return write(tmp_path_factory.mktemp("export") / "bundle", files)


def test_every_member_kind_is_scored_as_in_the_run(
    bundle: Path, scenario: Scenario, members: dict[str, Member], unseen: pd.DataFrame
) -> None:
    made = load(bundle).predict(unseen)
    for task, fusion in fusions_of(scenario).items():
        predictions = {name: member.predict(unseen)[task] for name, member in members.items()}
        expected = fuse(fusion, predictions, scenario.tasks[task].kind)
        np.testing.assert_allclose(made[task], expected, rtol=1e-12, atol=1e-12)


def test_a_vote_is_exported_too(
    scenario: Scenario, members: dict[str, Member], unseen: pd.DataFrame, tmp_path: Path
) -> None:
    names = ("independent", "als", "popularity")
    plain = {
        "method": "vote",
        "members": list(names),
        "weights": dict.fromkeys(names, 1 / 3),
        "calibration": {"kind": "none"},
    }
    fusions = {task: plain | ({} if task == "rating" else {"thresholds": [0.3, 0.4, 0.5]}) for task in scenario.tasks}
    few = {name: members[name] for name in names}
    made = load(write(tmp_path / "bundle", bundle_files(scenario, few, fusions, ABOUT))).predict(unseen)
    for task, fusion in fusions.items():
        predictions = {name: member.predict(unseen)[task] for name, member in few.items()}
        expected = fuse(fusion, predictions, scenario.tasks[task].kind)
        np.testing.assert_allclose(made[task], expected, rtol=1e-12, atol=1e-12)


def test_a_python_without_the_project_scores_it(bundle: Path, unseen: pd.DataFrame, tmp_path: Path) -> None:
    rows = unseen.head(20)
    columns = {name: rows[name].astype(object).where(rows[name].notna(), None).tolist() for name in rows}
    (tmp_path / "rows.json").write_text(json.dumps(columns))
    packages = str(Path(lightgbm.__file__).parents[1])
    program = f"""
import json, sys
sys.path[:] = [path for path in sys.path if {str(PROJECT)!r} != path and path != ""] + [{packages!r}]
sys.path.insert(0, {str(bundle)!r})
import scoring
try:
    import mtl_tasks
    sys.exit("the project can be imported")
except ImportError:
    pass
made = scoring.load({str(bundle)!r}).predict(json.load(open({str(tmp_path / "rows.json")!r})))
print(json.dumps({{task: values.tolist() for task, values in made.items()}}))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    for task, values in load(bundle).predict(rows).items():
        assert json.loads(done.stdout)[task] == values.tolist()


def test_members_without_weight_are_not_part_of_it(scenario: Scenario, members: dict[str, Member]) -> None:
    fusions = fusions_of(scenario)
    for fusion in fusions.values():
        fusion["weights"] = {name: float(name == "als") for name in KINDS}
    assert set(bundle_files(scenario, members, fusions, ABOUT)) == {
        *("manifest.json", "fusion.json", "als.json", "scoring.py")
    }


class Further(PopularityMember):
    """A member of a kind that bundles do not know."""

    kind = "further"


def test_a_member_that_cannot_be_exported_is_refused_by_name(scenario: Scenario) -> None:
    further = Further.fit(draw_table(300, 1), draw_table(300, 2), scenario)
    with pytest.raises(ConfigError, match=r"export: the member 'further' cannot be scored outside .* of rating, like"):
        bundle_files(scenario, {"further": further}, fusions_of(scenario, ("further",)), ABOUT)


@pytest.mark.parametrize("name", ["fusion.json", "als.json", "independent.like.0.lightgbm.txt", "scoring.py"])
def test_a_damaged_or_missing_file_is_refused_by_name(bundle: Path, tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "copy", {path.name: path.read_bytes() for path in bundle.iterdir() if path.is_file()})
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"#")
    with pytest.raises(BundleError, match=rf"{name}: is not the file that was written"):
        load(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"{name}: named by the manifest but cannot be read"):
        load(folder)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [(b"{", "cannot be read"), (b'{"schema": 2}', "its schema is 2, this module reads 1"), (b"[]", "schema is None")],
)
def test_another_manifest_is_refused(tmp_path: Path, manifest: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        load(write(tmp_path / "other", {"manifest.json": manifest}))


def test_wrong_features_are_refused_by_name(bundle: Path, unseen: pd.DataFrame) -> None:
    opened = load(bundle)
    with pytest.raises(BundleError, match=r"feature 'taste\.dot' is missing"):
        opened.predict(unseen.drop(columns="taste.dot"))
    with pytest.raises(BundleError, match=r"feature 'taste\.dot': must be numbers"):
        opened.predict(unseen.assign(**{"taste.dot": "many"}))
    with pytest.raises(BundleError, match="different lengths: 3, 400 rows"):
        opened.predict({**dict(unseen.items()), "taste.dot": [1.0, 2.0, 3.0]})
    with pytest.raises(BundleError, match="no task 'buy' in the bundle"):
        opened.predict(unseen, ["buy"])
