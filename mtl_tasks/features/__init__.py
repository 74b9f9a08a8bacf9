"""Point-in-time features: a row on a day is described by events before that day, and by nothing else."""

from mtl_tasks.features.build import FeatureMaker, build_features, fit_spaces

__all__ = ["FeatureMaker", "build_features", "fit_spaces"]
