"""Point-in-time features: a row is described only by data from before its day."""

from mtl_tasks.features.builder import FeatureMaker, Tables, build_features, fit_factor_models

__all__ = ["FeatureMaker", "Tables", "build_features", "fit_factor_models"]
