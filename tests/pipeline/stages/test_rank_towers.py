"""A run with texts and two towers stores what it fitted, and judges the lists that these make."""

from __future__ import annotations

import pytest

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.pipeline.engine import Inputs, Run, StageResult
from mtl_tasks.pipeline.stages.inputs import load_scorer, load_windows
from mtl_tasks.store.documents import read_document
from mtl_tasks.store.documents.evaluation import Evaluation
from tests.support.projects import AS_OF, SCENARIO, run_until, write_log, write_scenario

Made = tuple[Run, dict[str, StageResult]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("towers")
    write_log(root)
    source = {**SCENARIO["source"], "items": {**SCENARIO["source"]["items"], "text": "title"}}
    settings = {"sources": {"content": 10, "two_tower": 10}, "two_tower": {"dimensions": 4, "epochs": 1}}
    recommend = {**SCENARIO["recommend"], **settings, "ranker": "popularity"}
    write_scenario(root, source=source, recommend=recommend, members=["popularity", "als"])
    return run_until(root, "evaluate", AS_OF, str(root / "store"))


def inputs_of(made: Made) -> Inputs:
    run, results = made
    return Inputs({name: run.store.open(result.ref) for name, result in results.items()}, {})


def test_the_projection_of_texts_and_the_towers_are_read_back(made: Made) -> None:
    run, inputs = made[0], inputs_of(made)
    scorer = load_scorer(run.scenario, inputs)
    assert scorer.factor_models["text"].item_ids.dtype.kind == "U"
    assert scorer.factor_models["text"].vectors.shape[1] == 16
    assert scorer.towers is not None
    assert scorer.towers.document.before == load_windows(inputs["split"])["test"][0]
    assert inputs["rank"].summary["two_tower"]["losses"] == list(scorer.towers.document.losses)


def test_the_recall_of_the_sources_is_judged(made: Made) -> None:
    inputs = inputs_of(made)
    sources = read_document(inputs["evaluate"], "evaluation", Evaluation).ranking.sources
    assert sources is not None
    everyone = sources.slices["all"].sources
    for name in ("content", "two_tower"):
        assert everyone[name].candidates_per_user is not None  # type: ignore[index]
        assert 0 < everyone[name].candidates_per_user <= 10  # type: ignore[index, operator]


def test_a_run_that_lost_its_towers_is_refused(made: Made) -> None:
    run, inputs = made[0], inputs_of(made)
    lacking = {name: artifact for name, artifact in inputs.artifacts.items() if name != "rank"}
    assert load_scorer(run.scenario, Inputs(lacking, {})).towers is None
    with pytest.raises(ArtifactError, match=r"two_tower: two_tower\.json is missing"):
        load_scorer(run.scenario, Inputs({**lacking, "rank": inputs["fuse"]}, {}))
