"""Shards of a stage, in this process or on the workers of a Dask cluster.

A shard is the part of a stage's work that belongs to some users. ``MTL_CLUSTER`` names the cluster: ``local:N`` starts
N worker processes on this machine, ``tcp://…`` and ``tls://…`` are addresses of a scheduler. Without it the stage has
one shard, which runs in this process. Where the shards run is in no key: it does not change the result.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mtl_tasks.core.errors import ClusterError, ConfigError, answering
from mtl_tasks.core.extras import require_package
from mtl_tasks.core.process import settle_threads
from mtl_tasks.pipeline.documents import RunSpec
from mtl_tasks.pipeline.engine import Inputs, Run, code_version, jax_versions, library_versions
from mtl_tasks.store.artifacts import Payload, Ref, to_json
from mtl_tasks.store.sealing import key_from

if TYPE_CHECKING:
    from distributed import Client

CLUSTER: Final = "MTL_CLUSTER"
_TRIM: Final = "MALLOC_TRIM_THRESHOLD_"
_ATTEMPTS: Final = 3  # of a shard whose worker dies; the scheduler of a cluster elsewhere has its own number
_SECONDS: Final = 30  # to connect to a scheduler, and for its first worker
_FRAME, _DOCUMENT = "recommendations", "shard"  # names in the artifact; erasure knows the first as a table of users
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Shard ``index`` of ``count``: the users whose hashed id has that remainder."""

    index: int
    count: int

    def of(self, users: NDArray[Any]) -> NDArray[Any]:
        """Return the users of this shard, in their order; the same on every machine."""
        if self.count == 1:
            return users
        hashed = pd.util.hash_array(users.astype("int64") if users.dtype.kind in "iu" else users.astype(object))
        return np.asarray(users[hashed % np.uint64(self.count) == self.index])


class ShardResult(NamedTuple):
    """Result of a shard: a table with a row's user, and a JSON-serializable document."""

    frame: pd.DataFrame
    document: dict[str, Any]


ShardWork = Callable[[Run, Inputs, Shard], ShardResult]


class ShardExecutor(Protocol):
    """Runs a stage's shards."""

    def map(self, stage: str, work: ShardWork, run: Run, inputs: Inputs) -> list[ShardResult]:
        """Return the results of all shards, in their order.

        Parameters
        ----------
        work
            A function at the top of a module, so that a worker finds it by its name. Its result may depend only on the
            run, the inputs and the shard.

        Raises
        ------
        MtlError
            As ``work``.
        ClusterError
            If the cluster cannot do the work.
        """


class InProcess:
    """One shard, in this process."""

    def map(self, stage: str, work: ShardWork, run: Run, inputs: Inputs) -> list[ShardResult]:
        """See :class:`ShardExecutor`."""
        return [work(run, inputs, Shard(0, 1))]


class OnDask:
    """As many shards as the cluster has workers; only references pass through Dask, data goes through the store.

    A shard's result is an artifact, so that a stage that is tried again finds the shards that are done.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def map(self, stage: str, work: ShardWork, run: Run, inputs: Inputs) -> list[ShardResult]:
        """See :class:`ShardExecutor`."""
        from distributed import as_completed

        workers = self._ready_workers()
        log.info("%s: %d shards on %s; dashboard: %s", stage, workers, self._client, self._client.dashboard_link)
        orders = [_order(stage, work, run, inputs, Shard(index, workers)) for index in range(workers)]
        futures = self._client.map(_run_order, orders, pure=False)
        with _explained(stage):
            for done, future in enumerate(as_completed(futures), 1):
                future.result()
                log.info("%s: %d of %d shards done", stage, done, workers)
            refs = [Ref.from_json(future.result()) for future in futures]
        artifacts = [run.store.open(ref) for ref in refs]
        return [ShardResult(artifact.frame(_FRAME), artifact.json(_DOCUMENT)) for artifact in artifacts]

    def _ready_workers(self) -> int:
        """Return the number of workers, all with this code and these libraries."""
        with _explained("the cluster"):
            self._client.wait_for_workers(1, timeout=_SECONDS)
            found: dict[str, dict[str, Any]] = self._client.run(_versions)
        own = _versions()
        for address, theirs in found.items():
            differing = [name for name, version in own.items() if theirs.get(name) != version]
            if differing:
                raise ClusterError(
                    f"worker {address} has another version of {', '.join(differing)}: install the same release and "
                    "the same requirements on every worker, then start it again"
                )
        for address, value in self._client.run(os.environ.get, _TRIM).items():
            if value is not None:
                log.warning("worker %s: %s=%s costs more CPU: unset it before the worker starts", address, _TRIM, value)
        return len(found)


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
        If ``MTL_CLUSTER`` cannot be read, or the package is not installed.
    ClusterError
        If the scheduler does not answer.
    """
    named = environment.get(CLUSTER, "")
    local = re.fullmatch(r"local:(\d{1,4})", named)
    if not named:
        yield InProcess()
    elif local and int(local[1]) > 0:
        with _local_client(int(local[1]), threads) as client:
            yield OnDask(client)
    elif re.fullmatch(r"(tcp|tls)://\S+:\d+", named):
        with _remote_client(named) as client:
            yield OnDask(client)
    else:
        raise ConfigError(f"{CLUSTER}={named}: write local:N, tcp://host:port or tls://host:port")


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
    from distributed.client import FutureCancelledError
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
    except (CommClosedError, FutureCancelledError, TimeoutError, OSError) as error:
        raise ClusterError(
            f"{subject}: the scheduler or its workers do not answer ({type(error).__name__}): check {CLUSTER}, that "
            "the scheduler and at least one worker run, and the network; finished shards are kept"
        ) from None


def _versions() -> dict[str, str | None]:
    return {"mtl_tasks": code_version(), **library_versions(), **jax_versions()}


def _order(stage: str, work: ShardWork, run: Run, inputs: Inputs, shard: Shard) -> dict[str, Any]:
    """Return everything that a worker needs to run a shard, as a JSON document."""
    absolute = str(run.store.root.absolute()) if "://" not in str(run.store.root) else str(run.store.root)
    return {
        "stage": stage,
        "work": f"{work.__module__}:{work.__qualname__}",
        "run": RunSpec.of(run).model_copy(update={"store": absolute}).to_json(),
        "refs": {name: artifact.ref.to_json() for name, artifact in inputs.artifacts.items()},
        "config": dict(inputs.config),
        "shard": asdict(shard),
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
    run = RunSpec.from_json(order["run"]).open(key_from(os.environ))
    parts = run.in_key({**order, "run": run.scenario.model_dump(mode="json"), "versions": _versions()})
    key = hashlib.sha256(to_json(parts)).hexdigest()
    folder = run.store.folder(run.scenario.name, run.as_of.iso, f"{order['stage']}-shard", key)
    found = run.store.find(folder)
    if found is not None:
        return found.ref.to_json()
    inputs = Inputs({name: run.store.open(Ref.from_json(ref)) for name, ref in order["refs"].items()}, order["config"])
    module, _, name = order["work"].partition(":")
    work: ShardWork = getattr(importlib.import_module(module), name)
    with threadpool_limits(1, "blas"):
        result = work(run, inputs, shard)
    payload = Payload(rows=len(result.frame))
    payload.add_frame(_FRAME, result.frame)
    payload.add_json(_DOCUMENT, result.document)
    facts = {"scenario": run.scenario.name, "stage": f"{order['stage']}-shard", "as_of": run.as_of.iso, "usage": {}}
    return run.store.publish(folder, key, payload, facts).ref.to_json()
