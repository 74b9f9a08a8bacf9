"""The deep member keeps the contract; every structure learns, is stored and is explained."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import jax
import numpy as np
import pandas as pd
import pytest

from mtl_tasks.core.errors import ArtifactError, ConfigError
from mtl_tasks.metrics.catalog import compute
from mtl_tasks.models import Member, Table, member_class
from mtl_tasks.models.deep.device import resolve_device
from mtl_tasks.models.deep.fitted import FILE, WEIGHTS
from mtl_tasks.models.deep.member import DeepMember
from mtl_tasks.scenario import Scenario
from mtl_tasks.store.codecs import pack_arrays
from tests.contracts.member import DEEP, MemberContract, draw_table
from tests.support.logs import tiny_scenario


def deep_scenario(**settings: Any) -> Scenario:
    return tiny_scenario(deep={**DEEP, **settings})


def fit(scenario: Scenario, rows: int = 600) -> Member:
    return member_class("deep").fit(draw_table(rows, 1), draw_table(300, 2), scenario)


class TestDeep(MemberContract):
    kind = "deep"
    needed = "taste.dot"

    def test_epochs_are_those_of_the_least_loss_on_tune(self, fitted: Member) -> None:
        for task, entry in fitted.describe()["tasks"].items():
            assert entry["curve"]["metric"] == ("rmse" if task == "rating" else "log_loss")
            assert entry["curve"]["step"] == "epoch"
            assert "layers 16-8, 1 seed, epochs" in entry["note"]
            assert entry["rounds"] == 1 + int(np.argmin(entry["curve"]["tune"]))
            assert len(entry["curve"]["train"]) == len(entry["curve"]["tune"]) <= DEEP["epochs"]

    def test_the_agreement_of_gradients_and_the_weights_are_recorded(self, fitted: Member) -> None:
        sharing = fitted.describe()["sharing"]
        assert list(sharing["cosines"]) == ["like|purchase", "like|rating", "purchase|rating"]
        for values in sharing["cosines"].values():
            assert all(-1.001 <= value <= 1.001 for value in values)
            assert len(set(values)) > 1
        assert all(set(values) == {1.0} for values in sharing["weights"].values())

    def test_contributions_add_up_to_the_distance_from_a_median_row(self, fitted: Member, unseen: Table) -> None:
        from mtl_tasks.models.deep.attribution import contributions

        assert isinstance(fitted, DeepMember)
        learned = fitted.learned
        rows = unseen.features.iloc[:50]
        dense, codes = learned.encoder.dense(rows), learned.encoder.codes(rows)
        score = learned.scores(dense, codes, ["rating"])[0]
        base = learned.scores(np.zeros_like(dense[:1]), codes[:1] * 0, ["rating"])[0]
        parts = contributions(learned, dense, codes)["rating"]
        np.testing.assert_allclose(parts.sum(axis=1), score - base, atol=0.05 * np.abs(score - base).max())

    def test_its_explanation_says_what_its_amounts_are(self, fitted: Member, unseen: Table) -> None:
        explained = fitted.explain(unseen.features, seed=3)
        assert explained == fitted.explain(unseen.features, seed=3)
        assert {part["amount"] for part in explained.values()} == {"integrated gradient"}
        assert explained["rating"]["features"][0]["feature"] == "rating.level"
        assert explained["rating"]["features"][0]["direction"] > 0.5

    def test_it_predicts_without_jax(
        self, fitted: Member, scenario: Scenario, unseen: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = fitted.predict(unseen.features)
        monkeypatch.setitem(sys.modules, "jax", None)
        loaded = DeepMember.load(fitted.files(), scenario).predict(unseen.features)
        assert all(np.array_equal(expected[task], loaded[task]) for task in expected)

    @pytest.mark.faults(10)
    def test_without_jax_it_is_refused_before_it_is_fitted(
        self, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jax", None)
        with pytest.raises(ConfigError, match=r'^members: \'deep\' is trained with JAX.* make install EXTRAS="deep"'):
            fit(scenario)

    def test_weights_of_another_shape_are_refused(self, fitted: Member, scenario: Scenario) -> None:
        files = fitted.files()
        with np.load(io.BytesIO(files[WEIGHTS])) as stored:
            arrays = dict(stored)
        name = next(one for one in arrays if one.endswith("task.head"))
        arrays[name] = arrays[name][..., :-1]
        with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: '{name}' is float32 of shape .* --force"):
            DeepMember.load({**files, WEIGHTS: pack_arrays(arrays)}, scenario)

    def test_weights_of_another_network_are_refused(self, fitted: Member, scenario: Scenario) -> None:
        files = fitted.files()
        document = json.loads(files[FILE])
        document["structure"] = "ple"
        with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: holds arrays"):
            DeepMember.load({**files, FILE: json.dumps(document).encode()}, scenario)


@pytest.mark.parametrize("structure", ["mmoe", "ple"])
def test_every_structure_learns_and_is_read_as_it_was_written(structure: str) -> None:
    scenario = deep_scenario(structure=structure, experts=2, seeds=2)
    fitted, unseen = fit(scenario), draw_table(400, 3)
    predictions = fitted.predict(unseen.features)
    for task in ("like", "purchase"):
        assert compute("auc", unseen.labels[task].astype(np.float64), predictions[task]) > 0.6
    loaded = DeepMember.load(fitted.files(), scenario).predict(unseen.features)
    assert all(np.array_equal(predictions[task], loaded[task]) for task in predictions)
    assert f"beside {structure} with layers 16-8, 2 seeds averaged," in fitted.describe()["tasks"]["like"]["note"]
    assert fitted.explain(unseen.features, seed=1)["rating"]["features"][0]["feature"] == "rating.level"


def test_a_fraction_is_learned_as_its_position_in_its_range() -> None:
    task = {"kind": "regression", "label": "stars", "range": [0, 10], "loss": "log_loss"}
    fitted, unseen = fit(tiny_scenario(tasks__rating=task, deep=DEEP)), draw_table(400, 3)
    seen = ~np.isnan(unseen.labels["rating"])
    label = unseen.labels["rating"][seen].astype(np.float64)
    predicted = fitted.predict(unseen.features)["rating"]
    assert compute("rmse", label, predicted[seen]) < 0.95 * label.std()
    assert predicted.min() >= 0
    assert predicted.max() <= 10
    assert fitted.describe()["tasks"]["rating"]["curve"]["metric"] == "log_loss"


def test_a_category_is_learned_and_an_unknown_one_is_scored() -> None:
    train, tune = draw_table(600, 1), draw_table(300, 2)
    rng = np.random.default_rng(5)
    for table in (train, tune):
        color = rng.choice(["red", "blue"], len(table))
        table.features["color"] = pd.Categorical(color)
        table.labels["like"] = (rng.random(len(table)) < np.where(color == "red", 0.9, 0.1)).astype(np.float32)
    fitted = member_class("deep").fit(train, tune, deep_scenario(category_dropout=0.2))
    unseen = draw_table(90, 3).features
    unseen["color"] = pd.Categorical(["red", "blue", "green"] * 30)
    like = fitted.predict(unseen)["like"].reshape(-1, 3).mean(axis=0)
    assert like[0] > like[2] > like[1]
    assert fitted.explain(unseen, 1)["like"]["features"][0]["feature"] == "color"


def test_a_gpu_that_is_missing_is_refused_and_automatic_says_why(caplog: pytest.LogCaptureFixture) -> None:
    if jax.default_backend() == "gpu":
        pytest.skip("JAX has a GPU here")
    with pytest.raises(ConfigError, match=r"^deep\.device: 'gpu' was requested, but JAX has none here"):
        resolve_device("gpu")
    assert resolve_device("auto") == "cpu"
    assert "deep.device 'auto': networks are trained on the CPU" in caplog.text
