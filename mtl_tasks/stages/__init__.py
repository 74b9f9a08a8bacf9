"""The stages of a run: load what is needed, call the domain, hand over what is to be published."""

from mtl_tasks.stages.build import build_stages
from mtl_tasks.stages.explaining import explain
from mtl_tasks.stages.publishing import report_stage, run_key

__all__ = ["build_stages", "explain", "report_stage", "run_key"]
