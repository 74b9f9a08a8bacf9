"""The model board: the outcome of every model of a scenario, with reasons, inside Airflow's UI. It only reads."""
