"""Shards in this process and on a real local cluster: equal results, nothing twice, and clear errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl_tasks.core import columns
from mtl_tasks.core.errors import ClusterError, ConfigError, DataError, StoreError
from mtl_tasks.pipeline import executor
from mtl_tasks.pipeline.engine import Inputs, Run
from mtl_tasks.pipeline.executor import InProcess, OnDask, Shard, open_executor
from mtl_tasks.pipeline.stages import build_stages, publish
from tests.support import shards
from tests.support.databases import free_port
from tests.support.projects import AS_OF, run_until, write_log, write_scenario

pytest.importorskip("distributed", reason='no distributed here: make install EXTRAS="cluster"')


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Inputs]:
    """A run up to its recommendations, made in one process."""
    root = tmp_path_factory.mktemp("project")
    write_scenario(root)
    write_log(root)
    run, results = run_until(root, "recommend", AS_OF, str(root / ".store"))
    stage = build_stages(run.scenario)["recommend"]
    artifacts = {name: run.store.open(result.ref) for name, result in results.items()}
    return run, Inputs(artifacts, stage.config(run))


@pytest.fixture(scope="module")
def validated(finished: tuple[Run, Inputs]) -> tuple[Run, Inputs]:
    run, inputs = finished
    return run, Inputs({"validate": inputs["validate"]})


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("starts")


@pytest.fixture(scope="module")
def cluster(starts: Path) -> Iterator[OnDask]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(shards.STARTS, str(starts))
        with open_executor({"MTL_CLUSTER": "local:2"}) as opened:
            assert isinstance(opened, OnDask)
            yield opened


@pytest.fixture
def in_process(starts: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    monkeypatch.setenv(shards.STARTS, str(starts))
    return InProcess()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), unique=True, max_size=50), st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_shards_divide_the_users(users: list[int], count: int) -> None:
    for ids in (np.array(users, dtype=np.int64), np.array([str(user) for user in users], dtype=object)):
        parts = [Shard(index, count).of(ids) for index in range(count)]
        assert sorted(np.concatenate(parts).tolist()) == sorted(ids.tolist())


def test_a_users_shard_does_not_depend_on_the_machine() -> None:
    assert Shard(0, 3).of(np.arange(12)).tolist() == [0, 5, 9]
    texts = np.array([f"user-{number}" for number in range(6)], dtype=object)
    assert Shard(0, 3).of(texts).tolist() == ["user-0", "user-4"]


def test_the_shards_of_a_cluster_make_what_one_process_makes(
    validated: tuple[Run, Inputs], cluster: OnDask, in_process: InProcess
) -> None:
    run, inputs = validated
    (alone,) = in_process.map("counts", shards.count_events, run, inputs)
    parts = cluster.map("counts", shards.count_events, run, inputs)
    assert len(parts) == 2
    assert min(len(part.frame) for part in parts) > 0
    joined = pd.concat([part.frame for part in parts]).sort_values(columns.USER, ignore_index=True)
    pd.testing.assert_frame_equal(joined, alone.frame.sort_values(columns.USER, ignore_index=True))
    assert sum(part.document["users"] for part in parts) == alone.document["users"]


def test_a_cluster_makes_the_recommendations_of_one_process_to_the_byte(
    finished: tuple[Run, Inputs], cluster: OnDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, inputs = finished

    @contextmanager
    def opened(environment: Mapping[str, str]) -> Iterator[OnDask]:
        yield cluster

    monkeypatch.setattr(publish, "open_executor", opened)
    made = publish.recommend(run, Inputs({**inputs.artifacts}, inputs.config))
    alone = inputs["recommend"]
    assert sorted(made.files) == alone.names
    for name in alone.names:
        assert made.files[name] == alone.read(name), name
    assert made.summary == alone.summary


def test_finished_shards_are_not_made_again(validated: tuple[Run, Inputs], cluster: OnDask, starts: Path) -> None:
    run, inputs = validated
    cluster.map("again", shards.count_events, run, inputs)
    before = len(list(starts.iterdir()))
    cluster.map("again", shards.count_events, run, inputs)
    assert len(list(starts.iterdir())) == before


def test_workers_keep_the_allocator_of_the_library(validated: tuple[Run, Inputs], cluster: OnDask) -> None:
    parts = cluster.map("allocator", shards.count_events, *validated)
    assert [part.document["allocator"] for part in parts] == [None, None]


def test_a_killed_worker_costs_one_more_start(validated: tuple[Run, Inputs], cluster: OnDask, starts: Path) -> None:
    for path in starts.iterdir():
        path.unlink()
    parts = cluster.map("killed", shards.die_once, *validated)
    assert len(parts) == 2
    assert len(list(starts.glob("0.*"))) == 3  # the start that died, and the second, which is noted twice
    assert len(list(starts.glob("1.*"))) == 1


def test_a_shard_that_kills_every_worker_is_named_and_leaves_no_artifact(
    validated: tuple[Run, Inputs], cluster: OnDask
) -> None:
    run, inputs = validated
    with pytest.raises(ClusterError, match="fatal: the worker of a shard died 3 times"):
        cluster.map("fatal", shards.always_die, run, inputs)
    folder = run.store.folder(run.scenario.name, run.as_of.iso, "fatal-shard", "x").parent
    assert len(list(folder.glob("*/manifest.json"))) <= 1


def test_an_error_of_the_work_is_the_works_own_and_is_not_repeated(
    validated: tuple[Run, Inputs], cluster: OnDask, starts: Path
) -> None:
    before = len(list(starts.iterdir()))
    with pytest.raises(DataError, match=r"shard \d: these rows cannot be used"):
        cluster.map("refused", shards.refuse, *validated)
    assert 1 <= len(list(starts.iterdir())) - before <= 2  # one start of each shard


def test_a_disk_that_fails_on_a_worker_is_not_blamed_on_the_scheduler(
    validated: tuple[Run, Inputs], cluster: OnDask
) -> None:
    with pytest.raises(StoreError, match=r"lost: shard \d of 2: a worker cannot read or write .*No space left"):
        cluster.map("lost", shards.lose_disk, *validated)


def test_a_worker_with_another_version_is_refused_before_anything_starts(
    validated: tuple[Run, Inputs], cluster: OnDask, monkeypatch: pytest.MonkeyPatch, starts: Path
) -> None:
    before = len(list(starts.iterdir()))
    monkeypatch.setattr(executor, "code_version", lambda: "another")
    with pytest.raises(ClusterError, match="a different version of mtl_tasks"):
        cluster.map("other", shards.count_events, *validated)
    assert len(list(starts.iterdir())) == before


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    said = f"MTL_CLUSTER={address}: the scheduler or its workers do not answer"
    with pytest.raises(ClusterError, match=said), open_executor({"MTL_CLUSTER": address}):
        raise AssertionError("there is no scheduler")


def test_a_scheduler_without_workers_is_refused(validated: tuple[Run, Inputs], monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(executor, "_SECONDS", 1)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as empty,
        open_executor({"MTL_CLUSTER": empty.scheduler_address}) as opened,
        pytest.raises(ClusterError, match="at least one worker"),
    ):
        opened.map("nobody", shards.count_events, *validated)


@pytest.mark.parametrize("named", ["local:0", "local:two", "http://host:1", "host:8786", "tcp://host"])
def test_an_address_that_is_none_is_refused(named: str) -> None:
    said = "write local:N, tcp://host:port or tls://host:port"
    with pytest.raises(ConfigError, match=said), open_executor({"MTL_CLUSTER": named}):
        raise AssertionError("this is no address")


def test_without_a_cluster_the_work_stays_in_this_process() -> None:
    with open_executor({}) as opened:
        assert isinstance(opened, InProcess)
