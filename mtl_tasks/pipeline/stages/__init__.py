"""The stages of a run: each loads its inputs, calls the domain, and returns what to publish."""

from mtl_tasks.pipeline.stages.explain import explain
from mtl_tasks.pipeline.stages.graph import build_stages
from mtl_tasks.pipeline.stages.publish import find_record, report_stage, run_key

__all__ = ["build_stages", "explain", "find_record", "report_stage", "run_key"]
