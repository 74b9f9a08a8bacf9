"""The first stages of a run, for benchmarks that go on from their artifacts."""

from __future__ import annotations

from mtl_tasks.pipeline.engine import Run, StageResult, run_stage
from mtl_tasks.pipeline.local import refs_of
from mtl_tasks.pipeline.stages import build_stages


def results_until(run: Run, last: str) -> dict[str, StageResult]:
    """Run the stages up to ``last`` and return their results by name; those that the store holds are not run again."""
    results: dict[str, StageResult] = {}
    for name, stage in build_stages(run.scenario).items():
        results[name] = run_stage(stage, run, refs_of(results))
        if name == last:
            return results
    raise ValueError(f"{run.scenario.name} has no stage {last!r}")
