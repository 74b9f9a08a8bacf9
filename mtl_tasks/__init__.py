"""Train, judge and publish multi-task recommenders; knows nothing of Airflow."""

__version__ = "0.1.0"
