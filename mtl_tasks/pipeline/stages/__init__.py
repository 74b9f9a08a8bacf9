"""The stages of a run: load what is needed, call the domain, hand over what is to be published."""

from mtl_tasks.pipeline.stages.explain import explain
from mtl_tasks.pipeline.stages.graph import build_stages
from mtl_tasks.pipeline.stages.publish import report_stage, run_key

__all__ = ["build_stages", "explain", "report_stage", "run_key"]
