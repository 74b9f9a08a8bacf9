"""The member `deep`: a network of all tasks beside a linear path from the features to each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Self

import numpy as np
import pandas as pd

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.checks import check_labels
from mtl_tasks.models.contributions import effects_of
from mtl_tasks.models.deep.device import check_installed, resolve_device
from mtl_tasks.models.deep.fitted import FittedNetworks
from mtl_tasks.models.encoding import CHUNK
from mtl_tasks.models.member import Member, Predictions, Table, seeds_text
from mtl_tasks.models.targets import as_learned, as_predicted
from mtl_tasks.scenario import DEEP, Scenario

EXPLAINED: Final = 500  # rows of an explanation


class DeepMember(Member):
    """One network of all tasks, or the mean of several.

    Tasks share layers as ``deep.structure`` says. Beside them, every task has a linear path from the inputs. A task's
    parameters are those after the epoch with the least loss on tune.
    """

    kind = DEEP

    def __init__(self, scenario: Scenario, learned: FittedNetworks) -> None:
        super().__init__(scenario)
        self.learned = learned

    @classmethod
    def resolve_device(cls, requested: str) -> str:
        """See :class:`Member`."""
        return resolve_device(requested)

    @classmethod
    def fit(cls, train: Table, tune: Table, scenario: Scenario) -> Self:
        """See :class:`Member`; the number of epochs of each task is chosen on ``tune``.

        Raises
        ------
        ConfigError
            If JAX or the device is missing.
        DataError
            If the data cannot be learned from, or a loss is not finite.
        """
        device = cls.resolve_device(scenario.deep.device)
        from mtl_tasks.models.deep.learning import learn

        check_labels(train, tune, scenario)
        train, tune = (as_learned(table, scenario) for table in (train, tune))
        return cls(scenario, learn(train, tune, scenario, device))

    def refit(self, table: Table) -> Self:
        """See :class:`Member`; the curves remain those on which the epochs were chosen."""
        check_installed()
        from mtl_tasks.models.deep.learning import learn_again

        return type(self)(self.scenario, learn_again(as_learned(table, self.scenario), self.learned, self.scenario))

    def predict(self, features: pd.DataFrame, tasks: Collection[str] | None = None) -> Predictions:
        """See :class:`Member`; NumPy alone is needed."""
        wanted, encoder = list(self.scenario.tasks if tasks is None else tasks), self.learned.encoder
        read = encoder.chosen(features, self.kind)
        raw = np.empty((len(wanted), len(read)))
        for start in range(0, len(read), CHUNK):
            part = read.iloc[start : start + CHUNK]
            raw[:, start : start + len(part)] = self.learned.scores(encoder.dense(part), encoder.codes(part), wanted)
        return {task: as_predicted(raw[position], self.scenario.tasks[task]) for position, task in enumerate(wanted)}

    def files(self) -> dict[str, bytes]:
        """See :class:`Member`; a document and an npz file."""
        return self.learned.files()

    @classmethod
    def load(cls, files: Mapping[str, bytes], scenario: Scenario) -> Self:
        """See :class:`Member`; NumPy alone is needed."""
        learned = FittedNetworks.load(files)
        if set(learned.outputs) != set(scenario.tasks):
            raise ArtifactError(f"{cls.kind}: has tasks {sorted(learned.outputs)}, expected {sorted(scenario.tasks)}")
        return cls(scenario, learned)

    def describe(self) -> dict[str, Any]:
        """See :class:`Member`; ``rounds`` are epochs."""
        document, tasks = self.learned.document, {}
        for task in self.scenario.tasks:
            own = document.tasks[task]
            tasks[task] = {
                "note": self._note(task),
                "rounds": own.epochs,
                "curve": own.curve.to_json(),
                "importance": list(document.importance[task]),
            }
        shown = {"kind": self.kind, "device": document.device, "tasks": tasks}
        return {**shown, "sharing": document.sharing.to_json()}

    def _note(self, task: str) -> str:
        document = self.learned.document
        part = "" if document.every == 1 else f", fitted on one row in {document.every}"
        layers = "-".join(map(str, document.layers))
        return (
            f"linear path beside {document.structure} with layers {layers}, {seeds_text(document.seeds)}, "
            f"epochs chosen on tune: {document.tasks[task].epochs}{part}"
        )

    def explain(self, features: pd.DataFrame, seed: int) -> dict[str, Any]:
        """See :class:`Member`; the amounts are integrated gradients, and JAX is needed."""
        check_installed()
        from mtl_tasks.models.deep.attribution import AMOUNT, contributions

        order = np.sort(np.random.default_rng(seed).permutation(len(features))[:EXPLAINED])
        encoder = self.learned.encoder
        rows = encoder.chosen(features, self.kind).iloc[order]
        parts = contributions(self.learned, encoder.dense(rows), encoder.codes(rows))
        names = [*encoder.dense_names, *encoder.levels]
        return {task: {**effects_of(parts[task], names, rows), "amount": AMOUNT} for task in self.scenario.tasks}
