"""Assets that the DAGs make and wait for, which Airflow's lineage graph shows."""

from dataclasses import dataclass

from airflow.sdk import Asset


@dataclass(frozen=True)
class ScenarioAssets:
    """The assets of a scenario.

    All but ``champion`` have one event per run. ``champion`` has one only if a promotion changes today's champion, so
    that a backfill triggers nothing.
    """

    log: Asset
    factors: Asset
    candidate: Asset
    champion: Asset
    recommendations: Asset

    @classmethod
    def of(cls, scenario: str) -> "ScenarioAssets":
        """Return the assets of the scenario with this name."""
        names = ("validated_log", "factors", "candidate", "champion", "recommendations")
        return cls(*(Asset(f"{scenario}_{name}", group="multi-task") for name in names))
