"""The whole run, in this process and as a command: what is reused, what survives a kill, what is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.evaluation import drift
from mtl_tasks.models.baselines import PopularityMember
from mtl_tasks.pipeline.local import make_run, run_pipeline
from mtl_tasks.pipeline.past_documents import shown_document
from mtl_tasks.pipeline.past_runs import choose_run
from mtl_tasks.report.document import RunDocument
from mtl_tasks.store.artifacts import Ref, Store, to_json
from mtl_tasks.store.promotion import problems_of
from mtl_tasks.store.registry import Decision, Registry
from tests.conftest import PROJECT
from tests.support.forging import forge, plant
from tests.support.processes import ForkedCommand
from tests.support.projects import AS_OF, NAME, SCENARIO, write_log, write_scenario


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    write_scenario(root)
    write_log(root)
    return root


@pytest.fixture
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(project)
    return project


@pytest.fixture(scope="module")
def finished(project: Path) -> RunDocument:
    """An undisturbed run in the project's default store, of which ``pristine`` stays as it was."""
    with contextlib.chdir(project):
        document = run_pipeline(ask(), quiet)
        shutil.copytree(".store", "pristine")
    return document


def ask(store: str = ".store", as_of: str = AS_OF, force: str | None = None, **overrides: Any) -> Any:
    return make_run(NAME, AsOf.parse(as_of), overrides, store, force=force)


def quiet(stage: str, result: Any) -> None:
    """Take a progress report and say nothing."""


def artifacts(store: Path) -> dict[str, dict[str, str]]:
    """Stage/key to file name to sha256, of every published artifact but the page (which shows how long things took)."""
    found = {}
    for path in sorted(store.glob("*/*/*/*/manifest.json")):
        manifest = json.loads(path.read_bytes())
        if manifest["stage"] != "report":
            found["/".join(path.parts[-3:-1])] = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    return found


def test_a_run_ends_with_everything_a_reader_needs(finished: RunDocument) -> None:
    shown = finished.to_json()
    about = {"scenario", "as_of", "run_key", "verdict", "standing", "rulings", "drift"}
    assert set(shown) == about | {"tasks", "ranking", "stages", "report", "made_at", "origin"}
    assert shown["verdict"]["decision"] == "promote"
    for task in ("rating", "purchase"):
        assert set(shown["tasks"][task]["members"]) == {"popularity", "als", "independent"}
        assert set(shown["tasks"][task]["fusion"]) == {"method", "weights", "metrics"}
    simple = {"utility", "popularity", "popularity_1d", "als", "rrf"}
    assert set(shown["ranking"]["lists"]) == simple | {"softmax", "lambdarank", "stacked"}
    assert shown["ranking"]["published"] in shown["ranking"]["lists"]
    assert [stage["name"] for stage in shown["stages"]][:2] == ["resolve", "validate"]
    assert all(stage["seconds"] >= 0 and stage["peak_rss_mb"] > 0 for stage in shown["stages"])
    assert {stage["reused"] for stage in shown["stages"]} == {False}


def test_people_get_films_by_title_that_they_have_not_taken(finished: RunDocument, inside: Path) -> None:
    assert len(finished.sample) == 3
    for person in finished.sample:
        offered = [film.title for film in person.recommendations]
        assert offered
        assert not set(offered) & set(person.history)


@pytest.mark.faults(4)
def test_the_second_run_reuses_every_stage_with_the_same_keys(finished: RunDocument, inside: Path) -> None:
    again = run_pipeline(ask(), quiet)
    assert all(stage.reused for stage in again.stages)
    assert [stage.key for stage in again.stages] == [stage.key for stage in finished.stages]


def test_a_finished_run_is_shown_without_computing(finished: RunDocument, inside: Path) -> None:
    store = Store(".store")
    pages = len(list(Path(".store").glob("*/*/report/*")))
    with without_its_log(inside), without_its_scenario(inside):
        run, of_day = choose_run(store, NAME, AS_OF, None)
        shown = shown_document(store, run)
    assert of_day == 1
    assert shown.run_key == finished.run_key
    assert shown.to_json()["tasks"] == finished.to_json()["tasks"]
    assert shown.report == finished.report
    assert len(list(Path(".store").glob("*/*/report/*"))) == pages
    took = {stage.name: stage.seconds for stage in finished.stages}
    assert {stage.name: stage.seconds for stage in shown.stages} == took  # then, not now


@contextlib.contextmanager
def without_its_log(root: Path) -> Iterator[None]:
    """Within the block, the files that the run was made of are gone."""
    (root / "log").rename(root / "aside")
    yield
    (root / "aside").rename(root / "log")


@contextlib.contextmanager
def without_its_scenario(root: Path) -> Iterator[None]:
    """Within the block, the scenario's file is no scenario."""
    path = root / "include" / "scenarios" / f"{NAME}.yaml"
    content = path.read_text()
    path.write_text("windoes: {}")
    yield
    path.write_text(content)


def test_a_run_that_was_never_made_cannot_be_shown(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["show", NAME, "--as-of", AS_OF, "--store", "elsewhere"], capsys)
    assert f"{NAME} as of {AS_OF}: no run in elsewhere: run it first" in line
    assert "as_of is missing" in refused(["show", NAME], capsys)
    assert "did you mean 'small'?" in refused(["show", "smal", "--as-of", AS_OF], capsys)


def test_of_several_runs_of_a_day_the_newest_or_the_one_asked_for_is_shown_with_the_command_that_made_it(
    finished: RunDocument, inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    shutil.copytree(inside / "pristine", store)
    overrides = {"gate.absolute": [{"task": "rating", "metric": "rmse", "max": 0.1}]}
    newest = run_pipeline(ask(store, **overrides), quiet, overrides)
    command = ["show", NAME, "--as-of", AS_OF, "--store", store, "--json"]
    assert cli.main(command) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["run_key"] == newest.run_key
    assert f"note: 2 runs of {NAME} are as of {AS_OF}; this is the newest, {newest.run_key[:12]}" in err
    assert cli.main([*command, "--run", finished.run_key[:12]]) == 0
    assert json.loads(capsys.readouterr().out)["run_key"] == finished.run_key
    assert "leave --as-of out" in refused(
        ["show", NAME, "--as-of", "2013-05-01", "--run", newest.run_key[:12], "--store", store], capsys
    )
    retire(store, newest.run_key)
    page = shown_document(Store(store), choose_run(Store(store), NAME, None, newest.run_key)[0]).report
    assert page != newest.report  # it says that the run was retired
    assert "--set" in Path(page).read_text(encoding="utf-8")


def retire(store: str, run_key: str) -> None:
    ruling = Decision(run_key, AS_OF, "retire", "ada", "too eager", "2013-05-12T08:00:00+00:00")
    Registry(Store(store), NAME).append(ruling)


@pytest.mark.faults(4)
def test_two_runs_from_scratch_give_identical_bytes(finished: RunDocument, inside: Path, tmp_path: Path) -> None:
    run_pipeline(ask(str(tmp_path)), quiet)
    assert artifacts(tmp_path) == artifacts(inside / "pristine")


def test_a_changed_gate_trains_nothing_again(finished: RunDocument, inside: Path) -> None:
    run = ask(**{"gate.absolute": [{"task": "rating", "metric": "rmse", "max": 0.1}]})
    document = run_pipeline(run, quiet)
    made = {stage.name for stage in document.stages if not stage.reused}
    assert made == {"gate", "publish", "report"}
    assert document.verdict.decision == "reject"
    assert document.verdict.reasons[0].startswith("rating rmse <= 0.1: fails, rmse is ")
    assert document.sample == ()


def test_a_dry_run_promotes_nothing(finished: RunDocument, inside: Path, tmp_path: Path) -> None:
    shutil.copytree(inside / "pristine", tmp_path / "store")
    store = str(tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / NAME / "registry")
    run_pipeline(ask(store, **{"gate.mode": "dry_run"}), quiet)
    entries = Registry(Store(store), NAME).entries()
    assert [entry.decision for entry in entries] == ["dry_run:promote"]
    assert Registry(Store(store), NAME).champion("2100-01-01") is None


def test_a_corrected_day_is_done_again_by_the_runs_that_read_it_and_by_no_other(
    finished: RunDocument, inside: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    shutil.copytree(inside / "pristine", store)
    with corrected(inside / "log" / "dt=2013-05-10"):
        document = run_pipeline(ask(store), quiet)
        assert not any(stage.reused for stage in document.stages)
    assert all(stage.reused for stage in run_pipeline(ask(store), quiet).stages)
    later = inside / "log" / f"dt={AS_OF}"  # a day that this run may not know
    shutil.copytree(inside / "log" / "dt=2013-05-10", later)
    try:
        assert all(stage.reused for stage in run_pipeline(ask(store), quiet).stages)
    finally:
        shutil.rmtree(later)


@contextlib.contextmanager
def corrected(day: Path) -> Iterator[None]:
    """Within the block, the day's first row is not in the log."""
    path = next(day.iterdir())
    content = path.read_bytes()
    pd.read_parquet(path).iloc[1:].to_parquet(path, index=False)
    try:
        yield
    finally:
        path.write_bytes(content)


def _change_distributions(store: Store, change: dict[str, Any]) -> None:
    """Write the champion's distributions as other code would have, with all that refers to them."""
    [path] = Path(str(store.root), NAME, "registry", AS_OF).glob("*.json")
    evaluated = store.open(Ref.from_json(json.loads(path.read_bytes())["refs"]["evaluate"]))
    plant(evaluated, f"{drift.RECORD}.json", to_json(evaluated.json(drift.RECORD) | change))
    changed = store.find(evaluated.folder)
    assert changed is not None
    forge(path, lambda record: record["refs"].update(evaluate=changed.ref.to_json()))


def test_the_next_day_is_compared_with_the_champion_of_the_time(
    finished: RunDocument, inside: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    shutil.copytree(inside / "pristine", store)
    day = PROJECT / "include/data/movietweetings/events" / f"dt={AS_OF}"
    shutil.copytree(day, inside / "log" / day.name, dirs_exist_ok=True)
    try:
        margin = [{"task": "rating", "metric": "rmse", "margin": 0.5}]
        document = run_pipeline(
            ask(store, as_of="2013-05-12", **{"gate.relative": margin, "gate.drift": {"labels": 0.25}}), quiet
        )
        shifted = [run_pipeline(ask(store, as_of="2013-05-12", **{"gate.drift": {"features": 1e-6}}), quiet)]
        _change_distributions(Store(store), {"schema_version": 2})
        shifted.append(run_pipeline(ask(store, as_of="2013-05-12", **{"gate.drift": {"features": 9}}), quiet))
    finally:
        shutil.rmtree(inside / "log" / day.name)
    assert [other.verdict.decision for other in shifted] == ["reject", "reject"]
    assert f"fails, the champion of {AS_OF} cannot be compared with: " in shifted[1].verdict.reasons[0]
    assert "distributions.json: written with schema version 2" in shifted[1].verdict.reasons[0]
    assert document.verdict.champion == finished.run_key
    assert [rule.passed for rule in document.verdict.rules if rule.kind == "drift"] == [True]
    relative = [rule for rule in document.verdict.rules if rule.kind == "relative"]
    assert [rule.passed for rule in relative] == [True]
    assert relative[0].value is not None
    assert f"champion of {AS_OF}" in relative[0].reason


def test_an_edit_of_prose_makes_an_entry_of_its_own(finished: RunDocument, inside: Path, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    shutil.copytree(inside / "pristine", store)
    document = run_pipeline(ask(store, title="Another title"), quiet)
    entries = Registry(Store(store), NAME).entries()
    assert [entry.run_key for entry in entries] == [finished.run_key, document.run_key]
    champion = Registry(Store(store), NAME).champion("2013-05-12")
    assert champion is not None
    assert champion.run_key == document.run_key  # of two verdicts on one day the later one counts


@pytest.mark.faults(23)
def test_a_champion_that_needs_what_this_run_lacks_fails_the_rule_with_that_reason(
    finished: RunDocument, inside: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    day = PROJECT / "include/data/movietweetings/events" / f"dt={AS_OF}"
    shutil.copytree(day, inside / "log" / day.name, dirs_exist_ok=True)
    members: dict[str, Any] = {"members": ["popularity"]}  # the scenarios are compared, not the models
    numeric: dict[str, Any] = {"source.items.numeric": {"year": "year"}, **members}
    margin: dict[str, Any] = {"gate.relative": [{"task": "rating", "metric": "rmse", "margin": 0.5}], **members}
    try:
        run_pipeline(ask(store, **numeric), quiet)
        document = run_pipeline(ask(store, as_of="2013-05-12", **margin), quiet)
    finally:
        shutil.rmtree(inside / "log" / day.name)
    assert document.verdict.decision == "reject"
    assert "cannot score this run's test rows: it needs the attributes ['year'] of items" in document.verdict.reasons[0]


@pytest.mark.faults(1)
@pytest.mark.parametrize("stage", ["validate", "features", "member:independent", "publish"])
def test_a_killed_run_is_finished_by_the_next_one(
    finished: RunDocument, inside: Path, tmp_path: Path, stage: str
) -> None:
    before = {"validate": "resolve", "features": "factors", "member:independent": "member:als", "publish": "evaluate"}
    command = ForkedCommand("run", NAME, "--as-of", AS_OF, "--json", "--store", str(tmp_path))
    for line in command.stderr:  # a stage's line appears when it is done: the next one has just begun
        if before[stage] in line:
            break
    command.kill()
    assert command.wait() == -signal.SIGKILL
    run_pipeline(ask(str(tmp_path)), quiet)
    assert artifacts(tmp_path) == artifacts(inside / "pristine")


@pytest.mark.faults(2)
def test_a_run_killed_in_the_middle_of_writing_leaves_nothing_that_counts(
    finished: RunDocument, inside: Path, tmp_path: Path
) -> None:
    shutil.copytree(inside / "pristine", tmp_path / "store")
    manifests = sorted((tmp_path / "store" / NAME / AS_OF / "features").glob("*/manifest.json"))
    for manifest in manifests:  # what a kill just before the last write leaves: files without a manifest
        manifest.unlink()
    run_pipeline(ask(str(tmp_path / "store")), quiet)
    assert artifacts(tmp_path / "store") == artifacts(inside / "pristine")


@pytest.mark.faults(24)
@pytest.mark.parametrize(
    "stage", ["resolve", "validate", "split", "factors", "features", "member-als", "fuse", "rank", "evaluate", "gate"]
)
def test_one_flipped_byte_is_refused(finished: RunDocument, inside: Path, tmp_path: Path, stage: str) -> None:
    shutil.copytree(inside / "pristine", tmp_path / "store")
    for path in sorted((tmp_path / "store" / NAME / AS_OF / stage).glob("*/attempt-*/*")):
        data = bytearray(path.read_bytes())
        if data:
            data[len(data) // 2] ^= 1
            path.write_bytes(bytes(data))
            break
    with pytest.raises(ArtifactError, match=r"does not match its manifest .* run with --force"):
        run_pipeline(ask(str(tmp_path / "store")), quiet)


def test_a_forced_run_stands_beside_with_an_entry_of_its_own_and_touches_nothing(
    finished: RunDocument, inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "store")
    shutil.copytree(inside / "pristine", store)
    for path in (tmp_path / "store" / NAME / AS_OF / "split").glob("*/attempt-*/rows.parquet"):
        path.write_bytes(b"not what it was")
    before = {path: path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()}
    monkeypatch.setattr(PopularityMember, "predict", a_little_different(PopularityMember.predict))  # as on a GPU
    forced = run_pipeline(ask(store, force="monday"), quiet)
    assert not any(stage.reused for stage in forced.stages)
    assert {path: path.read_bytes() for path in before} == before
    entries = {entry.run_key: entry for entry in Registry(Store(store), NAME).entries()}
    assert list(entries) == [finished.run_key, forced.run_key]
    assert problems_of(entries[forced.run_key], Store(store)) == []
    assert problems_of(entries[finished.run_key], Store(store)) != []  # still there to be seen, and to be retired
    champion = Registry(Store(store), NAME).champion()
    assert champion is not None
    assert champion.run_key == forced.run_key
    assert all(stage.reused for stage in run_pipeline(ask(store, force="monday"), quiet).stages)
    shown = shown_document(Store(store), choose_run(Store(store), NAME, AS_OF, None)[0])
    assert shown.report == forced.report


def a_little_different(predict: Any) -> Any:
    """Give the work of a member another result, as devices do that are not bit-reproducible."""

    def predicted(member: Any, *asked: Any) -> Any:
        return {task: values + 1e-9 for task, values in predict(member, *asked).items()}

    return predicted


def test_a_deleted_artifact_comes_back_where_the_work_is_reproducible(
    finished: RunDocument, inside: Path, tmp_path: Path
) -> None:
    shutil.copytree(inside / "pristine", tmp_path / "store")
    for stage in ("split", "member-popularity"):
        shutil.rmtree(tmp_path / "store" / NAME / AS_OF / stage)
    run_pipeline(ask(str(tmp_path / "store")), quiet)
    assert artifacts(tmp_path / "store") == artifacts(inside / "pristine")
    (entry,) = Registry(Store(str(tmp_path / "store")), NAME).entries()
    assert problems_of(entry, Store(str(tmp_path / "store"))) == []


def test_a_deleted_artifact_that_comes_out_otherwise_is_refused_until_the_run_is_forced(
    finished: RunDocument, inside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = str(tmp_path / "store")
    shutil.copytree(inside / "pristine", store)
    monkeypatch.setattr(PopularityMember, "predict", a_little_different(PopularityMember.predict))
    shutil.rmtree(tmp_path / "store" / NAME / AS_OF / "member-popularity")
    with pytest.raises(ArtifactError, match=r"was made from other results of member:popularity; .* run with --force"):
        run_pipeline(ask(store), quiet)
    for folder in (tmp_path / "store" / NAME / AS_OF).iterdir():
        shutil.rmtree(folder)
    with pytest.raises(ArtifactError, match=r"is in the registry with other results of .*evaluate.* run with --force"):
        run_pipeline(ask(store), quiet)
    assert run_pipeline(ask(store, force="monday"), quiet).run_key != finished.run_key


@pytest.mark.faults(11)
def test_an_as_of_in_the_future_is_refused_before_any_work(
    inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(["run", NAME, "--as-of", "2999-01-01", "--store", str(tmp_path / "store")], capsys)
    assert "as_of 2999-01-01 is in the future (today is " in line
    assert not (tmp_path / "store").exists()


@pytest.mark.faults(20)
def test_a_gate_without_a_rule_rejects_and_the_registry_holds_the_verdict(
    finished: RunDocument, inside: Path, tmp_path: Path
) -> None:
    shutil.copytree(inside / "pristine", tmp_path / "store", ignore=shutil.ignore_patterns("registry"))
    document = run_pipeline(ask(str(tmp_path / "store"), **{"gate.absolute": []}), quiet)
    reason = "the gate has no rule to judge by, so it fails closed: add gate.absolute rules to"
    assert document.verdict.reasons[0].startswith(reason)
    (entry,) = Registry(Store(str(tmp_path / "store")), NAME).entries()
    assert entry.decision == "reject"
    assert entry.reasons == list(document.verdict.reasons)


@pytest.mark.parametrize(
    ("as_of", "overrides", "message"),
    [
        ("2013-04-01", {}, "no partition before"),
        ("2013-09-01", {}, "stale|old|fresh"),
        (AS_OF, {"windows.min_history": 60}, "history: the log starts on 2013-04-01, 17 days before the train window"),
        (AS_OF, {"source.columns.user": "usr_id"}, "usr_id"),
        (AS_OF, {"source.events": "nowhere"}, "nowhere"),
        (AS_OF, {"tasks.rating.range": [0, 5]}, "validation.max_bad_fraction"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_and_publishes_nothing(
    inside: Path, tmp_path: Path, as_of: str, overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run_pipeline(ask(str(tmp_path), as_of=as_of, **overrides), quiet)
    assert Registry(Store(str(tmp_path)), NAME).entries() == []


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command line, expect exit code 2 and one line of error, and return it."""
    assert cli.main(arguments) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_an_unknown_scenario_is_refused_with_the_nearest(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'small'?" in refused(["run", "smal", "--as-of", AS_OF], capsys)


@pytest.mark.faults(10)
def test_a_misspelled_key_is_refused_with_the_nearest(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["run", NAME, "--as-of", AS_OF, "--set", "windows.trian=7"], capsys)
    assert "unknown key 'windows.trian', did you mean 'train'?" in line


def test_a_formula_over_an_unknown_task_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["run", NAME, "--as-of", AS_OF, "--set", "recommend.utility=purchase*ratng"], capsys)
    assert "unknown task 'ratng', did you mean 'rating'?" in line


@pytest.mark.parametrize("formula", ["purchase | rating", "not purchase", "purchase * 'a'", "purchase.real", "1 + 1"])
def test_a_formula_that_is_not_arithmetic_is_refused(
    inside: Path, capsys: pytest.CaptureFixture[str], formula: str
) -> None:
    line = refused(["run", NAME, "--as-of", AS_OF, "--set", f'recommend.utility="{formula}"'], capsys)
    assert "recommend.utility" in line


def test_a_rule_that_can_never_be_judged_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = "gate.absolute=[{task: rating, metric: rmsee, max: 2}]"
    line = refused(["run", NAME, "--as-of", AS_OF, "--set", rule], capsys)
    assert "gate: rule on rating rmsee: no such metric, did you mean 'rmse'?" in line


def test_a_store_that_cannot_be_written_is_refused(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (inside / "a-file").write_text("in the way")
    line = refused(["run", NAME, "--as-of", AS_OF, "--store", "a-file/store"], capsys)
    assert "a-file" in line


@pytest.mark.faults(29)
def test_a_full_disk_is_refused_and_the_next_run_succeeds(
    finished: RunDocument, inside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import resource

    # A limit on the size of a file fails a write in the middle, as a full disk does.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        line = refused(["run", NAME, "--as-of", AS_OF, "--store", str(tmp_path)], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "the store cannot be written" in line
    run_pipeline(ask(str(tmp_path)), quiet)
    assert artifacts(tmp_path) == artifacts(inside / "pristine")


def edited_log(root: Path, frame: pd.DataFrame) -> None:
    write_scenario(root, source={**SCENARIO["source"], "events": "log.parquet"}, windows=SCENARIO["windows"])
    shutil.copy(PROJECT / "include/data/movietweetings/films.parquet", root / "films.parquet")
    frame.to_parquet(root / "log.parquet", index=False)


@pytest.fixture(scope="module")
def films(project: Path) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(path) for path in sorted((project / "log").glob("*/*.parquet"))])


@pytest.mark.faults(16)
@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("one user", lambda log: log.assign(user_id=1), "every row has the same user"),
        ("one item", lambda log: log.assign(movie_id=log["movie_id"].iloc[0]), "same item|0 negatives"),
        ("labels all equal", lambda log: log.assign(rating=7), "rating: every label is 7 in 'train'"),
        ("infinite labels", lambda log: log.assign(rating=float("inf")), "validation.max_bad_fraction"),
        ("labels all null", lambda log: log.assign(rating=float("nan")), "rating"),
        ("naive times", lambda log: log.assign(rated_at=log["rated_at"].dt.tz_localize(None)), "source.timezone"),
        ("text labels", lambda log: log.assign(rating="good"), "rating"),
        ("everything twice", lambda log: pd.concat([log, log.assign(rating=1)]), "conflicting_duplicate"),
        ("an empty window", lambda log: log[log["rated_at"].dt.day != 4], None),
        ("a gap", lambda log: log[~log["rated_at"].dt.strftime("%m-%d").between("05-02", "05-05")], "'blend' .* empty"),
        ("no rows", lambda log: log.iloc[:0], "log.parquet|nothing|empty|no rows"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_log_like_this_is_judged_rightly(
    films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, edit: Any, message: str | None
) -> None:
    edited_log(tmp_path, edit(films))
    monkeypatch.chdir(tmp_path)
    if message is None:  # a day without events is normal
        assert run_pipeline(ask(), quiet).verdict.decision == "promote"
        return
    with pytest.raises(DataError, match=message):
        run_pipeline(ask(), quiet)
    assert Registry(Store(".store"), NAME).entries() == []


@pytest.mark.faults(16)
def test_a_log_without_a_purchase_is_refused_and_publishes_nothing(
    films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited_log(tmp_path, films.assign(bought=0))
    monkeypatch.chdir(tmp_path)
    logged = {"tasks.purchase": {"kind": "binary", "label": "bought", "negatives": {"how": "logged"}}}
    with pytest.raises(DataError, match=r"purchase: 0 positives in 'train' \(.* rows\), at least 10 are needed"):
        run_pipeline(ask(**logged), quiet)
    assert Registry(Store(".store"), NAME).entries() == []


@pytest.mark.faults(17)
def test_a_user_and_an_item_that_only_test_has_are_scored_and_counted(
    films: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = films[films["rated_at"] >= "2013-05-10"]
    new_user, new_item = last.head(7).assign(user_id=10**9), last.tail(5).assign(movie_id=10**9)
    stranger = last.head(1).assign(user_id=10**9 + 1, movie_id=10**9)  # knows nothing, and is not known
    edited_log(tmp_path, pd.concat([films, new_user, new_item, stranger]))
    items = pd.read_parquet(tmp_path / "films.parquet")
    pd.concat([items, items.head(1).assign(movie_id=10**9)]).to_parquet(tmp_path / "films.parquet", index=False)
    monkeypatch.chdir(tmp_path)
    films.to_parquet("known.parquet", index=False)
    # Of this one only its rows count, so that one member does.
    known: dict[str, Any] = {"source.events": "known.parquet", "members": ["popularity"]}
    before = run_pipeline(ask("before", **known), quiet)
    document = run_pipeline(ask(), quiet)
    for side, count in (("cold_users", 8), ("cold_items", 6)):
        rows = [run.evaluation.slices["rating"][side].rows for run in (document, before)]
        assert rows[0] - rows[1] == count, side
        metrics = document.evaluation.slices["rating"][side].fusion
        assert all(np.isfinite(measured.value) for measured in metrics.values())
    (lists,) = (pd.read_parquet(path) for path in Path(".store").glob("*/*/recommend/*/*/*.parquet"))
    theirs = lists[lists["user_id"].isin([10**9, 10**9 + 1])]
    assert theirs["user_id"].nunique() == 2
    assert np.isfinite(theirs.select_dtypes("number").to_numpy()).all()
