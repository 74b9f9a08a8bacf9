"""Point-in-time features: a row on a day is described by events before that day, and by nothing else."""

from mtl_tasks.features.builder import FeatureMaker, Tables, build_features, fit_spaces

__all__ = ["FeatureMaker", "Tables", "build_features", "fit_spaces"]
