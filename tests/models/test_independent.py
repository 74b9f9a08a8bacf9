"""The member of one LightGBM a task keeps the contract, and stops where tune was best."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.models import Member, member_class
from mtl_tasks.scenario import Scenario
from tests.contracts.member import BoostedContract, draw_table, member_scenario


class TestIndependent(BoostedContract):
    kind = "independent"
    needed = "taste.dot"

    def test_refit_keeps_the_curve(self, fitted: Member) -> None:
        refitted = fitted.refit(draw_table(500, 5))
        assert refitted.describe()["tasks"]["like"]["curve"] == fitted.describe()["tasks"]["like"]["curve"]

    @pytest.mark.faults(26)
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
    def test_a_model_that_is_cut_short_is_refused_by_file(
        self, fitted: Member, scenario: Scenario, share: float
    ) -> None:
        files = fitted.files()
        name = "like.0.lightgbm.txt"
        files[name] = files[name][: int(share * len(files[name]))]
        with pytest.raises(ArtifactError, match=rf"{name}: not a whole LightGBM model"):
            type(fitted).load(files, scenario)

    @pytest.mark.faults(26)
    def test_a_model_that_differs_in_one_byte_is_refused_by_file(self, fitted: Member, scenario: Scenario) -> None:
        files = fitted.files()
        name = "like.0.lightgbm.txt"
        written = files[name]
        for place in np.linspace(0, written.rindex(b"pandas_categorical") - 1, 20).astype(int):
            files[name] = written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]
            with pytest.raises(ArtifactError, match=rf"{name}: not (a whole|the) LightGBM model.* --force$"):
                type(fitted).load(files, scenario)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b'{"device": "cpu"', r"not JSON \(.*\); run again with --force"),
            (b"\xff", r"not JSON \(.*\); run again with --force"),
            (b'{"device": "cpu"}', "has no 'tasks', a different version wrote it; run again with --force"),
        ],
    )
    def test_facts_that_cannot_be_read_are_refused(
        self, fitted: Member, scenario: Scenario, text: bytes, message: str
    ) -> None:
        with pytest.raises(ArtifactError, match=rf"^independent\.json: {message}$"):
            type(fitted).load({**fitted.files(), "independent.json": text}, scenario)

    def test_a_model_without_its_sum_is_refused_by_file(self, fitted: Member, scenario: Scenario) -> None:
        files = fitted.files()
        facts = json.loads(files["independent.json"])
        del facts["sha256"]["like.0.lightgbm.txt"]
        with pytest.raises(ArtifactError, match=r"like\.0\.lightgbm\.txt: not the LightGBM model that was written"):
            type(fitted).load({**files, "independent.json": json.dumps(facts).encode()}, scenario)

    def test_seeds_are_averaged(self, unseen) -> None:
        scenario = member_scenario(seeds=2)
        both = self.fit(scenario)
        assert len([name for name in both.files() if name.startswith("like.")]) == 2
        one = self.fit(member_scenario())
        notes = [member.describe()["tasks"]["like"]["note"] for member in (one, both)]
        assert notes == [f"LightGBM, {seeds}; rounds chosen on tune" for seeds in ("1 seed", "2 seeds averaged")]
        mixed = both.predict(unseen.features)["rating"]
        first = one.predict(unseen.features)["rating"]
        assert not np.array_equal(mixed, first)
        facts = json.loads(both.files()["independent.json"])
        assert len(facts["tasks"]["rating"]["rounds"]) == 2
        assert (
            json.loads(one.files()["independent.json"])["tasks"]["rating"]["rounds"]
            == facts["tasks"]["rating"]["rounds"][:1]
        )

    def test_a_leaf_of_a_binary_task_has_the_evidence_that_is_asked_for(self) -> None:
        wanted = 10.0
        lightest = [
            min(
                float(weight)
                for line in self.fit(member_scenario(**settings)).files()["like.0.lightgbm.txt"].decode().splitlines()
                if line.startswith("leaf_weight=")
                for weight in line.removeprefix("leaf_weight=").split()
            )
            for settings in ({}, {"min_sum_hessian_in_leaf": wanted})
        ]
        assert lightest[0] < wanted <= lightest[1]

    def test_files_do_not_depend_on_the_number_of_threads(self, fitted: Member) -> None:
        threaded = member_class("independent").fit(draw_table(600, 1), draw_table(300, 2), member_scenario(threads=2))
        ours, theirs = fitted.files(), threaded.files()
        assert set(ours) == set(theirs)
        facts = [json.loads(files.pop("independent.json")) for files in (ours, theirs)]
        assert all(entry.pop("sha256") for entry in facts)  # those of texts that name the threads
        assert facts[0] == facts[1]
        for name in ours:
            lines = [
                [line for line in part[name].splitlines() if not line.startswith(b"[num_threads:")]
                for part in (ours, theirs)
            ]
            assert lines[0] == lines[1], name
