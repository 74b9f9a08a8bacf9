"""The registry commands on three small runs: what they print, what they refuse, and that they only ever add."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.days import AsOf
from mtl_tasks.pipeline.engine import StageResult, run_stage
from mtl_tasks.pipeline.local import make_run, refs_of, run_pipeline
from mtl_tasks.pipeline.past_documents import shown_document
from mtl_tasks.pipeline.past_runs import choose_run
from mtl_tasks.pipeline.stages import build_stages
from mtl_tasks.report.labels import reason_text
from mtl_tasks.store.artifacts import Artifact, Payload, Store, day_refs
from mtl_tasks.store.registry import Registry
from tests.support.projects import NAME, SHORT, enter_copy, write_log, write_scenario

DAYS = ("2013-05-09", "2013-05-10", "2013-05-11")
IMPOSSIBLE = {"gate.absolute": [{"task": "rating", "metric": "rmse", "max": 0.1}]}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three dates: promoted, promoted, rejected."""
    root = tmp_path_factory.mktemp("project")
    write_log(root)
    write_scenario(root, **{**SHORT, "members": ["popularity", "als"]})
    with contextlib.chdir(root):
        for day in DAYS:
            overrides = IMPOSSIBLE if day == DAYS[-1] else {}
            run_pipeline(make_run(NAME, AsOf.parse(day), overrides, ".store"), lambda stage, result: None)
    return root


@pytest.fixture
def project(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(pristine, tmp_path, monkeypatch)


@pytest.fixture
def say(project: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs a registry command and returns exit code, stdout and stderr."""

    def run(command: str, *arguments: str) -> tuple[int, str, str]:
        code = cli.main(["registry", command, NAME, *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def keys() -> list[str]:
    return [entry.run_key for entry in Registry(Store(".store"), NAME).entries()]


def records(project: Path) -> dict[str, bytes]:
    folder = project / ".store" / NAME / "registry"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.json")}


def test_list_shows_what_every_run_is_now(say: Any) -> None:
    code, out, _ = say("list", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [(row["as_of"], row["standing"]) for row in rows] == [
        (DAYS[0], "promoted"),
        (DAYS[1], "promoted, champion"),
        (DAYS[2], "rejected"),
    ]
    assert rows[0]["why"] == "1 of 1 rules passed"
    assert rows[2]["why"].startswith("rating rmse <= 0.1: fails")
    code, out, _ = say("list")
    assert all(key[:12] in out for key in keys())


def test_champion_is_todays_or_that_of_a_day(say: Any) -> None:
    assert json.loads(say("champion", "--json")[1])["as_of"] == DAYS[1]
    assert json.loads(say("champion", "--as-of", DAYS[1], "--json")[1])["as_of"] == DAYS[0]
    code, _, err = say("champion", "--as-of", DAYS[0])
    assert code == 2
    assert f"no run was promoted before {DAYS[0]}" in err
    code, _, err = say("champion", "--as-of", "11.5.2013")
    assert code == 2
    assert "as_of '11.5.2013' is not a date" in err


def test_show_names_reasons_and_artifacts(say: Any) -> None:
    code, out, _ = say("show", keys()[2][:10])
    assert code == 0
    assert "rating rmse <= 0.1: fails" in out
    assert f"{NAME}/{DAYS[2]}/member-als/" in out


def test_a_forced_promotion_is_recorded_and_shows_everywhere(say: Any, project: Path) -> None:
    before = records(project)
    code, out, _ = say("promote", keys()[2][:10], "--reason", "the rule was wrong", "--by", "ada")
    assert code == 0
    assert "promoted by force by ada" in out
    assert f"today's champion: run {keys()[2][:12]} as of {DAYS[2]}" in out
    assert before.items() < records(project).items()
    assert json.loads(say("list", "--json")[1])[2]["standing"] == "forced, champion"
    document = shown_document(Store(".store"), choose_run(Store(".store"), NAME, DAYS[2], None)[0])
    assert document.outcome == "forced"
    trained = next(stage for stage in document.stages if stage.name == "factors")
    assert min(trained.seconds, trained.cpu_seconds) > 0  # what making it took, not finding it
    (ruling,) = document.rulings
    assert ruling.endswith("the rule was wrong")
    assert reason_text(ruling) in html.unescape(Path(document.report).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("place", "reason", "message"),
    [(1, "why not", "is already promoted: nothing to do"), (2, "  ", "--reason must not be empty")],
)
def test_a_promotion_that_makes_no_sense_is_refused(
    say: Any, project: Path, place: int, reason: str, message: str
) -> None:
    before = records(project)
    code, _, err = say("promote", keys()[place], "--reason", reason)
    assert code == 2
    assert message in err
    assert records(project) == before


def test_rollback_retires_the_champion_and_falls_back_to_the_one_before(say: Any, project: Path) -> None:
    before = records(project)
    code, out, _ = say("rollback", "--reason", "it recommends one film to all")
    assert code == 0
    assert f"today's champion: run {keys()[0][:12]} as of {DAYS[0]}" in out
    assert before.items() < records(project).items()
    assert json.loads(say("list", "--json")[1])[1]["standing"] == "retired"
    code, _, err = say("rollback", "--reason", "once more")
    assert code == 2
    assert "there is none to fall back to" in err


def test_a_retired_run_that_is_run_again_says_so_and_shows_no_lists(
    say: Any, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", NAME, "--as-of", DAYS[1], "--verbose"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^user +title", out, re.MULTILINE)
    assert "Recommendations: none" not in out
    assert say("rollback", "--reason", "it recommends one film to all")[0] == 0
    assert cli.main(["run", NAME, "--as-of", DAYS[1], "--verbose"]) == 0
    out = capsys.readouterr().out
    assert "\nRETIRED" in out
    assert "Recommendations: none, only promoted runs make recommendations, and this one is: retired." in out
    assert not re.search(r"^user +title", out, re.MULTILINE)


def test_a_run_that_was_promoted_by_hand_gets_lists_when_it_is_run_again(say: Any) -> None:
    asked = make_run(NAME, AsOf.parse(DAYS[2]), IMPOSSIBLE, ".store")
    assert run_pipeline(asked, lambda stage, result: None).sample == ()
    assert say("promote", keys()[2], "--reason", "the rule was too strict")[0] == 0
    assert run_pipeline(asked, lambda stage, result: None).sample


def test_rollback_to_a_run_retires_all_after_it(say: Any) -> None:
    say("promote", keys()[2], "--reason", "for the test")
    code, out, _ = say("rollback", "--to", keys()[0], "--reason", "both are bad")
    assert code == 0
    assert out.count("retired by") == 2
    assert f"today's champion: run {keys()[0][:12]}" in out


@pytest.mark.faults(23, 31)
def test_rollback_to_a_damaged_run_changes_nothing(say: Any, project: Path) -> None:
    damage(project, DAYS[0], "factors")
    before = records(project)
    code, _, err = say("rollback", "--reason", "bad")
    assert code == 2
    assert "cannot be champion, 1 of its artifacts are missing or damaged: factors" in err
    assert records(project) == before


def test_rollback_to_a_run_whose_log_was_pruned_names_what_makes_it_again(say: Any, project: Path) -> None:
    [entry, *_] = Registry(Store(".store"), NAME).entries()
    shutil.rmtree(project / ".store" / entry.refs["validate"].uri)
    before = records(project)
    for arguments in ((), ("--to", entry.run_key)):
        code, _, err = say("rollback", *arguments, "--reason", "bad")
        assert code == 2
        gone = "the log that its recommendations are made from"
        assert f"run {entry.run_key[:12]} as of {DAYS[0]} cannot be champion: {gone}" in err
        assert f"include/bin/mtl run {NAME} --as-of {DAYS[0]}" in err
    assert records(project) == before


@pytest.mark.faults(23)
def test_one_damaged_record_is_loud_everywhere_until_it_is_quarantined(say: Any, project: Path) -> None:
    path = next((project / ".store" / NAME / "registry" / DAYS[1]).glob("*.json"))
    path.write_bytes(path.read_bytes()[:-5])
    for command in (("list",), ("show", keys()[0]), ("champion",)):
        code, out, err = say(*command)
        assert code == 0
        assert f"run {path.name[5:17]} as of {DAYS[1]}" in out
        assert f"registry quarantine {NAME} {DAYS[1]}/{path.name}" in err
    assert json.loads(say("champion", "--json")[1])["as_of"] == DAYS[0]
    assert say("verify")[0] == 2
    code, _, err = say("prune", "--keep-days", "30")
    assert code == 2
    assert "nothing is pruned while what a damaged record needs is unknown" in err
    code, out, _ = say("quarantine", f"{DAYS[1]}/{path.name}", "--reason", "a bad disk", "--by", "ada")
    assert code == 0
    assert f"today's champion: run {keys()[0][:12]} as of {DAYS[0]}" in out
    code, out, err = say("list")
    assert (code, err) == (0, "")
    assert f"{DAYS[1]}/{path.name} quarantined by ada at " in out
    assert "a bad disk" in out
    age(project)
    assert (
        f"{NAME}/{DAYS[1]}/" not in say("prune", "--keep-days", "30")[1]
    )  # what the verdict refers to may be wanted again
    run = make_run(NAME, AsOf.parse(DAYS[1]), {}, ".store", force="again")
    run_pipeline(run, lambda stage, result: None)
    assert json.loads(say("champion", "--json")[1])["as_of"] == DAYS[1]


@pytest.mark.faults(23)
def test_a_candidate_is_compared_with_the_newest_champion_that_is_whole_and_the_verdict_says_so(project: Path) -> None:
    damage(project, DAYS[1], "member-als")
    rules = {"gate.relative": [{"task": "rating", "metric": "rmse", "margin": 0.5}]}
    document = run_pipeline(make_run(NAME, AsOf.parse(DAYS[2]), rules, ".store"), lambda stage, result: None)
    first, second = keys()[:2]
    assert document.verdict.champion == first
    [warning] = document.verdict.warnings
    assert warning == (
        f"warning: run {second[:12]} as of {DAYS[1]}: its member:als is missing or damaged; compared with the champion "
        f"before it, run {first[:12]} as of {DAYS[0]}"
    )
    assert document.verdict.reasons[0] == warning
    assert document.outcome == "promoted"
    assert html.escape(warning) in Path(document.report).read_text(encoding="utf-8")


@pytest.mark.faults(31)
def test_rollback_to_a_run_that_is_not_there_changes_nothing(say: Any, project: Path) -> None:
    before = records(project)
    code, _, err = say("rollback", "--to", "f" * 64, "--reason", "bad")
    assert code == 2
    assert "no entry of run ffffffffffff" in err
    assert records(project) == before


def test_verify_finds_one_damaged_byte(say: Any, project: Path) -> None:
    assert say("verify")[0] == 0
    damage(project, DAYS[1], "member-als")
    code, out, err = say("verify")
    assert code == 2
    assert "1 of 3 runs are damaged" in err
    assert out.count("sound") == 2


def test_verify_reads_each_day_that_runs_refer_to_once(
    say: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, read = Store(".store"), list[str]()
    verify = Artifact.verify
    monkeypatch.setattr(Artifact, "verify", lambda artifact: read.append(artifact.ref.uri) or verify(artifact))
    assert say("verify")[0] == 0
    lists = [store.open(entry.refs["validate"]) for entry in Registry(store, NAME).entries()]
    days = [{ref.uri for ref in day_refs(artifact)} for artifact in lists]
    assert days[0] < days[1] < days[2]
    assert len(read) == len(set(read))
    assert days[2] < set(read)


@pytest.mark.parametrize("stage", ["validate", "features"])
def test_verify_finds_a_damaged_day_and_names_every_run_that_refers_to_it(say: Any, project: Path, stage: str) -> None:
    store = Store(".store")
    lists = [store.open(entry.refs[stage]) for entry in Registry(store, NAME).entries()]
    of_last = [{ref.uri for ref in day_refs(artifact)} for artifact in lists]
    day = min(of_last[2] - of_last[1])
    path = next((project / ".store" / day).glob("attempt-*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    code, out, err = say("verify", "--json")
    assert code == 2
    assert f"1 of {len(DAYS)} runs are damaged" in err
    [problems] = [problems for problems in json.loads(out).values() if problems]
    assert len(problems) == 1
    assert problems[0].startswith(f"{stage}: ")
    assert day in problems[0]


def test_verify_says_in_short_how_many_days_are_gone(say: Any, project: Path) -> None:
    for path in (project / ".store" / NAME / "days").glob("*/*/manifest.json"):
        path.unlink()
    code, out, _ = say("verify")
    assert code == 2
    assert " more (--json names all)" in " ".join(out.split())


def test_prune_removes_what_no_run_of_the_registry_needs(say: Any, project: Path) -> None:
    age(project)
    run_pipeline(make_run(NAME, AsOf.parse(DAYS[2]), {**IMPOSSIBLE, "seed": 8}, ".store"), lambda stage, result: None)
    young = {path for path in (project / ".store").rglob("*") if path.stat().st_mtime > time.time() - 3600}
    code, listed, _ = say("prune", "--keep-days", "30")
    assert code == 0
    kept = {path for path in (project / ".store").rglob("*") if path.is_file()}
    code, out, _ = say("prune", "--keep-days", "30", "--delete")
    assert code == 0
    gone = {path for path in kept if not path.exists()}
    positions = {path.relative_to(project).parts[2:4] for path in gone}
    of_runs = {(day, stage) for day, stage in positions if day != "days"}
    # The other two days are those of the champion and of the last known good; `validate` was reused just now.
    assert of_runs == {(DAYS[2], stage) for stage in ("split", "features")}
    assert positions - of_runs  # features by day that only the pruned run had listed
    assert not gone & young
    assert out.startswith(f"{NAME}: removed {len(listed.splitlines()) - 1} artifacts")
    assert say("verify")[0] == 0
    assert say("prune", "--keep-days", "30")[1].startswith(f"{NAME}: 0 artifacts")


def test_prune_spares_what_a_run_at_work_has_reused_but_not_listed_yet(say: Any, project: Path) -> None:
    age(project)
    run = make_run(NAME, AsOf.parse(DAYS[2]), {"validation.max_bad_fraction": 0.02}, ".store")
    results: dict[str, StageResult] = {}
    for name in ("resolve", "validate", "split", "factors", "features"):
        results[name] = run_stage(build_stages(run.scenario)[name], run, refs_of(results))
    listed = [ref for name in ("validate", "features") for ref in day_refs(run.store.open(results[name].ref))]
    for name in ("validate", "features"):  # as if it had not come that far
        shutil.rmtree(project / ".store" / results[name].ref.uri)
    assert say("prune", "--keep-days", "30", "--delete")[0] == 0
    assert all(run.store.open(ref) for ref in listed)
    age(project)
    assert say("prune", "--keep-days", "30", "--delete")[0] == 0
    assert not all(run.store.find(run.store.root / ref.uri) for ref in listed)


def test_prune_spares_the_days_of_a_stage_that_a_run_at_work_has_reused(say: Any, project: Path) -> None:
    age(project)
    run = make_run(NAME, AsOf.parse(DAYS[2]), IMPOSSIBLE, ".store")
    results: dict[str, StageResult] = {}
    for name in ("resolve", "validate"):
        results[name] = run_stage(build_stages(run.scenario)[name], run, refs_of(results))
    assert results["validate"].reused
    assert say("prune", "--keep-days", "30", "--delete")[0] == 0
    assert all(run.store.open(ref) for ref in day_refs(run.store.open(results["validate"].ref)))


def test_prune_refuses_more_days_than_a_date_can_go_back(say: Any) -> None:
    code, _, err = say("prune", "--keep-days", "4000000")
    assert code == 2
    assert "--keep-days" in err


def test_prune_removes_what_a_cut_off_run_has_left(say: Any, project: Path) -> None:
    folder = project / ".store" / NAME / DAYS[0] / "features" / "0123"
    (folder / "attempt-1").mkdir(parents=True)
    (folder / "attempt-1" / "features.parquet").write_bytes(b"half")
    say("prune", "--keep-days", "1", "--delete")
    assert folder.exists()  # it may be at work now
    age(project)
    say("prune", "--keep-days", "1", "--delete")
    assert not folder.exists()


def test_prune_knows_an_artifact_of_a_time_when_it_held_the_rows_itself(say: Any) -> None:
    store = Store(".store")
    store.publish(store.folder(NAME, DAYS[0], "validate", "a" * 64), "a" * 64, Payload(), {"usage": {}})
    code, out, err = say("prune", "--keep-days", "30")
    assert (code, err) == (0, "")
    assert out.startswith(f"{NAME}: 0 artifacts")


def test_an_unknown_scenario_is_refused_with_the_nearest(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["registry", "list", "smal"]) == 2
    assert "did you mean 'small'?" in capsys.readouterr().err


def damage(project: Path, day: str, stage: str) -> None:
    path = next(path for path in (project / ".store" / NAME / day / stage).glob("*/attempt-*/*") if path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def age(project: Path) -> None:
    """Make the whole store a year old."""
    then = time.time() - 365 * 86400
    for path in (project / ".store").rglob("*"):
        os.utime(path, (then, then))
