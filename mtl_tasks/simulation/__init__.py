"""Simulated shop with known truth: logs of any size, with the predictions of a perfect model beside them."""

from mtl_tasks.simulation.files import simulate
from mtl_tasks.simulation.limits import bayes_limits, describe
from mtl_tasks.simulation.settings import Settings

__all__ = ["Settings", "bayes_limits", "describe", "simulate"]
