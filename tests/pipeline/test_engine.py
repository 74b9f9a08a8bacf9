"""A stage is run once for what it depends on, and again for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.errors import ArtifactError, DataError
from mtl_tasks.pipeline import engine as run_module
from mtl_tasks.pipeline.engine import Inputs, Run, Stage, StageResult, code_version, find_stage, run_stage
from mtl_tasks.pipeline.origin import read_origin
from mtl_tasks.store.artifacts import MANIFEST, Payload, Ref, Store
from mtl_tasks.store.documents.origin import Origin
from tests.support.logs import tiny_scenario


@dataclass
class Bench:
    """A stage that counts how often it works, and the run it belongs to."""

    root: Path
    calls: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=lambda: {"learning_rate": 0.1})
    as_of: str = "2013-05-07"
    force: str | None = None
    origin: Origin | None = None
    title: str = "A tiny log"
    chance: int = 0  # what work that is not bit-reproducible adds to its result

    def run(self, refs: dict[str, Ref] | None = None) -> StageResult:
        return run_stage(self.stage(tuple(refs or {})), self.asked(), refs or {})

    def asked(self) -> Run:
        scenario = tiny_scenario(title=self.title)
        return Run(scenario, AsOf.parse(self.as_of), Store(str(self.root)), self.force, self.origin)

    def stage(self, needs: tuple[str, ...] = ()) -> Stage:
        def body(run: Run, inputs: Inputs) -> Payload:
            self.calls.append("worked")
            made = Payload(rows=len(needs), summary={"read": sorted(needs), "chance": self.chance})
            made.add_json("result", {name: inputs[name].json("result") for name in needs})
            return made

        return Stage("member:als", needs, lambda run: self.config, body)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.faults(4)
def test_the_same_work_is_done_once(bench: Bench) -> None:
    first, second = bench.run(), bench.run()
    assert bench.calls == ["worked"]
    assert (first.reused, second.reused) == (False, True)
    assert second.ref == first.ref
    assert second.cpu_seconds == 0.0
    assert find_stage(bench.stage(), bench.asked(), {}) is not None


def test_an_artifact_keeps_the_origin_of_the_run_that_made_it_and_its_content_does_not_depend_on_it(
    bench: Bench, tmp_path: Path
) -> None:
    store = Store(str(bench.root))
    unknown = Bench(tmp_path / "unknown").run()
    bench.origin = Origin(start="manual", user="ada", commit="c0ffee", local_changes=True)
    first = bench.run()
    bench.origin = Origin(start="scheduled")
    again = bench.run()
    assert again.reused
    assert first.ref == again.ref == unknown.ref
    assert read_origin(store.open(first.ref)) == Origin(start="manual", user="ada", commit="c0ffee", local_changes=True)
    assert read_origin(Store(str(tmp_path / "unknown")).open(unknown.ref)) is None


@pytest.mark.faults(4)
def test_a_forced_run_does_it_again_beside_and_reuses_only_its_own(bench: Bench) -> None:
    first = bench.run()
    bench.chance = 1
    forced = {}
    for token in ("monday", "tuesday"):
        bench.force = token
        made, again = bench.run(), bench.run()  # the second as a task that is tried again
        assert (made.reused, again.reused) == (False, True)
        forced[token] = made.ref
    assert bench.calls == ["worked"] * 3
    assert len({first.ref.key, *(ref.key for ref in forced.values())}) == 3
    store = Store(str(bench.root))
    assert [store.open(ref).summary["chance"] for ref in (first.ref, *forced.values())] == [0, 1, 1]
    assert store.open(forced["monday"]).manifest["forced"] == "monday"
    bench.force = None
    assert bench.run().ref == first.ref


def test_what_other_results_are_made_again_from_is_not_mixed_with_what_was_made_from_the_first(bench: Bench) -> None:
    first = bench.run()
    bench.run({"split": first.ref})
    shutil.rmtree(bench.root / first.ref.uri)  # as somebody does with what is damaged
    bench.chance = 1  # on another CPU
    other = bench.run()
    assert other.ref.key == first.ref.key
    with pytest.raises(ArtifactError, match=r"was made from other results of split; .* or run with --force"):
        bench.run({"split": other.ref})
    bench.force = "monday"
    assert not bench.run({"split": other.ref}).reused


def test_what_refers_to_days_that_came_out_otherwise_is_not_used(bench: Bench) -> None:
    bench.run()
    stage = replace(bench.stage(), whole=lambda store, artifact: artifact.summary["chance"] == bench.chance)
    assert run_stage(stage, bench.asked(), {}).reused
    bench.chance = 1
    with pytest.raises(ArtifactError, match=r"refers to artifacts of days that are not those .* run with --force"):
        run_stage(stage, bench.asked(), {})
    assert run_stage(bench.stage(), bench.asked(), {}).summary["chance"] == 0  # not replaced


def changed_config(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.config = {"learning_rate": 0.2}


def changed_as_of(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.as_of = "2013-05-08"


def changed_code(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "code_version", lambda presentation: "other")


def changed_library(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "library_versions", lambda: {"numpy": "0"})


@pytest.mark.parametrize("change", [changed_config, changed_as_of, changed_code, changed_library])
def test_key_changes_with(
    change: Callable[[Bench, pytest.MonkeyPatch], None], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bench.run()
    change(bench, monkeypatch)
    after = bench.run()
    assert not after.reused
    assert after.ref.key != before.ref.key
    assert Store(str(bench.root)).open(before.ref).json("result") == {}  # written beside, not over


def test_key_changes_with_an_inputs_key(bench: Bench) -> None:
    first = bench.run()
    bench.config = {"learning_rate": 0.2}
    second = bench.run()
    keys = {bench.run({"split": ref}).ref.key for ref in (first.ref, second.ref)}
    assert len(keys) == 2


def test_key_does_not_change_with_what_the_stage_does_not_read(bench: Bench) -> None:
    before = bench.run()
    bench.title = "Another title"
    assert bench.run().reused
    assert bench.run().ref == before.ref


def test_key_does_not_change_with_the_order_of_the_configuration(bench: Bench) -> None:
    bench.config = {"a": 1, "b": 2}
    before = bench.run()
    bench.config = {"b": 2, "a": 1}
    assert bench.run().ref == before.ref


def test_a_damaged_artifact_is_not_reused(bench: Bench) -> None:
    made = Store(str(bench.root)).open(bench.run().ref)
    path = Path(str(made.folder / made.manifest["files"]["result.json"]["path"]))
    path.write_bytes(b"{ }")
    with pytest.raises(ArtifactError, match=r"result\.json: does not match its manifest"):
        bench.run()
    bench.force = "monday"
    assert not bench.run().reused
    bench.force = None
    with pytest.raises(ArtifactError, match=r"delete its folder and run again"):  # it is there for people to look at
        bench.run()
    shutil.rmtree(str(made.folder))
    assert bench.run().ref == made.ref


def test_a_failing_stage_publishes_nothing(bench: Bench) -> None:
    def body(run: Run, inputs: Inputs) -> Payload:
        raise DataError("a bad log")

    with pytest.raises(DataError, match="a bad log"):
        run_stage(Stage("split", (), lambda run: {}, body), bench.asked(), {})
    assert not list(bench.root.rglob(MANIFEST))


def test_the_manifest_says_what_the_artifact_depends_on_and_cost(bench: Bench) -> None:
    manifest = Store(str(bench.root)).open(bench.run().ref).manifest
    assert manifest["stage"] == "member:als"
    assert manifest["config"] == bench.config
    assert manifest["code"] == code_version()
    assert set(manifest["usage"]) == {"seconds", "cpu_seconds", "peak_rss_mb", "made_at", "tree_scorer"}
    assert manifest["usage"]["peak_rss_mb"] > 1


def test_inputs_by_prefix() -> None:
    artifacts: Any = {"member:als": 1, "member:independent": 2, "split": 3}
    assert Inputs(artifacts).matching("member") == {"als": 1, "independent": 2}


def test_versions_of_an_optional_package_are_none_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "JAX", ("numpy", "no-such-package"))
    run_module.jax_versions.cache_clear()
    try:
        assert run_module.jax_versions() == {"numpy": np.__version__, "no-such-package": None}
    finally:
        run_module.jax_versions.cache_clear()


def test_a_script_of_the_report_is_code_that_presents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(run_module.__file__).parents[1]
    copied = tmp_path / "mtl_tasks"
    shutil.copytree(root, copied)
    monkeypatch.setattr(run_module, "__file__", str(copied / "pipeline" / "engine.py"))
    before = [code_version.__wrapped__(presentation) for presentation in (False, True)]
    (copied / "report" / "page.js").write_text("changed")
    after = [code_version.__wrapped__(presentation) for presentation in (False, True)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


def test_what_only_presentation_imports_is_presentation() -> None:
    root = Path(run_module.__file__).parents[1]
    sources = {path.relative_to(root): path.read_text() for path in root.rglob("*.py")}
    of_results = [text for path, text in sources.items() if not presents(path)]
    entries = {Path("pipeline/outcome.py"), Path("pipeline/tasks.py")}  # of the DAGs
    modules = {
        path for path in sources if str(path.parent) == "pipeline" and not presents(path) and path.stem[0] != "_"
    }
    unused = {path for path in modules - entries if not any(imports(text, path) for text in of_results)}
    assert unused == set()


def presents(path: Path) -> bool:
    return bool({str(part) for part in (path, *path.parents)} & set(run_module.PRESENTATION))


def imports(text: str, path: Path) -> bool:
    package, name = ".".join(("mtl_tasks", *path.parent.parts)), path.stem
    return f"{package}.{name} import" in text or f"from {package} import {name}" in text


def test_presentation_code_counts_for_stages_that_present() -> None:
    assert code_version(presentation=True) != code_version(presentation=False)
