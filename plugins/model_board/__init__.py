"""The model board: what became of every model of a scenario and why, inside Airflow's UI. It only reads."""
