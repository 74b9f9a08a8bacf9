"""A shop that knows the truth: simulated logs of any size, with what a perfect model would predict beside them."""

from mtl_tasks.simulation.files import simulate
from mtl_tasks.simulation.limits import bayes_limits, describe
from mtl_tasks.simulation.settings import Settings

__all__ = ["Settings", "bayes_limits", "describe", "simulate"]
