"""LightGBM for one task: parameters, early stopping, averaging over seeds, model files."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models.boosting.binning import Matrix
from mtl_tasks.models.boosting.compiled import CompiledTrees, TreeRange
from mtl_tasks.models.boosting.device import PARAMETERS
from mtl_tasks.models.boosting.losses import LOSSES
from mtl_tasks.models.boosting.model_text import join_text, split_text
from mtl_tasks.scenario import Boosting

Values = NDArray[np.float64]

LAST_LINE = b"pandas_categorical:"
OBJECTIVES = {
    "regression": ("regression", "l2"),
    "binary": ("binary", "binary_logloss"),
    "fraction": ("cross_entropy", "cross_entropy"),
}


@dataclass(frozen=True)
class Curve:
    """Loss of the first seed by round, on train and on tune."""

    metric: str
    train: list[float]
    tune: list[float]

    def then(self, later: Curve) -> Curve:
        """Return this curve followed by a later one."""
        return Curve(self.metric, [*self.train, *later.train], [*self.tune, *later.tune])


@dataclass(frozen=True)
class TrainedBooster:
    """One model of one task, cut at its best round on tune.

    Attributes
    ----------
    rounds
        Its number of trees.
    loss
        The curve's metric on tune at the cut, not rounded; NaN if nothing was held out.
    """

    booster: lgb.Booster
    rounds: int
    curve: Curve | None
    loss: float = math.nan


@dataclass(frozen=True)
class TaskTrees:
    """Boosters of one task, one per seed; their raw scores are averaged.

    Attributes
    ----------
    rounds
        Number of trees, by seed.
    curve
        That of the first seed.
    shared
        Number of trees whose structure all tasks share, by seed; they follow the inherited ones.
    inherited
        Number of leading trees that come from the earlier model of a warm start, by seed.
    """

    boosters: list[lgb.Booster]
    rounds: list[int]
    curve: Curve | None
    shared: list[int]
    inherited: list[int]

    @classmethod
    def of(
        cls,
        grown: list[TrainedBooster],
        shared: list[int] | None = None,
        inherited: list[int] | None = None,
        curve: Curve | None = None,
    ) -> TaskTrees:
        """Gather the seeds' models; ``curve`` replaces the first seed's if given."""
        none = [0] * len(grown)
        rounds, boosters = [model.rounds for model in grown], [model.booster for model in grown]
        return cls(boosters, rounds, curve or grown[0].curve, shared or none, inherited or none)

    def own_rounds(self, number: int) -> int:
        """Return the number of one seed's trees that are neither inherited nor shared."""
        return self.rounds[number] - self.shared[number] - self.inherited[number]

    def scores(self, matrix: Matrix, number: int, threads: int, shared: Values | None = None) -> Values:
        """Return one seed's raw scores, float64 (n,); ``shared`` is the sum of the shared trees, if known."""
        rounds, before, among = self.rounds[number], self.inherited[number], self.shared[number]
        if shared is None:
            return self._sum(matrix, number, 0, rounds, threads)
        score = shared
        if before:
            score = score + self._sum(matrix, number, 0, before, threads)
        if self.own_rounds(number):
            score = score + self._sum(matrix, number, before + among, rounds, threads)
        return score

    def _sum(self, matrix: Matrix, number: int, start: int, end: int, threads: int) -> Values:
        """Return the sums of some of one seed's trees; what they are compiled to is kept for the next rows."""
        key = (number, start, end)
        if key not in self._compiled:
            part = TreeRange(self.boosters[number], start, end - start)
            self._compiled[key] = CompiledTrees([part], f"model of seed {number}")
        return self._compiled[key].scores(matrix, threads)[:, 0]

    @cached_property
    def _compiled(self) -> dict[tuple[int, int, int], CompiledTrees]:
        return {}

    def importance(self, top: int = 30) -> list[tuple[str, float]]:
        """Return features with their shares of the total gain, largest first."""
        gain = np.sum([b.feature_importance("gain") for b in self.boosters], axis=0)
        share = gain / max(gain.sum(), 1e-12)
        names = self.boosters[0].feature_name()
        return [(names[place], round(float(share[place]), 6)) for place in np.argsort(-share, kind="stable")[:top]]


def shared_trees(trees: Mapping[str, TaskTrees], number: int) -> CompiledTrees | None:
    """Return one seed's trees that all tasks share, with an output for each task; None without any."""
    if not any(own.shared[number] for own in trees.values()):
        return None
    ranges = [TreeRange(own.boosters[number], own.inherited[number], own.shared[number]) for own in trees.values()]
    return CompiledTrees(ranges, f"shared trees of seed {number}")


def predict_raw(
    trees: Mapping[str, TaskTrees],
    tasks: Sequence[str],
    shared: Sequence[CompiledTrees | None],
    matrix: Matrix,
    threads: int,
) -> dict[str, Values]:
    """Return each task's raw scores, float64 (n,), averaged over the seeds.

    Parameters
    ----------
    tasks
        Some of those in ``trees``.
    shared
        By seed, :func:`shared_trees` of ``trees``.
    """
    made = {task: np.zeros(len(matrix)) for task in tasks}
    places = [place for place, task in enumerate(trees) if task in made]
    for number, among_all in enumerate(shared):
        sums = None if among_all is None else among_all.scores(matrix, threads, places)
        for column, task in enumerate(task for task in trees if task in made):
            known = None if sums is None else sums[:, column]
            made[task] += trees[task].scores(matrix, number, threads, known)
    return {task: score / len(shared) for task, score in made.items()}


@dataclass(frozen=True)
class EarlierTrees:
    """An earlier model of a task, to warm-start from.

    Attributes
    ----------
    train, tune
        By seed, its raw scores of the labeled rows, float64 (n,).
    """

    trees: TaskTrees
    train: list[Values]
    tune: list[Values]

    def model(self, number: int) -> TrainedBooster:
        """Return the model of one seed."""
        return TrainedBooster(self.trees.boosters[number], self.trees.rounds[number], None)


def parameters(settings: Boosting, kind: str, device: str, seed: int) -> dict[str, Any]:
    """Translate the scenario's settings into LightGBM's."""
    objective, metric = OBJECTIVES[kind]
    return {
        "objective": objective,
        "metric": metric,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "min_sum_hessian_in_leaf": settings.min_sum_hessian_in_leaf,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "feature_fraction": settings.feature_fraction,
        "lambda_l2": settings.lambda_l2,
        "num_threads": settings.threads,
        "seed": seed,
        "device_type": device,
        "verbosity": -1,
        **PARAMETERS[device],
    }


def fit_task(
    train: lgb.Dataset,
    tune: lgb.Dataset | None,
    kind: str,
    settings: Boosting,
    device: str,
    seed: int,
    chosen: TaskTrees | None,
    earlier: EarlierTrees | None = None,
) -> TaskTrees:
    """Grow one task's trees independently of other tasks, one model per seed.

    Parameters
    ----------
    train, tune
        The task's labeled rows, binned.
    chosen
        If ``tune`` is None: the trees whose rounds to reuse.
    earlier
        The model to warm-start from.
    """
    grown = []
    for number in range(settings.seeds):
        given = parameters(settings, kind, device, seed + number)
        if earlier is not None:
            train.set_init_score(earlier.train[number])
        if tune is not None:
            if earlier is not None:
                tune.set_init_score(earlier.tune[number])
            made = boost(train, tune, given, kind, settings, earlier.trees.rounds[number] if earlier else 0)
        elif chosen is not None:
            made = boost_again(train, given, chosen.own_rounds(number))
        grown.append(made if earlier is None else joined(earlier.model(number), made, kind))
    inherited = None if earlier is None else earlier.trees.rounds
    return TaskTrees.of(grown, None, inherited, None if chosen is None else chosen.curve)


def boost(
    train: lgb.Dataset, tune: lgb.Dataset, parameters: Mapping[str, Any], kind: str, settings: Boosting, known: int = 0
) -> TrainedBooster:
    """Grow one task's trees on labeled rows, cut at the best round on ``tune``.

    Growth ends after ``settings.patience`` rounds without gain, or at ``settings.rounds`` with ``known`` earlier ones.
    """
    booster = lgb.Booster(dict(parameters), train)
    booster.add_valid(tune, "tune")
    losses: tuple[list[float], list[float]] = ([], [])
    for count in range(max(1, settings.rounds - known)):
        ended = booster.update()
        for values, (result,) in zip(losses, (booster.eval_train(), booster.eval_valid()), strict=True):
            values.append(float(result[2]))
        if ended or count - int(np.argmin(losses[1])) >= settings.patience:
            break
    best = int(np.argmin(losses[1])) + 1
    return TrainedBooster(_truncated(booster, best), best, _curve(losses, kind), _on_curve(losses[1][best - 1], kind))


def boost_again(train: lgb.Dataset, parameters: Mapping[str, Any], rounds: int) -> TrainedBooster:
    """Grow a number of rounds that was chosen before, on more rows."""
    booster = lgb.Booster(dict(parameters), train)
    for _ in range(rounds):
        booster.update()
    return TrainedBooster(_truncated(booster, rounds), rounds, None)


def joined(first: TrainedBooster, then: TrainedBooster, kind: str) -> TrainedBooster:
    """Return the model of some trees followed by those grown from them."""
    head, trees, tail = split_text(first.booster.model_to_string())
    _, more, _ = split_text(then.booster.model_to_string())
    booster = lgb.Booster(model_str=join_text(head, [*trees, *more], tail, LOSSES[kind].objective))
    return TrainedBooster(booster, first.rounds + then.rounds, then.curve, then.loss)


def to_bytes(booster: lgb.Booster) -> bytes:
    """Return LightGBM's own text format."""
    return booster.model_to_string().encode()


def from_bytes(data: bytes, where: str, digest: str) -> lgb.Booster:
    """Parse LightGBM's text format.

    Parameters
    ----------
    digest
        :func:`digest_of` the text when it was written.

    Raises
    ------
    ArtifactError
        If the text is truncated or altered, or LightGBM cannot read it.
    """
    # LightGBM itself hangs or kills the process on some texts that are cut within a tree or differ in one byte.
    if not data.rstrip(b"\n").rpartition(b"\n")[2].startswith(LAST_LINE):
        raise ArtifactError(f"{where}: not a whole LightGBM model: its last line is missing; run again with --force")
    if digest_of(data) != digest:
        raise ArtifactError(
            f"{where}: not the LightGBM model that was written: its SHA-256 is {digest_of(data)[:12]}…, "
            f"not {digest[:12]}…; run again with --force"
        )
    try:
        return lgb.Booster(model_str=data.decode())
    except (lgb.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where}: not a LightGBM model: {' '.join(str(error).split())}") from error


def digest_of(data: bytes) -> str:
    """Return the SHA-256 of a model's text, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _truncated(booster: lgb.Booster, rounds: int) -> lgb.Booster:
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=rounds))


def _curve(losses: tuple[list[float], list[float]], kind: str) -> Curve:
    train, tune = ([round(_on_curve(value, kind), 6) for value in values] for values in losses)
    return Curve(LOSSES[kind].shown, train, tune)


def _on_curve(value: float, kind: str) -> float:
    return math.sqrt(value) if kind == "regression" else value  # LightGBM's l2 is the mean squared error
