"""A seal is found wanting when a document was changed; with a key only its holder can make one, and none shows it."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from mtl_tasks.cli import main as cli
from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, ConfigError, SealError
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.local import make_run
from mtl_tasks.store.artifacts import Artifact, Payload, Store
from mtl_tasks.store.promotion import verify_runs
from mtl_tasks.store.registry import Decision, Registry, RunRecord
from mtl_tasks.store.resealing import reseal
from mtl_tasks.store.run_costs import read_costs, stage_usages
from mtl_tasks.store.sealing import KEY_VARIABLE, OLD_KEY_VARIABLE, StoreKey, key_from, sealed, unsealed
from tests.support.forging import forge, manifest_of
from tests.support.projects import NAME, write_scenario

SECRET, OTHER = "correct horse battery staple 0123", "wrong horse battery staple 456789"
KEY, OTHER_KEY = StoreKey(SECRET), StoreKey(OTHER)
DAY = "2013-05-07"
RUN = "a" * 64


def publish(store: Store, key: str = "b" * 64) -> Artifact:
    made = Payload(summary={"share": 0.1}, rows=3)
    made.add_json("facts", {"weights": {"als": 0.25}})
    facts = {"usage": {"seconds": 1.0, "peak_rss_mb": 800.0}}
    return store.publish(store.folder(NAME, DAY, "gate", key), key, made, facts)


def enter_run(store: Store, decision: str = "reject") -> RunRecord:
    entry = RunRecord(RUN, DAY, decision, ["a reason"], {"name": NAME}, {"gate": publish(store).ref}, "c0de", {"a": {}})
    Registry(store, NAME).append(entry)
    return entry


@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_sealed_is_read_back(key: StoreKey | None) -> None:
    document = {"a": [1, 2.5, None], "z": {"seal": "other"}}
    assert unsealed(sealed(document, key), key) == document


@pytest.mark.faults(25)
def test_any_flipped_bit_in_a_document_sealed_with_a_key_is_an_error() -> None:
    data = sealed({"a": 1, "z": "é"}, KEY)
    for place in range(len(data)):
        with pytest.raises((ValueError, SealError)):
            unsealed(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], KEY)


@pytest.mark.faults(25)
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"[" * 100_000, b"", "nested too deeply"),
        (b"[1", b"]", "not a JSON object"),
        (b"{", b"", "Expecting"),
        (b"\xff", b"", "can't decode"),
    ],
)
def test_a_sealed_document_that_is_no_json_object_is_an_error(before: bytes, after: bytes, message: str) -> None:
    digest = hashlib.sha256(before + b"\n" + after).hexdigest().encode()
    with pytest.raises(ValueError, match=message):
        unsealed(before + b'\n "seal": "' + digest + b'",\n' + after)


@pytest.mark.parametrize(
    ("made_with", "read_with", "message"),
    [
        (None, KEY, r"x: is sealed without a key, while MTL_STORE_KEY is set: it is forged, unless .* registry seal"),
        (KEY, None, r"x: is sealed with a key, and none is given: set MTL_STORE_KEY to the key of this store"),
        (OTHER_KEY, KEY, rf"x: is sealed with key {OTHER_KEY.id}, while MTL_STORE_KEY is key {KEY.id}: set the key of"),
    ],
)
def test_a_document_with_another_seal_is_refused_with_the_remedy(
    made_with: StoreKey | None, read_with: StoreKey | None, message: str
) -> None:
    with pytest.raises(SealError, match=message):
        unsealed(sealed({"a": 1}, made_with), read_with, "x")


def test_who_has_no_key_cannot_promote_a_run_or_change_an_artifact(tmp_path: Path) -> None:
    store = Store(str(tmp_path), KEY)
    entry = enter_run(store)
    (record,) = tmp_path.glob(f"{NAME}/registry/*/*.json")
    genuine = record.read_bytes()
    forge(record, lambda document: document.update(decision="promote"))
    with pytest.raises(SealError, match="is sealed without a key"):
        Registry(store, NAME).champion()
    record.write_bytes(sealed({**entry.to_json(), "decision": "promote"}, OTHER_KEY))
    with pytest.raises(SealError, match="is sealed with key"):
        Registry(store, NAME).champion()
    claimed = genuine.replace(b'"reject"', b'"promote"')
    record.write_bytes(claimed)
    with pytest.raises(ArtifactError, match="its hash does not match"):
        Registry(store, NAME).champion()
    artifact = store.open(entry.refs["gate"])
    forge(manifest_of(artifact), lambda manifest: manifest.update(summary={"verdict": "promote"}))
    with pytest.raises(SealError, match="is sealed without a key"):
        store.find(artifact.folder)


def test_appending_an_entry_again_is_a_no_op_with_a_key_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path), KEY)
    enter_run(store)
    enter_run(store)
    assert len(Registry(store, NAME).records()) == 1
    with pytest.raises(ArtifactError, match="holds another entry"):
        enter_run(store, "promote")


def test_a_record_that_lies_where_another_belongs_is_refused(tmp_path: Path) -> None:
    store = Store(str(tmp_path), KEY)
    enter_run(store)
    (record,) = tmp_path.glob(f"{NAME}/registry/*/*.json")
    for place in (f"{NAME}/registry/2013-05-09/{record.name}", f"{NAME}/registry/{DAY}/0001-{'c' * 32}.json"):
        path = tmp_path / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(record.read_bytes())
        [damaged] = Registry(store, NAME).read().damaged
        assert f"not a registry entry (it is the record {DAY}/*-{RUN[:32]}.json under another name)" in damaged.why
        path.unlink()
    other = tmp_path / "other" / "registry" / DAY / record.name
    other.parent.mkdir(parents=True)
    other.write_bytes(record.read_bytes())
    [damaged] = Registry(store, "other").read().damaged
    assert f"is of scenario '{NAME}'" in damaged.why


# ---------------------------------------------------------------------------------------------------------- the key


@pytest.mark.parametrize("secret", ["x", "x" * 31])
def test_a_key_that_is_too_short_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(ConfigError, match=f"MTL_STORE_KEY: has {len(secret)} characters, fewer than 32") as caught:
        key_from({KEY_VARIABLE: secret})
    assert f" {secret} " not in str(caught.value)


def test_without_the_variable_or_with_an_empty_one_there_is_no_key() -> None:
    assert key_from({}) is None
    assert key_from({KEY_VARIABLE: ""}) is None
    assert key_from({KEY_VARIABLE: f"{SECRET}\n"}) == KEY


def test_a_key_is_neither_shown_nor_pickled() -> None:
    store = Store("memory://bucket", KEY)
    for shown in (repr(KEY), str(KEY), repr(store), f"{store}"):
        assert SECRET not in shown
    for thing in (KEY, store):
        with pytest.raises(TypeError, match="the key of a store is not pickled"):
            pickle.dumps(thing)


def test_stores_are_equal_if_root_and_key_are() -> None:
    assert Store("memory://bucket", StoreKey(SECRET)) == Store("memory://bucket", KEY)
    assert hash(Store("memory://bucket", StoreKey(SECRET))) == hash(Store("memory://bucket", KEY))
    assert len({Store("memory://bucket", key) for key in (None, KEY, OTHER_KEY)}) == 3


def test_what_passes_between_tasks_and_lies_in_the_store_does_not_hold_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.chdir(tmp_path)
    write_scenario(tmp_path)
    run = make_run(NAME, AsOf.parse(DAY), {}, str(tmp_path / "store"), key=KEY)
    passed = RunSpec.of(run).to_json()
    assert SECRET not in f"{json.dumps(passed)} {run!r}"
    assert RunSpec.from_json(passed).open(KEY) == run
    assert RunSpec.from_json(passed).open().store.key is None
    enter_run(run.store)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [data for data in written if SECRET.encode() in data]


def test_costs_are_read_with_the_key_alone(tmp_path: Path) -> None:
    enter_run(Store(str(tmp_path), KEY))
    assert read_costs(Store(str(tmp_path), KEY), NAME, stage_usages).runs == 1
    for key in (None, OTHER_KEY):
        with pytest.raises(SealError):
            read_costs(Store(str(tmp_path), key), NAME, stage_usages)


# ---------------------------------------------------------------------------------------------------------- resealing


def seal(*arguments: str) -> int:
    return cli.main(["registry", "seal", NAME, *arguments])


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a run in its store, without a key."""
    monkeypatch.chdir(tmp_path)
    write_scenario(tmp_path)
    enter_run(Store(".store"), "promote")
    publish(Store(".store"), "d" * 64)
    Registry(Store(".store"), NAME).append(Decision(RUN, DAY, "retire", "ada", "too eager", f"{DAY}T08:00:00+00:00"))
    return tmp_path


def test_a_key_is_turned_on_and_changed_and_every_reference_stays_valid(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Registry(Store(".store"), NAME).records()
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    assert cli.main(["registry", "list", NAME]) == 2
    assert "is sealed without a key, while MTL_STORE_KEY is set" in capsys.readouterr().err
    assert seal() == 0
    assert f"sealed 4 documents with key {KEY.id}, 0 had its seal" in capsys.readouterr().out
    assert seal() == 0
    assert "sealed 0 documents" in capsys.readouterr().out
    monkeypatch.setenv(KEY_VARIABLE, OTHER)
    monkeypatch.setenv(OLD_KEY_VARIABLE, SECRET)
    assert seal() == 0
    assert f"sealed 4 documents with key {OTHER_KEY.id}" in capsys.readouterr().out
    monkeypatch.delenv(OLD_KEY_VARIABLE)
    assert cli.main(["registry", "list", NAME]) == 0
    store = Store(".store", OTHER_KEY)
    assert Registry(store, NAME).records() == before
    assert verify_runs(Registry(store, NAME).entries(), store) == {RUN: []}
    assert SECRET not in "".join(capsys.readouterr())


def test_sealing_goes_on_where_it_was_cut_off(root: Path) -> None:
    store = Store(".store", KEY)
    manifest = manifest_of(publish(Store(".store"), "e" * 64))
    manifest.write_bytes(sealed(unsealed(manifest.read_bytes()), KEY))
    done = reseal(store, NAME, None)
    assert (done.sealed, done.before, done.problems) == (4, 1, [])


def test_with_an_old_key_what_has_no_seal_of_it_is_not_sealed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reseal(Store(".store", KEY), NAME, None)
    forged = publish(Store(".store"), "f" * 64)
    monkeypatch.setenv(KEY_VARIABLE, OTHER)
    monkeypatch.setenv(OLD_KEY_VARIABLE, SECRET)
    assert seal() == 2
    shown = capsys.readouterr()
    assert "sealed 4 documents" in shown.out
    assert f"1 of 5 documents were not sealed: {manifest_of(forged)}: has neither a seal of the old key" in shown.err
    with pytest.raises(SealError):
        Store(".store", OTHER_KEY).find(forged.folder)


def test_what_is_damaged_is_named_and_not_sealed(root: Path) -> None:
    manifest = manifest_of(publish(Store(".store"), "f" * 64))
    manifest.write_bytes(manifest.read_bytes().replace(b"0.1", b"0.2"))
    before = manifest.read_bytes()
    done = reseal(Store(".store", KEY), NAME, None)
    assert done.sealed == 4
    assert [problem.startswith(f"{manifest}: its hash does not match") for problem in done.problems] == [True]
    assert manifest.read_bytes() == before


def test_without_a_key_or_with_a_wrong_one_nothing_is_sealed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {path: path.read_bytes() for path in root.rglob("*.json")}
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert seal() == 2
    assert "MTL_STORE_KEY is not set: set it to the new key" in capsys.readouterr().err
    monkeypatch.setenv(KEY_VARIABLE, "short")
    assert seal() == 2
    assert "MTL_STORE_KEY: has 5 characters, fewer than 32" in capsys.readouterr().err
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    monkeypatch.setenv(OLD_KEY_VARIABLE, OTHER)
    assert seal() == 2
    assert "4 of 4 documents were not sealed" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in files} == files


def registry_json(root: Path) -> Any:
    return json.loads(next(root.glob(f".store/{NAME}/registry/*/*.json")).read_bytes())


def test_the_seal_shows_which_key_made_it_but_not_the_key(root: Path) -> None:
    reseal(Store(".store", KEY), NAME, None)
    assert registry_json(root)["seal"].startswith(f"hmac-sha256:{KEY.id}:")
