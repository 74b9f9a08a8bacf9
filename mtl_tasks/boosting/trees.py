"""LightGBM for one task: parameters, early stopping, averaging over seeds, model files."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mtl_tasks.errors import ArtifactError, ConfigError
from mtl_tasks.scenario import Boosting

log = logging.getLogger(__name__)
LAST_LINE = b"pandas_categorical:"
OBJECTIVES = {"regression": ("regression", "l2", "rmse"), "binary": ("binary", "binary_logloss", "log_loss")}


@dataclass(frozen=True)
class Curve:
    """Loss by round of the first seed, and the round that was best on tune."""

    metric: str
    train: list[float]
    tune: list[float]


@dataclass(frozen=True)
class TaskTrees:
    """Boosters of one task, one a seed; their raw scores are averaged."""

    boosters: list[lgb.Booster]
    rounds: list[int]
    curve: Curve | None

    def predict(self, features: pd.DataFrame, threads: int) -> NDArray[np.float64]:
        """Return float64 (n,): a value, or a probability (averaged in logit space)."""
        values = features.to_numpy(dtype=np.float32)
        raw = [np.asarray(b.predict(values, raw_score=True, num_threads=threads)) for b in self.boosters]
        mean = np.asarray(np.mean(raw, axis=0))
        if self.boosters[0].dump_model(num_iteration=1)["objective"].startswith("binary"):
            return np.asarray(1.0 / (1.0 + np.exp(-mean)))
        return mean

    def importance(self, top: int = 30) -> list[tuple[str, float]]:
        """Features by share of total gain, largest first."""
        gain = np.sum([b.feature_importance("gain") for b in self.boosters], axis=0)
        share = gain / max(gain.sum(), 1e-12)
        names = self.boosters[0].feature_name()
        return [(names[place], round(float(share[place]), 6)) for place in np.argsort(-share, kind="stable")[:top]]


def parameters(settings: Boosting, kind: str, device: str, seed: int) -> dict[str, Any]:
    """Translate the scenario's settings to LightGBM's."""
    objective, metric, _ = OBJECTIVES[kind]
    return {
        "objective": objective,
        "metric": metric,
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.num_leaves,
        "min_data_in_leaf": settings.min_data_in_leaf,
        "bagging_fraction": settings.bagging_fraction,
        "bagging_freq": 1,
        "feature_fraction": settings.feature_fraction,
        "lambda_l2": settings.lambda_l2,
        "num_threads": settings.threads,
        "seed": seed,
        "device_type": device,
        "verbosity": -1,
        # Reproducible to the bit on the CPU; column-wise histograms may be chosen by a timing otherwise.
        **({"deterministic": True, "force_row_wise": True} if device == "cpu" else {}),
    }


def fit_trees(
    train: tuple[pd.DataFrame, NDArray[np.float32]],
    tune: tuple[pd.DataFrame, NDArray[np.float32]],
    settings: Boosting,
    kind: str,
    device: str,
    seed: int,
) -> TaskTrees:
    """Fit one booster a seed on ``train``, stopping each where ``tune`` was best."""
    boosters, rounds, curve = [], [], None
    for number in range(settings.seeds):
        params = parameters(settings, kind, device, seed + number)
        data = _dataset(train)
        record: dict[str, dict[str, list[float]]] = {}
        booster = lgb.train(
            params,
            data,
            num_boost_round=settings.rounds,
            valid_sets=[data, _dataset(tune, data)],
            valid_names=["train", "tune"],
            callbacks=[lgb.early_stopping(settings.patience, verbose=False), lgb.record_evaluation(record)],
        )
        best = booster.best_iteration or booster.current_iteration()
        rounds.append(best)
        boosters.append(_truncated(booster, best))
        curve = curve or _curve(record, kind)
    return TaskTrees(boosters, rounds, curve)


def refit_trees(
    table: tuple[pd.DataFrame, NDArray[np.float32]],
    rounds: list[int],
    settings: Boosting,
    kind: str,
    device: str,
    seed: int,
) -> TaskTrees:
    """Fit on more rows with the rounds already chosen."""
    boosters = [
        lgb.train(parameters(settings, kind, device, seed + number), _dataset(table), num_boost_round=count)
        for number, count in enumerate(rounds)
    ]
    return TaskTrees(boosters, rounds, None)


def to_bytes(booster: lgb.Booster) -> bytes:
    """Return LightGBM's own text format."""
    return booster.model_to_string().encode()


def from_bytes(data: bytes, where: str) -> lgb.Booster:
    """Parse LightGBM's text format.

    Raises
    ------
    ArtifactError
        If LightGBM cannot read it, or it is cut short.
    """
    # LightGBM itself ends the process on some texts that are cut within a tree.
    if not data.rstrip(b"\n").rpartition(b"\n")[2].startswith(LAST_LINE):
        raise ArtifactError(f"{where}: not a whole LightGBM model: its last line is missing; run again with --force")
    try:
        return lgb.Booster(model_str=data.decode())
    except (lgb.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{where}: not a LightGBM model: {' '.join(str(error).split())}") from error


def resolve_device(asked: str) -> str:
    """Return ``cpu`` or ``gpu`` (OpenCL) for LightGBM.

    Raises
    ------
    ConfigError
        If ``gpu`` is asked for and no OpenCL device can train.
    """
    if asked == "cpu":
        return "cpu"
    problem = _gpu_problem()
    if problem is None:
        return "gpu"
    if asked == "gpu":
        raise ConfigError(
            f"boosting.device: 'gpu' was asked for but LightGBM cannot use it here ({problem}): install an OpenCL "
            "driver for the GPU (for NVIDIA, the driver's libnvidia-opencl), or set boosting.device to 'auto' or 'cpu'"
        )
    log.warning("boosting.device 'auto': LightGBM finds no usable OpenCL device (%s), trees grow on the CPU", problem)
    return "cpu"


@cache
def _gpu_problem() -> str | None:
    rng = np.random.default_rng(0)
    data = lgb.Dataset(rng.random((256, 4)), rng.random(256))
    try:
        lgb.train({"device_type": "gpu", "verbosity": -1, "num_leaves": 4}, data, num_boost_round=1)
    except lgb.basic.LightGBMError as error:
        return str(error)
    return None


def _dataset(table: tuple[pd.DataFrame, NDArray[np.float32]], reference: lgb.Dataset | None = None) -> lgb.Dataset:
    features, label = table
    return lgb.Dataset(
        features.to_numpy(dtype=np.float32), label, feature_name=[str(name) for name in features], reference=reference
    )


def _truncated(booster: lgb.Booster, rounds: int) -> lgb.Booster:
    return lgb.Booster(model_str=booster.model_to_string(num_iteration=rounds))


def _curve(record: dict[str, dict[str, list[float]]], kind: str) -> Curve:
    _, metric, shown = OBJECTIVES[kind]
    train, tune = (np.asarray(record[name][metric]) for name in ("train", "tune"))
    if kind == "regression":
        train, tune = np.sqrt(train), np.sqrt(tune)
    return Curve(shown, [round(float(v), 6) for v in train], [round(float(v), 6) for v in tune])
