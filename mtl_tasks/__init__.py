"""Train, judge and publish multi-task recommenders; knows nothing of Airflow."""
