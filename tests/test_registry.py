"""The registry only grows, and the champion follows from it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mtl_tasks.errors import ArtifactError, StoreError
from mtl_tasks.registry import Action, Entry, Registry, Ruling, standing_of
from mtl_tasks.store import Ref, Store


def entry(as_of: str, decision: str = "promote", run_key: str = "a" * 64) -> Entry:
    refs = {"factors": Ref("tiny/x/factors/k", "k", "s", 3)}
    return Entry(run_key, as_of, decision, ["rating rmse <= 5: holds"], {"name": "tiny"}, refs, "c0de")


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
        registry.entries()
    assert "\n" not in str(caught.value)


@pytest.mark.faults(29)
def test_a_registry_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="the registry cannot be written"):
        Registry(Store(str(tmp_path / "file")), "tiny").append(entry("2013-05-05"))


def ruling(as_of: str, run_key: str, action: Action, reason: str = "because") -> Ruling:
    return Ruling(run_key, as_of, action, "ada", reason, "2026-01-02T03:04:05+00:00")


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
    with pytest.raises(ArtifactError, match="2 runs start with 'a': give more of the key"):
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
