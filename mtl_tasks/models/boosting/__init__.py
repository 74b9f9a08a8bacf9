"""Gradient boosting of one or several tasks on stock LightGBM."""
