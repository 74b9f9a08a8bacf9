"""The registry only grows, and the champion follows from it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import s3fs

from mtl_tasks.core.errors import ArtifactError, GateError, StoreError
from mtl_tasks.store.artifacts import Ref, Store, sealed
from mtl_tasks.store.promotion import record_approval
from mtl_tasks.store.registry import AWAITS_APPROVAL, Action, Decision, Registry, RunRecord, standing_of
from tests.support.buckets import empty_bucket, s3_server


def entry(as_of: str, decision: str = "promote", run_key: str = "a" * 64) -> RunRecord:
    refs = {"factors": Ref("tiny/x/factors/k", "k", "s", 3)}
    return RunRecord(run_key, as_of, decision, ["rating rmse <= 5: holds"], {"name": "tiny"}, refs, "c0de")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store(str(tmp_path)), "tiny")


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.json"))


def test_without_entries_there_is_no_champion(registry: Registry) -> None:
    assert registry.entries() == []
    assert registry.champion("2013-05-07") is None


def test_champion_is_the_newest_promoted_run_before_as_of(registry: Registry) -> None:
    for as_of, decision in [
        ("2013-05-03", "promote"),
        ("2013-05-01", "promote"),
        ("2013-05-04", "reject"),
        ("2013-05-05", "dry_run:promote"),
        ("2013-05-07", "promote"),
    ]:
        registry.append(entry(as_of, decision))
    found = {as_of: registry.champion(as_of) for as_of in ("2013-05-01", "2013-05-03", "2013-05-07", "2013-05-08")}
    assert {as_of: champion and champion.as_of for as_of, champion in found.items()} == {
        "2013-05-01": None,
        "2013-05-03": "2013-05-01",
        "2013-05-07": "2013-05-03",
        "2013-05-08": "2013-05-07",
    }


@pytest.mark.faults(5)
def test_a_backfill_of_an_old_date_does_not_displace_the_champion(registry: Registry) -> None:
    registry.append(entry("2013-05-05", run_key="a" * 64))
    registry.append(entry("2013-05-02", run_key="b" * 64))
    champion = registry.champion("2013-05-09")
    assert champion is not None
    assert champion.run_key == "a" * 64


def test_entries_come_back_equal_by_as_of_and_then_as_they_were_appended(registry: Registry) -> None:
    written = [entry("2013-05-05"), entry("2013-05-02"), entry("2013-05-02", run_key="0" * 64)]
    for one in written:
        registry.append(one)
    assert registry.entries() == [written[1], written[2], written[0]]


@pytest.mark.faults(7)
def test_runs_promoted_at_once_are_all_recorded_and_one_of_them_is_champion_to_every_reader(tmp_path: Path) -> None:
    keys, start = [f"{number:x}" * 64 for number in range(8)], threading.Barrier(8)

    def promote(key: str) -> None:
        registry = Registry(Store(str(tmp_path)), "tiny")
        start.wait()
        registry.append(entry("2013-05-05", run_key=key))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(promote, keys))
    readers = [Registry(Store(str(tmp_path)), "tiny") for _ in range(2)]
    assert all(sorted(one.run_key for one in reader.entries()) == keys for reader in readers)
    first, second = (reader.champion() for reader in readers)
    assert first is not None
    assert first == second


@pytest.mark.faults(7)
def test_of_two_runs_promoted_on_one_day_the_later_is_the_champion(registry: Registry) -> None:
    keys = ["b" * 64, "c" * 64, "a" * 64]
    for key in keys:
        registry.append(entry("2013-05-05", run_key=key))
    registry.append(entry("2013-05-05", run_key="b" * 64))  # again: a no-op, not a new entry
    champion = registry.champion("2013-05-09")
    assert champion is not None
    assert champion.run_key == "a" * 64
    assert [one.run_key for one in registry.entries()] == keys


def test_an_entry_is_found_by_its_run_key(registry: Registry) -> None:
    registry.append(entry("2013-05-05"))
    assert registry.get("a" * 64) == entry("2013-05-05")
    with pytest.raises(ArtifactError, match="no entry of run bbbbbbbbbbbb"):
        registry.get("b" * 64)


@pytest.mark.faults(4)
def test_appending_the_same_entry_again_changes_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05"))
    (path,) = files(tmp_path)
    before = path.stat()
    registry.append(entry("2013-05-05"))
    assert path.stat() == before


def test_another_entry_under_the_same_name_is_refused(registry: Registry) -> None:
    registry.append(entry("2013-05-05", "reject"))
    with pytest.raises(ArtifactError, match="holds another entry; entries are never changed"):
        registry.append(replace(entry("2013-05-05"), decision="promote"))
    assert registry.champion("2013-05-09") is None


@pytest.mark.faults(24)
def test_any_flipped_bit_in_an_entry_is_an_error_that_names_the_file(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05", "reject"))
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ArtifactError, match=rf"{path.name}: not a registry entry .* damaged or tampered with"):
            registry.champion("2013-05-09")


@pytest.mark.parametrize("text", ["", "[]", "{}", "3", '{"refs": []}'])
def test_what_is_no_entry_is_refused(registry: Registry, tmp_path: Path, text: str) -> None:
    registry.append(entry("2013-05-05"))
    files(tmp_path)[0].write_text(text)
    with pytest.raises(ArtifactError, match="not a registry entry") as caught:
        registry.champion()
    assert "\n" not in str(caught.value)


@pytest.mark.faults(29)
def test_a_registry_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="the registry cannot be written"):
        Registry(Store(str(tmp_path / "file")), "tiny").append(entry("2013-05-05"))


def ruling(as_of: str, run_key: str, action: Action, reason: str = "because") -> Decision:
    return Decision(run_key, as_of, action, "ada", reason, "2026-01-02T03:04:05+00:00")


def test_a_retired_run_is_champion_of_no_time(registry: Registry) -> None:
    registry.append(entry("2013-05-05", run_key="a" * 64))
    registry.append(entry("2013-05-06", run_key="b" * 64))
    registry.append(ruling("2013-05-06", "b" * 64, "retire"))
    for as_of in (None, "2013-05-07"):
        champion = registry.champion(as_of)
        assert champion is not None
        assert champion.run_key == "a" * 64
    registry.append(entry("2013-05-06", run_key="b" * 64))  # the run again: what was ruled stands
    assert [one.run_key for one in registry.standing()] == ["a" * 64]


def test_a_run_promoted_by_hand_is_the_newest_of_its_day(registry: Registry) -> None:
    registry.append(entry("2013-05-05", "reject", "a" * 64))
    registry.append(entry("2013-05-05", "promote", "b" * 64))
    registry.append(ruling("2013-05-05", "a" * 64, "promote"))
    assert [one.run_key for one in registry.standing()] == ["b" * 64, "a" * 64]
    assert len(registry.entries()) == 2


def test_the_last_ruling_counts_and_the_same_ruling_again_is_a_no_op(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05", "reject"))
    for action in ("promote", "retire", "promote"):
        registry.append(ruling("2013-05-05", "a" * 64, action, reason=f"{len(files(tmp_path))}"))
    assert registry.champion() is not None
    before = files(tmp_path)
    registry.append(registry.rulings("a" * 64)[1])
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("decision", "actions", "standing"),
    [
        ("promote", [], "promoted"),
        ("reject", [], "rejected"),
        ("dry_run:promote", [], "dry run"),
        ("awaits_approval", [], "awaits approval"),
        ("awaits_approval", ["promote"], "approved"),
        ("awaits_approval", ["retire"], "not approved"),
        ("awaits_approval", ["promote", "retire"], "retired"),
        ("awaits_approval", ["retire", "promote"], "forced"),
        ("awaits_approval", ["promote", "retire", "promote"], "approved"),
        ("reject", ["promote"], "forced"),
        ("dry_run:promote", ["promote"], "forced"),
        ("promote", ["retire"], "retired"),
        ("promote", ["retire", "promote"], "promoted"),
    ],
)
def test_standing_says_what_a_run_is_now(decision: str, actions: list[Action], standing: str) -> None:
    rulings = [ruling("2013-05-05", "a" * 64, action) for action in actions]
    assert standing_of(entry("2013-05-05", decision), rulings) == standing


def test_a_forced_promotion_says_who_when_and_why() -> None:
    forced = ruling("2013-05-05", "a" * 64, "promote", "the fix is in")
    said = forced.sentence(entry("2013-05-05", "reject"), [forced])
    assert said == "promoted by force by ada at 2026-01-02T03:04:05+00:00: the fix is in"


def test_only_the_first_ruling_on_a_run_that_awaits_approval_is_the_answer() -> None:
    asked = entry("2013-05-05", "awaits_approval")
    rulings = [ruling("2013-05-05", "a" * 64, action, action) for action in ("promote", "retire")]
    rulings.append(ruling("2013-05-05", "a" * 64, "promote", "once more"))
    said = [one.sentence(asked, rulings).partition(" by ")[0] for one in rulings]
    assert said == ["approved", "retired", "promoted again"]


def test_a_run_is_found_by_the_beginning_of_its_key_if_no_other_shares_it(registry: Registry) -> None:
    registry.append(entry("2013-05-05", run_key="ab" + "0" * 62))
    registry.append(entry("2013-05-05", run_key="ac" + "0" * 62))
    assert registry.get("ab").run_key.startswith("ab")
    with pytest.raises(ArtifactError, match="2 runs start with 'a': give more digits of the key"):
        registry.get("a")
    with pytest.raises(ArtifactError, match="no entry of run"):
        registry.get("")


def test_a_tampered_ruling_is_an_error(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05", "reject"))
    registry.append(ruling("2013-05-05", "a" * 64, "retire"))
    path = files(tmp_path)[-1]
    path.write_bytes(path.read_bytes().replace(b"retire", b"promote"))
    with pytest.raises(ArtifactError, match=r"not a registry entry .* damaged or tampered with"):
        registry.champion()


def answer(action: Action, by: str = "nobody", reason: str = "no answer in time") -> Decision:
    return Decision("a" * 64, "2013-05-05", action, by, reason, "2026-01-03T00:00:00+00:00", answer=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def champion_of(registry: Registry) -> str | None:
    champion = registry.champion()
    return None if champion is None else champion.run_key[0]


def test_a_late_answer_counts_for_nothing_whatever_was_decided_before(registry: Registry) -> None:
    registry.append(entry("2013-05-05", AWAITS_APPROVAL))
    registry.append(ruling("2013-05-05", "a" * 64, "promote", "it is urgent"))
    registry.append(answer("retire"))  # somebody promoted between the look and the record
    assert champion_of(registry) == "a"
    assert [one.action for one in registry.rulings("a" * 64)] == ["promote"]
    assert registry.read().late_answers("a" * 64) == [answer("retire")]
    registry.append(ruling("2013-05-05", "a" * 64, "retire", "rolled back"))
    registry.append(answer("promote", "ada", "answered in Airflow"))
    assert champion_of(registry) is None
    assert registry.read().standing_of(registry.get("a" * 64)) == "retired"


def test_an_answer_to_a_question_that_nobody_asked_counts_for_nothing(registry: Registry) -> None:
    registry.append(entry("2013-05-05"))
    registry.append(answer("retire"))
    assert champion_of(registry) == "a"


@pytest.mark.parametrize(("action", "standing"), [("promote", "approved"), ("retire", "not approved")])
def test_the_first_decision_on_a_run_that_awaits_it_may_be_an_answer(
    registry: Registry, action: Action, standing: str
) -> None:
    registry.append(entry("2013-05-05", AWAITS_APPROVAL))
    registry.append(answer(action))
    assert registry.read().standing_of(registry.get("a" * 64)) == standing


def test_settling_is_refused_once_the_run_was_decided(registry: Registry) -> None:
    registry.append(entry("2013-05-05", AWAITS_APPROVAL))
    said = {"by": "nobody", "reason": "no answer in time", "at": "2026-01-03T00:00:00+00:00"}
    registry.append(ruling("2013-05-05", "a" * 64, "promote", "it is urgent"))
    for _ in range(2):
        given, snapshot = record_approval(registry, "a" * 64, approved=False, **said)
        assert given not in snapshot.rulings("a" * 64)
    assert len(registry.records()) == 2
    assert champion_of(registry) == "a"


def test_a_damaged_entry_takes_out_its_own_run_and_says_so(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for as_of, key in (("2013-05-04", "c"), ("2013-05-05", "b"), ("2013-05-06", "a")):
        registry.append(entry(as_of, run_key=key * 64))
    flip(files(tmp_path)[-1])
    assert champion_of(registry) == "b"
    assert [one.run_key[0] for one in registry.entries()] == ["c", "b"]
    assert caplog.records[0].levelname == "WARNING"
    assert "run aaaaaaaaaaaa as of 2013-05-06" in caplog.text
    assert "registry quarantine tiny 2013-05-06/0001-aaaa" in caplog.text
    with pytest.raises(ArtifactError, match="not a registry entry"):
        registry.get("a" * 64)


def test_the_run_of_a_damaged_retirement_does_not_come_back(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05", run_key="b" * 64))
    registry.append(entry("2013-05-06"))
    registry.append(ruling("2013-05-06", "a" * 64, "retire"))
    (damaged,) = tmp_path.rglob("*-retire-*.json")
    whole = damaged.read_bytes()
    flip(damaged)
    assert champion_of(registry) == "b"
    assert registry.read().standing_of(registry.get("a" * 64)) == "record damaged"
    moved = registry.quarantine(f"2013-05-06/{damaged.name}", by="ada", reason="disk", at="2026-01-02")
    assert not damaged.exists()
    snapshot = registry.read()
    assert (snapshot.damaged, snapshot.warnings()) == ((), [])
    assert snapshot.quarantined == (replace(moved, why=snapshot.quarantined[0].why),)
    assert "quarantined by ada at 2026-01-02: disk" in snapshot.quarantined[0].sentence
    assert champion_of(registry) == "b"
    assert snapshot.standing_of(snapshot.get("a" * 64)) == "record quarantined"
    registry.append(ruling("2013-05-06", "a" * 64, "promote", "looked at"))
    assert champion_of(registry) == "a"
    damaged.write_bytes(whole)  # found in a backup after all: the promotion came after it
    assert champion_of(registry) == "a"


def test_a_quarantined_record_keeps_its_bytes_and_its_number(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05"))
    registry.append(entry("2013-05-05", run_key="b" * 64))
    damaged = files(tmp_path)[-1]
    flip(damaged)
    spoilt = damaged.read_bytes()
    registry.quarantine(damaged.name, by="ada", reason="disk", at="2026-01-02")
    kept = [path for path in files(tmp_path) if path.parent.name == "quarantine"]
    assert [path.read_bytes() for path in kept] == [spoilt]
    for claim in tmp_path.rglob("*.claim"):  # as records of before there were claims
        claim.unlink()
    registry.append(entry("2013-05-05", run_key="b" * 64))  # made again
    assert [name for name, _ in registry.read().placed] == [f"0001-{'a' * 32}.json", f"0003-{'b' * 32}.json"]
    assert champion_of(registry) == "b"


@pytest.mark.parametrize(
    ("place", "reason", "kind", "message"),
    [
        (
            "2013-05-05/0009-ffff.json",
            "why",
            ArtifactError,
            r"no record '2013-05-05/0009-ffff.json' .*damaged are: none",
        ),
        ("../../etc/passwd", "why", ArtifactError, "no record '../../etc/passwd'"),
        ("", "why", ArtifactError, "no record ''"),
        (f"2013-05-05/0001-{'a' * 32}.json", "why", GateError, "is sound, and only damaged records are set aside"),
        (f"2013-05-05/0001-{'a' * 32}.json", " ", GateError, "--reason must not be empty"),
    ],
)
def test_what_is_not_damaged_is_not_set_aside(
    registry: Registry, tmp_path: Path, place: str, reason: str, kind: type[Exception], message: str
) -> None:
    registry.append(entry("2013-05-05"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(kind, match=message):
        registry.quarantine(place, by="ada", reason=reason, at="2026-01-02")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_whose_name_says_nothing_may_be_about_any_run_of_its_day(registry: Registry, tmp_path: Path) -> None:
    for as_of, key in (("2013-05-04", "c"), ("2013-05-05", "b"), ("2013-05-05", "a")):
        registry.append(entry(as_of, run_key=key * 64))
    (tmp_path / "tiny/registry/2013-05-05/notes.json").write_text("{}")
    assert champion_of(registry) == "c"
    registry.quarantine("notes.json", by="ada", reason="not ours", at="2026-01-02")
    assert champion_of(registry) == "a"


def test_a_sound_record_under_another_name_is_damaged(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05", run_key="b" * 64))
    registry.append(entry("2013-05-06"))
    registry.append(ruling("2013-05-06", "a" * 64, "retire"))
    (retirement,) = tmp_path.rglob("*-retire-*.json")
    retirement.rename(retirement.with_name(retirement.name.replace("aaa", "ccc", 1)))
    with pytest.raises(ArtifactError, match="under another name"):
        registry.get("ccc")


def test_a_record_of_another_version_is_named_with_its_version(registry: Registry, tmp_path: Path) -> None:
    registry.append(entry("2013-05-05", run_key="b" * 64))
    path = tmp_path / f"tiny/registry/2013-05-06/0001-{'a' * 32}.json"
    path.parent.mkdir()
    path.write_bytes(sealed({"schema": 7, **entry("2013-05-06").to_json()}))
    assert champion_of(registry) == "b"
    with pytest.raises(
        ArtifactError, match="written with version 7 of the registry's schema, and this code reads 1 and"
    ):
        registry.get("a" * 64)
    path.write_bytes(sealed(entry("2013-05-06").to_json()))  # as before versions were written down
    assert champion_of(registry) == "a"


def test_a_number_that_another_writer_has_taken_is_left_to_it(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "tiny" / "registry" / "2013-05-05"
    folder.mkdir(parents=True)
    (folder / "0001.claim").write_bytes(b"")
    registry.append(entry("2013-05-05"))
    assert [path.name[:4] for path in files(tmp_path)] == ["0002"]


def test_writers_at_once_get_a_number_each(tmp_path: Path) -> None:
    keys = [f"{number:02x}" * 32 for number in range(24)]

    def write(key: str) -> None:
        Registry(Store(str(tmp_path)), "tiny").append(entry("2013-05-05", run_key=key))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, keys))
    assert [path.name[:4] for path in files(tmp_path)] == [f"{number:04d}" for number in range(1, 25)]


def test_in_a_bucket_too_numbers_are_taken_once_and_what_others_write_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server() as url, empty_bucket(url, monkeypatch) as files:
        registry = Registry(Store("s3://shop/store"), "tiny")
        registry.append(entry("2013-05-05"))
        assert champion_of(registry) == "a"
        files.pipe_file("shop/store/tiny/registry/2013-05-06/0001.claim", b"")
        written = sealed({"schema": 2, **entry("2013-05-06", run_key="b" * 64).to_json()})
        files.pipe_file(f"shop/store/tiny/registry/2013-05-06/0002-{'b' * 32}.json", written)
        assert champion_of(registry) == "b"
        registry.append(entry("2013-05-06", run_key="c" * 64))
        assert champion_of(registry) == "c"
        assert registry.read().placed[-1][0] == f"0003-{'c' * 32}.json"
        files.pipe_file(f"shop/store/tiny/registry/2013-05-06/0003-{'c' * 32}.json", written[:-9])
        assert champion_of(registry) == "b"
        registry.quarantine(f"0003-{'c' * 32}.json", by="ada", reason="disk", at="2026-01-02")
        assert registry.read().warnings() == []


def test_a_bucket_that_does_not_answer_is_no_empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_server() as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "test")
    s3fs.S3FileSystem.clear_instance_cache()
    registry = Registry(Store("s3://shop/store"), "tiny")
    with pytest.raises(StoreError, match="the registry cannot be read"):
        registry.champion()
    with pytest.raises(StoreError, match=r"the registry cannot be written .* no entry was made"):
        registry.append(entry("2013-05-05"))
    s3fs.S3FileSystem.clear_instance_cache()
