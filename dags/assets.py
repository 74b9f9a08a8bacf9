"""What the DAGs make and wait for, so that Airflow's lineage graph shows who makes what for whom."""

from dataclasses import dataclass

from airflow.sdk import Asset


@dataclass(frozen=True)
class ScenarioAssets:
    """The assets of a scenario.

    All but ``champion`` have an event a run. The champion's come only with a promotion that changes who is champion
    today, so that a backfill wakes nobody.
    """

    log: Asset
    factors: Asset
    candidate: Asset
    champion: Asset
    recommendations: Asset

    @classmethod
    def of(cls, scenario: str) -> "ScenarioAssets":
        """Return the assets of the scenario of that name."""
        names = ("validated_log", "factors", "candidate", "champion", "recommendations")
        return cls(*(Asset(f"{scenario}_{name}", group="multi-task") for name in names))
