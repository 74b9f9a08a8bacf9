"""Shards in this process and on a real local cluster: equal results, nothing twice, and clear errors."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import drawn_by_ids
from mtl_tasks.core.errors import ClusterError, ConfigError, DataError, StoreError
from mtl_tasks.pipeline import executor
from mtl_tasks.pipeline.days import features
from mtl_tasks.pipeline.engine import Inputs, Run, find_stage, measured
from mtl_tasks.pipeline.executor import InProcess, OnDask, Shard, ShardExecutor, open_executor
from mtl_tasks.pipeline.stages import build_stages, judge_lists, publish, rank
from mtl_tasks.pipeline.stages.inputs import load_events, load_windows
from mtl_tasks.recommend.training_lists import DayLists, ListDays
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.artifacts import day_refs
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from tests.support import shards
from tests.support.databases import free_port
from tests.support.projects import AS_OF, SCENARIO, run_until, write_log, write_scenario

dumps = pytest.importorskip(
    "distributed.protocol.pickle", reason='no distributed here: make install EXTRAS="cluster"'
).dumps


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Inputs]:
    """A run up to its recommendations, made in one process."""
    root = tmp_path_factory.mktemp("project")
    write_scenario(root, recommend={**SCENARIO["recommend"], "reranking": {"diversity": 0.3}})
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
def users(validated: tuple[Run, Inputs]) -> dict[str, pd.DataFrame]:
    events = load_events(*validated).frame
    return {"users": pd.DataFrame({columns.USER: events[columns.USER].unique()})}


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
@settings(max_examples=50)
def test_shards_divide_the_users(users: list[int], count: int) -> None:
    for ids in (np.array(users, dtype=np.int64), np.array([str(user) for user in users], dtype=object)):
        parts = [Shard(index, count).of(ids) for index in range(count)]
        assert sorted(np.concatenate(parts).tolist()) == sorted(ids.tolist())
        table = pd.DataFrame({columns.USER: ids})
        for index, part in enumerate(parts):
            assert Shard(index, count).rows(table)[columns.USER].tolist() == part.tolist()


def test_a_users_shard_does_not_depend_on_the_machine() -> None:
    assert Shard(0, 3).of(np.arange(12)).tolist() == [0, 5, 9]
    texts = np.array([f"user-{number}" for number in range(6)], dtype=object)
    assert Shard(0, 3).of(texts).tolist() == ["user-0", "user-4"]


def test_the_shards_of_a_cluster_make_what_one_process_makes(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask, in_process: InProcess
) -> None:
    (alone,) = in_process.map("counts", shards.CountEvents(*validated), users)
    parts = cluster.map("counts", shards.CountEvents(*validated), users)
    assert len(parts) == 2
    counts = [part.tables["counts"] for part in parts]
    assert min(map(len, counts)) > 0
    joined = pd.concat(counts).sort_values(columns.USER, ignore_index=True)
    pd.testing.assert_frame_equal(joined, alone.tables["counts"].sort_values(columns.USER, ignore_index=True))
    assert sum(part.document["users"] for part in parts) == alone.document["users"]


def opening(opened: ShardExecutor, patch: pytest.MonkeyPatch) -> None:
    """Give every stage this executor."""

    @contextmanager
    def open_given(environment: Mapping[str, str]) -> Iterator[ShardExecutor]:
        yield opened

    for module in (features, rank, judge_lists, publish):
        patch.setattr(module, "open_executor", open_given)


@pytest.mark.parametrize("name", ["rank", "evaluate", "recommend"])
def test_a_cluster_makes_the_artifact_of_one_process_to_the_byte(
    name: str, finished: tuple[Run, Inputs], cluster: OnDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, inputs = finished
    opening(cluster, monkeypatch)
    stage, alone = build_stages(run.scenario)[name], inputs[name]
    given_inputs = Inputs({one: inputs[one] for one in stage.needs}, stage.config(run))
    with measured() as usage, threadpool_limits(1, "blas"):
        made = stage.body(run, given_inputs)
    assert sorted(made.files) == alone.names
    for file in alone.names:
        assert made.files[file] == alone.read(file), file
    assert made.summary == alone.summary
    assert usage["shards"] == 2
    assert usage["shard_seconds"] > usage["common_seconds"] > 0
    assert usage["shard_peak_mb"] > 1
    assert alone.manifest["usage"]["shards"] == 1


def test_a_cluster_makes_the_features_of_one_process_to_the_byte(
    finished: tuple[Run, Inputs], cluster: OnDask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, inputs = finished
    opening(cluster, monkeypatch)
    made, results = run_until(run.store.root.parent, "features", AS_OF, str(tmp_path))
    artifact = made.store.open(results["features"].ref)
    assert day_refs(artifact) == day_refs(inputs["features"])
    assert artifact.manifest["usage"]["shards"] == 2
    shards_made = [json.loads(path.read_text()) for path in tmp_path.glob("*/*/features-shard/*/*/shard.json")]
    assert sum(len(document["made"]) for document in shards_made) == len(day_refs(artifact))
    assert min(len(document["made"]) for document in shards_made) > 0
    for ref in day_refs(artifact):  # the shards' own artifacts stay
        shutil.rmtree(tmp_path / ref.uri)
    again, results = run_until(run.store.root.parent, "features", AS_OF, str(tmp_path))
    assert day_refs(again.store.open(results["features"].ref)) == day_refs(inputs["features"])
    assert [again.store.look_up(ref) is not None for ref in day_refs(artifact)] == [True] * len(day_refs(artifact))


def champion_of(finished: tuple[Run, Inputs]) -> tuple[Run, Inputs, Scenario, Inputs]:
    """Return a run, and itself as the champion that it is compared with."""
    run, inputs = finished
    own = {name: inputs[name] for name in ("validate", "split")}
    models = {name: artifact for name, artifact in inputs.artifacts.items() if name not in own}
    return run, Inputs(own), run.scenario, Inputs(models)


def test_a_cluster_makes_the_champions_lists_of_one_process(
    finished: tuple[Run, Inputs], cluster: OnDask, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = judge_lists.champion_list_values(*champion_of(finished))
    opening(cluster, monkeypatch)
    made = judge_lists.champion_list_values(*champion_of(finished))
    pd.testing.assert_frame_equal(made, alone, check_exact=True)
    values = finished[1]["evaluate"].frame(judge_lists.LIST_VALUES)
    assert made["champion.ndcg"].tolist() == values["with_rules.ndcg"].tolist()  # it is the run itself


@dataclass(frozen=True)
class DealtShard(Shard):
    """A shard of any partition: users whose number, drawn by a seed, is between two bounds."""

    seed: int
    low: float
    high: float

    def holds(self, users: NDArray[Any]) -> NDArray[np.bool_]:
        drawn = drawn_by_ids((self.seed,), users)
        return (drawn >= self.low) & (drawn < self.high)


@st.composite
def partitions(draw: st.DrawFn) -> InProcess:
    cuts = draw(st.lists(st.sampled_from([0.0, 0.1, 0.4, 0.5, 0.95]), min_size=1, max_size=3))
    bounds, seed = [0.0, *sorted(cuts), 1.0], draw(st.integers(0, 1000))
    count = len(bounds) - 1
    return InProcess([DealtShard(number, count, seed, *bounds[number : number + 2]) for number in range(count)])


@pytest.fixture(scope="module")
def whole_lists(finished: tuple[Run, Inputs]) -> list[DayLists]:
    """The lists that rankers learn from, made in one shard."""
    with threadpool_limits(1, "blas"):
        early, blend = rank.labeled_lists(rank.TrainingLists(*finished), days_of(finished))
    return [*early, *blend]


@given(partitions())
@settings(max_examples=4)
def test_any_partition_of_users_gives_the_same_result(
    finished: tuple[Run, Inputs], whole_lists: list[DayLists], dealt: InProcess
) -> None:
    run, inputs = finished
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1, "blas"):
        opening(dealt, patch)
        document, values = judge_lists.judge_lists(run, inputs)
        made = publish.recommend(run, inputs)
        early, blend = rank.labeled_lists(rank.TrainingLists(run, inputs), days_of(finished))
    stored = read_document(inputs["evaluate"], "evaluation", Evaluation).ranking
    assert document == stored.model_copy(update={"impressions": document.impressions})
    pd.testing.assert_frame_equal(values, inputs["evaluate"].frame(judge_lists.LIST_VALUES), check_exact=True)
    assert made.files == {name: inputs["recommend"].read(name) for name in inputs["recommend"].names}
    for day, other in zip([*early, *blend], whole_lists, strict=True):
        assert_same_lists(day, other)


def days_of(finished: tuple[Run, Inputs]) -> ListDays:
    return ListDays.of(load_windows(finished[1]["split"]), finished[0].scenario)


def assert_same_lists(made: DayLists, other: DayLists) -> None:
    assert (made.day, made.users) == (other.day, other.users)
    for name in ("lists", "gain", "ideal", "users"):
        assert getattr(made.lists, name).tolist() == getattr(other.lists, name).tolist(), name
    pd.testing.assert_frame_equal(made.lists.rows.scored, other.lists.rows.scored, check_exact=True)
    pd.testing.assert_frame_equal(made.lists.rows.features, other.lists.rows.features, check_exact=True)


def test_the_number_of_shards_is_in_no_key(finished: tuple[Run, Inputs], monkeypatch: pytest.MonkeyPatch) -> None:
    run, inputs = finished
    monkeypatch.setenv("MTL_CLUSTER", "local:3")
    monkeypatch.setenv("MTL_CLUSTER_SIZE", "3")
    refs = {name: artifact.ref for name, artifact in inputs.artifacts.items()}
    for name in ("rank", "evaluate", "gate", "recommend"):
        found = find_stage(build_stages(run.scenario)[name], run, refs)
        assert found is not None
        assert found.ref == refs[name]


def test_finished_shards_are_not_made_again(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask, starts: Path
) -> None:
    cluster.map("again", shards.CountEvents(*validated), users)
    before = len(list(starts.iterdir()))
    cluster.map("again", shards.CountEvents(*validated), users)
    assert len(list(starts.iterdir())) == before


def test_shards_that_are_given_other_rows_are_made(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask, starts: Path
) -> None:
    cluster.map("given", shards.CountEvents(*validated), users)
    before = len(list(starts.iterdir()))
    parts = cluster.map("given", shards.CountEvents(*validated), {"users": users["users"].head(3)})
    assert len(list(starts.iterdir())) == before + 2
    assert sum(part.document["users"] for part in parts) == 3


def test_workers_keep_the_allocator_of_the_library(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask
) -> None:
    parts = cluster.map("allocator", shards.CountEvents(*validated), users)
    assert [part.document["allocator"] for part in parts] == [None, None]


def test_the_log_says_what_is_done_and_left_and_where_the_dashboard_is(
    validated: tuple[Run, Inputs],
    users: dict[str, pd.DataFrame],
    cluster: OnDask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger=executor.__name__)
    cluster.map("told", shards.CountEvents(*validated), users)
    assert re.search(r"told: 2 shards on .*dashboard: http://127\.0\.0\.1:\d+/status", caplog.messages[0])
    assert caplog.messages[-1] == "told: shards: 2 done, 0 failed, 0 left"
    caplog.clear()
    with pytest.raises(DataError):
        cluster.map("told", shards.Refuse(*validated), users)
    assert re.search(r"told: shards: 0 done, [12] failed, [01] left", caplog.messages[-1])


def test_a_killed_worker_costs_one_more_start(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask, starts: Path
) -> None:
    for path in starts.iterdir():
        path.unlink()
    parts = cluster.map("killed", shards.DieOnce(*validated), users)
    assert len(parts) == 2
    assert len(list(starts.glob("0.*"))) == 3  # the start that died, and the second, which is noted twice
    assert len(list(starts.glob("1.*"))) == 1


def test_a_shard_that_kills_every_worker_is_named_and_leaves_no_artifact(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask
) -> None:
    run, _ = validated
    with pytest.raises(ClusterError, match="fatal: the worker of a shard died 3 times"):
        cluster.map("fatal", shards.AlwaysDie(*validated), users)
    folder = run.store.folder(run.scenario.name, run.as_of.iso, "fatal-shard", "x").parent
    assert len(list(folder.glob("*/manifest.json"))) <= 1


def test_an_error_of_the_work_is_the_works_own_and_is_not_repeated(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask, starts: Path
) -> None:
    before = len(list(starts.iterdir()))
    with pytest.raises(DataError, match=r"shard \d: these rows cannot be used"):
        cluster.map("refused", shards.Refuse(*validated), users)
    assert 1 <= len(list(starts.iterdir())) - before <= 2  # one start of each shard


def test_a_disk_that_fails_on_a_worker_is_not_blamed_on_the_scheduler(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], cluster: OnDask
) -> None:
    with pytest.raises(StoreError, match=r"lost: shard \d of 2: a worker cannot read or write .*No space left"):
        cluster.map("lost", shards.LoseDisk(*validated), users)


@pytest.mark.parametrize(
    ("function", "other", "named"),
    [("code_version", "another", "mtl_tasks"), ("library_versions", {"numpy": "1.0"}, "numpy")],
)
def test_a_worker_with_another_version_is_refused_before_anything_starts(
    function: str,
    other: Any,
    named: str,
    validated: tuple[Run, Inputs],
    users: dict[str, pd.DataFrame],
    cluster: OnDask,
    monkeypatch: pytest.MonkeyPatch,
    starts: Path,
) -> None:
    before = len(list(starts.iterdir()))
    monkeypatch.setattr(executor, function, lambda: other)
    with pytest.raises(ClusterError, match=f"a different version of {named}"):
        cluster.map("other", shards.CountEvents(*validated), users)
    assert len(list(starts.iterdir())) == before


def test_a_worker_without_this_code_is_refused(tmp_path: Path) -> None:
    said = r"worker tcp://\S+ cannot run this code \(.*No module named 'mtl_tasks'.*\): install the same release"
    with native_cluster(tmp_path) as (address, _, _), open_executor({"MTL_CLUSTER": address}) as opened:
        assert isinstance(opened, OnDask)
        with pytest.raises(ClusterError, match=said):
            opened._ready_workers()


def test_workers_are_asked_for_their_own_environment_and_are_not_sent_this_ones(
    cluster: OnDask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[bytes] = []
    ask = cluster._client.run

    def run(question: Any, *arguments: Any, **options: Any) -> Any:
        sent.append(dumps((question, arguments)))
        return ask(question, *arguments, **options)

    monkeypatch.setattr(cluster._client, "run", run)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "hunter2")
    assert cluster._ready_workers() == 2
    assert sent
    assert not any(b"hunter2" in message for message in sent)
    assert "costs more CPU" not in caplog.text


def test_a_worker_with_the_costly_allocator_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    with native_cluster() as (address, _, _), open_executor({"MTL_CLUSTER": address}) as opened:
        monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
        assert isinstance(opened, OnDask)
        opened._ready_workers()
    assert "MALLOC_TRIM_THRESHOLD_=65536 costs more CPU" in caplog.text


def test_fewer_workers_than_needed_are_refused_before_anything_starts(
    validated: tuple[Run, Inputs],
    users: dict[str, pd.DataFrame],
    cluster: OnDask,
    monkeypatch: pytest.MonkeyPatch,
    starts: Path,
) -> None:
    monkeypatch.setattr(executor, "_SECONDS", 1)
    before = len(list(starts.iterdir()))
    address = str(cluster._client.scheduler_info()["address"])
    environment = {"MTL_CLUSTER": address, "MTL_CLUSTER_SIZE": "3"}
    said = "2 of the 3 workers of MTL_CLUSTER_SIZE are there after 1 s: start the others, or lower MTL_CLUSTER_SIZE"
    with open_executor(environment) as opened, pytest.raises(ClusterError, match=said):
        opened.map("few", shards.CountEvents(*validated), users)
    assert len(list(starts.iterdir())) == before


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_SECONDS", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    said = f"MTL_CLUSTER={address}: the scheduler or its workers do not answer"
    with pytest.raises(ClusterError, match=said), open_executor({"MTL_CLUSTER": address}):
        raise AssertionError("there is no scheduler")


@contextmanager
def native_cluster(
    root: Path = Path(__file__).parents[2],
) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A scheduler and a worker without a nanny, with the code in a folder: address, scheduler, worker process."""
    address = f"tcp://127.0.0.1:{free_port()}"
    environment = {**os.environ, "PYTHONPATH": str(root)}
    host, port = "--host=127.0.0.1", f"--port={address.rpartition(':')[2]}"
    commands = (
        ["distributed.cli.dask_scheduler", host, port, "--no-dashboard"],
        ["distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard", "--nthreads=1", "--host=127.0.0.1"],
    )
    with contextlib.ExitStack() as started:
        made = []
        for command in commands:
            process = started.enter_context(
                subprocess.Popen([sys.executable, "-m", *command], env=environment, stderr=subprocess.DEVNULL, cwd=root)
            )
            started.callback(process.kill)
            made.append(process)
        yield address, made[0], made[1]


@pytest.mark.parametrize(
    ("victim", "said"),
    [
        ("scheduler", "gone: the scheduler or its workers do not answer .*finished shards are kept"),
        ("worker", "gone: no worker has been there for 1 s, and 1 of 1 shards are left: start workers, then try again"),
    ],
)
def test_a_scheduler_or_a_last_worker_that_dies_meanwhile_is_one_error(
    victim: str,
    said: str,
    validated: tuple[Run, Inputs],
    users: dict[str, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with native_cluster() as (address, scheduler, worker), open_executor({"MTL_CLUSTER": address}) as opened:
        monkeypatch.setattr(executor, "_SECONDS", 1)
        pid = {"scheduler": scheduler, "worker": worker}[victim].pid
        with pytest.raises(ClusterError, match=said):
            opened.map("gone", shards.KillAnother(*validated, {shards.VICTIM: str(pid).encode()}), users)


def test_a_scheduler_without_workers_is_refused(
    validated: tuple[Run, Inputs], users: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(executor, "_SECONDS", 1)
    with (
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as empty,
        open_executor({"MTL_CLUSTER": empty.scheduler_address}) as opened,
        pytest.raises(ClusterError, match="at least one worker"),
    ):
        opened.map("nobody", shards.CountEvents(*validated), users)


@pytest.mark.parametrize("size", ["0", "two", "-1", "99999"])
def test_a_number_of_workers_that_is_none_is_refused(size: str) -> None:
    environment = {"MTL_CLUSTER": "tcp://127.0.0.1:1", "MTL_CLUSTER_SIZE": size}
    with (
        pytest.raises(ConfigError, match=f"MTL_CLUSTER_SIZE={size}: write the least number"),
        open_executor(environment),
    ):
        raise AssertionError("this is no number")


@pytest.mark.parametrize("named", ["local:0", "local:two", "http://host:1", "host:8786", "tcp://host"])
def test_an_address_that_is_none_is_refused(named: str) -> None:
    said = "write local:N, tcp://host:port or tls://host:port"
    with pytest.raises(ConfigError, match=said), open_executor({"MTL_CLUSTER": named}):
        raise AssertionError("this is no address")


def test_without_a_cluster_the_work_stays_in_this_process() -> None:
    with open_executor({}) as opened:
        assert isinstance(opened, InProcess)
