"""Documents that pass between the processes of a run: its specification, and the results of its stages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import Document, faults_in
from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.pipeline.engine import Run, Stage, StageResult, StoredRef
from mtl_tasks.scenario import parse_scenario
from mtl_tasks.store.artifacts import Ref, Store
from mtl_tasks.store.documents.origin import Origin
from mtl_tasks.store.sealing import StoreKey


class RunSpec(Document):
    """Specification that every process of a run starts from.

    The scenario file is not read again, so that a run cannot change midway.

    Attributes
    ----------
    scenario
        The scenario as JSON text: PostgreSQL reorders the keys of a document, and the order of the tasks matters.
    store
        Address of the store. Its key is not part of the document: every process is given it.
    force
        Token of a forced run; see :class:`~mtl_tasks.pipeline.engine.Run`.
    overrides
        Settings that the parameters of the run change in the scenario file.
    warnings
        Sentences for the note of the run.
    origin
        Who or what started the run; None if that is not known.
    """

    scenario: str
    as_of: AsOf
    store: str
    force: str | None
    overrides: dict[str, Any] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    origin: Origin | None = None

    @classmethod
    def of(cls, run: Run) -> RunSpec:
        """Return the specification of a run."""
        scenario = run.scenario.model_dump_json()
        return cls(scenario=scenario, as_of=run.as_of, store=str(run.store.root), force=run.force)

    @classmethod
    def from_json(cls, document: Any) -> RunSpec:
        """Invert :meth:`to_json`.

        Raises
        ------
        ConfigError
            If the document is not a specification.
        """
        try:
            return _RUN_SPEC.validate_python(document)
        except ValidationError as error:
            raise ConfigError(f"not the specification of a run ({faults_in(error)}): trigger a new run") from error

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form; defaults only if they were given."""
        return self.model_dump(mode="json", exclude_unset=True)

    def open(self, key: StoreKey | None = None) -> Run:
        """Return the run; ``key`` is the key that seals the store's documents.

        Raises
        ------
        ConfigError
            If the scenario has keys that this code does not know.
        """
        scenario = parse_scenario(json.loads(self.scenario), where="the run's scenario")
        return Run(scenario, self.as_of, Store(self.store, key), self.force, self.origin)


_RUN_SPEC: Final = TypeAdapter(RunSpec)


class UpstreamResults(Mapping[str, StageResult]):
    """Results of the stages before a stage, by the stage's name."""

    def __init__(self, results: Iterable[StageResult] = ()) -> None:
        self._results = {result.stage: result for result in results}

    @classmethod
    def from_json(cls, upstream: Any) -> UpstreamResults:
        """Read the results in the documents that a scheduler passes to a task.

        Parameters
        ----------
        upstream
            Documents of results, as :meth:`StageResult.to_json` returns them; None for a stage that was skipped; and
            sequences of these, nested in any way.

        Raises
        ------
        ArtifactError
            If something else is among them.
        """
        return cls(map(StageResult.from_json, _documents(upstream)))

    def refs(self, stage: Stage) -> dict[str, Ref]:
        """Return the references that a stage needs, by stage name.

        Raises
        ------
        ArtifactError
            If one is missing.
        """
        needed = stage.inputs_among(self)
        missing = [name for name in needed if name not in self]
        if missing:
            raise ArtifactError(
                f"{stage.name}: no result of {', '.join(missing)} was passed to it (there are: "
                f"{', '.join(self) or 'none'}); clear the task of {missing[0]}, so that it runs again"
            )
        return {name: self[name].ref for name in needed}

    def in_order(self, names: Iterable[str]) -> dict[str, StageResult]:
        """Return the results of some stages in the order of their names; stages without a result are left out."""
        return {name: self[name] for name in names if name in self}

    def __getitem__(self, stage: str) -> StageResult:
        return self._results[stage]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


def _documents(upstream: Any) -> Iterator[Any]:
    """Yield all but sequences and None."""
    if isinstance(upstream, Sequence) and not isinstance(upstream, str):
        # A scheduler may pass a lazy sequence. Its slice is one request; iterating makes one per item, and a failed one
        # at the end.
        for item in upstream[:]:
            yield from _documents(item)
    elif upstream is not None:
        yield upstream


class RecommendSpec(Document):
    """Starting point of the processes that make recommendations with a promoted run.

    Attributes
    ----------
    results
        Of the stages that recommendations are made from, and of those on the page that still exist.
    """

    run_spec: RunSpec
    results: tuple[StageResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {"run_spec": self.run_spec.to_json(), "results": [result.to_json() for result in self.results]}


class ChampionEvent(Document):
    """The event sent when a run becomes today's champion.

    Attributes
    ----------
    verdict
        The verdict in one line.
    standing
        Status of the run; see :meth:`mtl_tasks.store.registry.Snapshot.standing_of`.
    metrics
        Task to metric to value of the fusion on the test window.
    refs
        References of the stages that led to the verdict, by stage.
    """

    run_key: str
    as_of: AsOf
    verdict: str
    standing: str
    metrics: dict[str, dict[str, float | None]]
    refs: dict[str, StoredRef]
