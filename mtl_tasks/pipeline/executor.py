"""Shards of a stage, in this process or on the workers of a Dask cluster.

A shard is the part of a stage's work that belongs to some users, or to some days. ``MTL_CLUSTER`` names the cluster:
``local:N`` starts N worker processes on this machine, ``tcp://…`` and ``tls://…`` are addresses of a scheduler, and
``MTL_CLUSTER_SIZE`` is the least number of its workers. Without ``MTL_CLUSTER`` the stage has one shard, which runs in
this process. Where the shards run is in no key: it does not change the result.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mtl_tasks.core import columns
from mtl_tasks.core.arrays import id_hashes
from mtl_tasks.core.errors import ClusterError, ConfigError, answering
from mtl_tasks.core.extras import require_package
from mtl_tasks.core.process import settle_threads
from mtl_tasks.core.stages import SHARD, SHARD_INPUT
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.engine import (
    Inputs,
    Run,
    code_version,
    jax_versions,
    library_versions,
    measured,
    note_usage,
)
from mtl_tasks.store.artifacts import Artifact, Payload, Ref, to_json
from mtl_tasks.store.sealing import key_from

if TYPE_CHECKING:
    from distributed import Client, Future

    from mtl_tasks.data.interaction_log import InteractionLog

T = TypeVar("T")
CLUSTER: Final = "MTL_CLUSTER"
SIZE: Final = "MTL_CLUSTER_SIZE"
_TRIM: Final = "MALLOC_TRIM_THRESHOLD_"
_ATTEMPTS: Final = 3  # of a shard whose worker dies; the scheduler of a cluster elsewhere has its own number
_SECONDS: Final = 30  # to connect to a scheduler, for its workers, and between two looks at them while shards run
_INSTALL: Final = "install the same release and the same requirements on every worker, then start it again"
_TABLE, _FILE, _DOCUMENT = "table.", "file.", "shard"  # of names in the artifacts of shards
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Shard ``index`` of ``count``: the users whose hashed id has that remainder, or a range of consecutive parts."""

    index: int
    count: int

    def of(self, users: NDArray[Any]) -> NDArray[Any]:
        """Return the users of this shard, in their order; the same on every machine."""
        return users[self.holds(users)]

    def holds(self, users: NDArray[Any]) -> NDArray[np.bool_]:
        """Mark the users of this shard, bool (n,)."""
        return np.asarray(id_hashes(users) % np.uint64(self.count) == self.index)

    def span(self, sizes: Sequence[int]) -> range:
        """Return the positions of this shard's parts, given the size of each part in their order.

        Shards have consecutive parts of about equal total size; a shard may have none.

        >>> [list(Shard(index, 2).span([5, 1, 1, 3])) for index in range(2)]
        [[0], [1, 2, 3]]
        """
        middles = np.cumsum(sizes) - np.asarray(sizes) / 2
        shards = np.minimum(middles * self.count // max(sum(sizes), 1), self.count - 1)
        first, end = np.searchsorted(shards, [self.index, self.index + 1]).tolist()
        return range(first, end)

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of this shard's users, in their order."""
        if self.count == 1:
            return table
        return table[self.holds(table[columns.USER].to_numpy())].reset_index(drop=True)


class ShardResult(NamedTuple):
    """Result of a shard: tables with each row's user, and a JSON-serializable document."""

    tables: dict[str, pd.DataFrame]
    document: dict[str, Any]


class ShardWork(ABC):
    """A stage's work on the users, or the days, of a shard.

    A subclass is at the top of a module, so that a worker finds it by its name. What its cached properties load is
    common to all shards: every worker loads it, and the stage itself may use it too.

    Parameters
    ----------
    files
        What the stage made for all shards, by name.

    Attributes
    ----------
    common_seconds
        Time of the work that workers repeat, whichever users they have. Of shards of days that includes counting what
        was before the first day, which takes later shards longer.
    """

    def __init__(self, run: Run, inputs: Inputs, files: Mapping[str, bytes] | None = None) -> None:
        self.run, self.inputs, self.files = run, inputs, dict(files or {})
        self.common_seconds = 0.0
        self._since = time.monotonic()

    @abstractmethod
    def make(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> ShardResult:
        """Return the result of a shard; it may depend only on the run, the inputs, the files and the tables.

        Parameters
        ----------
        tables
            The rows of the shard's users in the tables that the stage gives to its shards.
        """

    def is_whole(self, document: Mapping[str, Any]) -> bool:
        """Whether a shard that was made before can be taken, given its document; False if what it refers to is gone."""
        return True

    @cached_property
    def log(self) -> InteractionLog:
        """The run's log."""
        from mtl_tasks.pipeline.stages.inputs import load_events  # the stages import this module

        started = time.monotonic()
        read = load_events(self.run, self.inputs)
        took = time.monotonic() - started
        self.common_seconds += took
        self._since += took  # counted here, and not once more with the first batch
        return read

    def after_first(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield batches of users or days; the time before the first one is common to all shards."""
        for number, batch in enumerate(batches):
            if not number:
                self.common_seconds += time.monotonic() - self._since
            yield batch
        self._since = time.monotonic()

    def timed(self, shard: Shard, tables: Mapping[str, pd.DataFrame]) -> tuple[ShardResult, float]:
        """Return the result of a shard, made from its rows of the tables, and the seconds that it took."""
        self._since = started = time.monotonic()
        result = self.make(shard, {name: shard.rows(table) for name, table in tables.items()})
        return result, time.monotonic() - started


class ShardExecutor(Protocol):
    """Runs a stage's shards."""

    def map(self, stage: str, work: ShardWork, tables: Mapping[str, pd.DataFrame]) -> list[ShardResult]:
        """Return the results of all shards, in their order.

        Parameters
        ----------
        tables
            Tables with each row's user; a shard gets the rows of its users.

        Raises
        ------
        MtlError
            As ``work``.
        ClusterError
            If the cluster cannot do the work.
        """


class InProcess:
    """Shards one after the other in this process, by default a single one."""

    def __init__(self, shards: Sequence[Shard] = (Shard(0, 1),)) -> None:
        self._shards = shards

    def map(self, stage: str, work: ShardWork, tables: Mapping[str, pd.DataFrame]) -> list[ShardResult]:
        """See :class:`ShardExecutor`."""
        before, started = work.common_seconds, time.monotonic()
        made = [work.timed(shard, tables) for shard in self._shards]
        note_usage(
            shards=len(made),
            sharded_seconds=round(time.monotonic() - started, 3),
            shard_seconds=round(before + sum(seconds for _, seconds in made), 3),
            common_seconds=round(work.common_seconds, 3),
        )
        return [result for result, _ in made]


class OnDask:
    """As many shards as the cluster has workers; only references pass through Dask, data goes through the store.

    A shard's result is an artifact, so that a stage that is tried again finds the shards that are done.

    Parameters
    ----------
    least
        Number of workers without which nothing starts.
    """

    def __init__(self, client: Client, least: int = 1) -> None:
        self._client, self._least = client, least

    def map(self, stage: str, work: ShardWork, tables: Mapping[str, pd.DataFrame]) -> list[ShardResult]:
        """See :class:`ShardExecutor`."""
        started, workers = time.monotonic(), self._ready_workers()
        log.info("%s: %d shards on %s; dashboard: %s", stage, workers, self._client, self._client.dashboard_link)
        order = _order(stage, work, _publish_input(stage, work, tables))
        orders = [{**order, "shard": asdict(Shard(index, workers))} for index in range(workers)]
        with _explained(stage), self._client.as_current():  # the client of a remote scheduler is not the default one
            futures = self._client.map(_run_order, orders, pure=False)
            self._follow(stage, futures)
            refs = [Ref.from_json(future.result()) for future in futures]
        artifacts = [work.run.store.open(ref) for ref in refs]
        _note_usage(artifacts, time.monotonic() - started)
        return [_result_of(artifact) for artifact in artifacts]

    def _follow(self, stage: str, futures: list[Future[Any]]) -> None:
        """Log the shards as they end, and raise the error of the first that fails.

        Raises
        ------
        ClusterError
            If no worker is left to run the others.
        """
        from distributed import wait

        left, deserted = set(futures), False
        while left:
            try:
                ended = wait(left, timeout=_SECONDS, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                alone = not self._client.nthreads()
                if alone and deserted:  # twice, as a worker that died may be about to start again
                    raise ClusterError(
                        f"{stage}: no worker has been there for {_SECONDS} s, and {len(left)} of {len(futures)} shards "
                        "are left: start workers, then try again; finished shards are kept"
                    ) from None
                deserted = alone
                continue
            left, deserted = left - ended, False
            failed = [future for future in ended if future.status != "finished"]
            done = len(futures) - len(left) - len(failed)
            log.info("%s: shards: %d done, %d failed, %d left", stage, done, len(failed), len(left))
            for future in failed:
                future.result()

    def _ready_workers(self) -> int:
        """Return the number of workers, all with this code and these libraries."""
        self._await_workers()
        found, own = self._ask(_versions), _versions()
        for address, theirs in found.items():
            differing = [name for name, version in own.items() if theirs.get(name) != version]
            if differing:
                raise ClusterError(f"worker {address} has a different version of {', '.join(differing)}: {_INSTALL}")
        for address, value in self._ask(_trim).items():
            if value is not None:
                log.warning("worker %s: %s=%s costs more CPU: unset it before the worker starts", address, _TRIM, value)
        return len(found)

    def _ask(self, question: Callable[[], Any]) -> dict[str, Any]:
        """Return each worker's answer.

        Parameters
        ----------
        question
            A function of a module, which is sent by its name. A method would be sent with its object: that of
            ``os.environ`` with every secret of this process.
        """
        with _explained("the cluster"):
            answers: dict[str, Any] = self._client.run(question, on_error="return")
            for address, answer in answers.items():
                if isinstance(answer, OSError):
                    raise answer
                if isinstance(answer, Exception):
                    why = " ".join(str(answer).split())[:200]
                    raise ClusterError(f"worker {address} cannot run this code ({why}): {_INSTALL}")
        return answers

    def _await_workers(self) -> None:
        with _explained("the cluster"):
            try:
                self._client.wait_for_workers(self._least, timeout=_SECONDS)
            except TimeoutError:
                live = len(self._client.nthreads())
                if not live:
                    raise
                raise ClusterError(
                    f"the cluster: {live} of the {self._least} workers of {SIZE} are there after {_SECONDS} s: start "
                    f"the others, or lower {SIZE}; nothing was started"
                ) from None


@contextmanager
def open_executor(environment: Mapping[str, str], threads: int = 1) -> Iterator[ShardExecutor]:
    """Yield the executor that the environment names.

    Parameters
    ----------
    threads
        Threads of each local worker's libraries.

    Raises
    ------
    ConfigError
        If ``MTL_CLUSTER`` or ``MTL_CLUSTER_SIZE`` cannot be read, or the package is not installed.
    ClusterError
        If the scheduler does not answer.
    """
    named = environment.get(CLUSTER, "")
    local = re.fullmatch(r"local:(\d{1,4})", named)
    if not named:
        yield InProcess()
    elif local and int(local[1]) > 0:
        with _local_client(int(local[1]), threads) as client:
            yield OnDask(client, int(local[1]))
    elif re.fullmatch(r"(tcp|tls)://\S+:\d+", named):
        least = _least_workers(environment.get(SIZE, "1"))
        with _remote_client(named) as client:
            yield OnDask(client, least)
    else:
        raise ConfigError(f"{CLUSTER}={named}: write local:N, tcp://host:port or tls://host:port")


def _least_workers(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,3}", text):
        raise ConfigError(f"{SIZE}={text}: write the least number of workers, 1 to 9999")
    return int(text)


@contextmanager
def _local_client(workers: int, threads: int) -> Iterator[Client]:
    _require_distributed()
    import dask
    from distributed import Client, LocalCluster

    # Dask's nanny sets MALLOC_TRIM_THRESHOLD_ for its workers, with which this code takes more CPU.
    limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    settings = {
        "distributed.nanny.pre-spawn-environ": limits,
        "distributed.worker.memory.terminate": False,
        "distributed.scheduler.allowed-failures": _ATTEMPTS - 1,
    }
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def _remote_client(address: str) -> Iterator[Client]:
    _require_distributed()
    from distributed import Client

    with _explained(f"{CLUSTER}={address}"):
        client = Client(address, timeout=_SECONDS, set_as_default=False)
    try:
        yield client
    finally:
        client.close()


def _require_distributed() -> None:
    require_package("distributed", "cluster", f"{CLUSTER} is set, but it needs Dask's distributed")


@contextmanager
def _explained(subject: str) -> Iterator[None]:
    """Turn errors of the cluster into :class:`ClusterError`."""
    from distributed.client import FutureCancelledError, FuturesCancelledError
    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        yield
    except KilledWorker as error:
        times, reason = error.allowed_failures + 1, " ".join(str(error).split())[:200]
        raise ClusterError(
            f"{subject}: the worker of a shard died {times} times ({reason}): see the worker's log; if it ran out "
            "of memory, use more workers or larger ones"
        ) from None
    except (CommClosedError, FutureCancelledError, FuturesCancelledError, TimeoutError, OSError) as error:
        raise ClusterError(
            f"{subject}: the scheduler or its workers do not answer ({type(error).__name__}): check {CLUSTER}, that "
            "the scheduler and at least one worker run, and the network; finished shards are kept"
        ) from None


def _versions() -> dict[str, str | None]:
    return {"mtl_tasks": code_version(), **library_versions(), **jax_versions()}


def _trim() -> str | None:
    return os.environ.get(_TRIM)


def _publish_input(stage: str, work: ShardWork, tables: Mapping[str, pd.DataFrame]) -> Ref:
    """Store what all shards of a stage are given."""
    payload, run = Payload(rows=sum(map(len, tables.values()))), work.run
    for name, table in tables.items():
        payload.add_frame(f"{_TABLE}{name}", table)
    payload.files |= {f"{_FILE}{name}": data for name, data in work.files.items()}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in payload.files.items()}
    key = hashlib.sha256(to_json(run.in_key({"stage": stage, "files": hashes}))).hexdigest()
    return _publish(run, stage + SHARD_INPUT, key, payload, {}).ref


def _order(stage: str, work: ShardWork, given: Ref) -> dict[str, Any]:
    """Return everything that a worker needs to run the shards of a stage, as a JSON document."""
    run, kind = work.run, type(work)
    absolute = str(run.store.root.absolute()) if "://" not in str(run.store.root) else str(run.store.root)
    return {
        "stage": stage,
        "work": f"{kind.__module__}:{kind.__qualname__}",
        "run": RunSpec.of(run).model_copy(update={"store": absolute}).to_json(),
        "refs": {name: artifact.ref.to_json() for name, artifact in work.inputs.artifacts.items()},
        "config": dict(work.inputs.config),
        "given": given.to_json(),
    }


def _run_order(order: Mapping[str, Any]) -> dict[str, Any]:
    """Run a shard on a worker unless it was made before, and return the reference to its artifact.

    Raises
    ------
    StoreError
        If a disk or the store fails here: as an OSError it would look like a scheduler that does not answer.
    """
    settle_threads()
    shard = Shard(**order["shard"])
    with answering(f"{order['stage']}: shard {shard.index + 1} of {shard.count}: a worker cannot read or write"):
        return _shard_ref(order, shard)


def _shard_ref(order: Mapping[str, Any], shard: Shard) -> dict[str, Any]:
    run, stage = RunSpec.from_json(order["run"]).open(key_from(os.environ)), order["stage"] + SHARD
    parts = run.in_key({**order, "run": run.scenario.model_dump(mode="json"), "versions": _versions()})
    key = hashlib.sha256(to_json(parts)).hexdigest()
    found = run.store.find(run.store.folder(run.scenario.name, run.as_of.iso, stage, key))
    work, given = _work_of(order, run), run.store.open(Ref.from_json(order["given"]))
    if found is not None and work.is_whole(found.json(_DOCUMENT)):
        return found.ref.to_json()
    with measured() as usage, threadpool_limits(1, "blas"):
        result, _ = work.timed(shard, _tables_of(given))
        note_usage(common_seconds=round(work.common_seconds, 3))
    payload = Payload(rows=sum(map(len, result.tables.values())))
    for name, table in result.tables.items():
        payload.add_frame(f"{_TABLE}{name}", table)
    payload.add_json(_DOCUMENT, result.document)
    return _publish(run, stage, key, payload, usage).ref.to_json()


def _work_of(order: Mapping[str, Any], run: Run) -> ShardWork:
    inputs = Inputs({name: run.store.open(Ref.from_json(ref)) for name, ref in order["refs"].items()}, order["config"])
    given = run.store.open(Ref.from_json(order["given"]))
    files = {name.removeprefix(_FILE): given.read(name) for name in given.names if name.startswith(_FILE)}
    module, _, name = order["work"].partition(":")
    kind: type[ShardWork] = getattr(importlib.import_module(module), name)
    return kind(run, inputs, files)


def _publish(run: Run, stage: str, key: str, payload: Payload, usage: Mapping[str, float]) -> Artifact:
    folder = run.store.folder(run.scenario.name, run.as_of.iso, stage, key)
    facts = {"scenario": run.scenario.name, "stage": stage, "as_of": run.as_of.iso, "usage": dict(usage)}
    return run.store.publish(folder, key, payload, facts)


def _tables_of(artifact: Artifact) -> dict[str, pd.DataFrame]:
    names = [name.removesuffix(".parquet") for name in artifact.names if name.startswith(_TABLE)]
    return {name.removeprefix(_TABLE): artifact.frame(name) for name in names}


def _result_of(artifact: Artifact) -> ShardResult:
    return ShardResult(_tables_of(artifact), artifact.json(_DOCUMENT))


def _note_usage(shards: Sequence[Artifact], seconds: float) -> None:
    """Note the usage of shards that workers made, now or at an earlier try."""
    usages = [artifact.manifest["usage"] for artifact in shards]
    note_usage(
        shards=len(usages),
        sharded_seconds=round(seconds, 3),
        shard_seconds=round(sum(usage["seconds"] for usage in usages), 3),
        common_seconds=round(sum(usage["common_seconds"] for usage in usages), 3),
        shard_cpu_seconds=round(sum(usage["cpu_seconds"] for usage in usages), 3),
        shard_peak_mb=max(usage["peak_rss_mb"] for usage in usages),
    )
