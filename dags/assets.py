"""Assets that the DAGs read, make and wait for, which Airflow's lineage graph shows."""

from dataclasses import dataclass

from airflow.sdk import Asset

from mtl_tasks.scenario import Scenario


@dataclass(frozen=True)
class ScenarioAssets:
    """The assets of a scenario, in a group of its name.

    ``source`` is the log as others write it; the DAGs only read it. Its URI is its name and not its place: in Airflow
    one asset has a URI, and several scenarios may read one log. The others but ``champion`` have one event per run.
    ``champion`` has one only if a promotion changes today's champion, so that a backfill triggers nothing.
    """

    source: Asset
    log: Asset
    factors: Asset
    candidate: Asset
    champion: Asset
    recommendations: Asset

    @classmethod
    def of(cls, scenario: Scenario) -> "ScenarioAssets":
        """Return the assets of a scenario."""
        if isinstance(scenario.schedule, str):
            read = Asset(f"{scenario.name}_source_log", group=scenario.name, extra={"source": _place(scenario)})
        else:  # the asset that its writer updates
            read = Asset(scenario.schedule.asset)
        made = ("validated_log", "factors", "candidate", "champion", "recommendations")
        return cls(read, *(Asset(f"{scenario.name}_{name}", group=scenario.name) for name in made))

    def made_by(self, stage: str) -> list[Asset]:
        """Return the assets that the task of a stage makes."""
        made = {
            "validate": self.log,
            "factors": self.factors,
            "publish": self.candidate,
            "recommend": self.recommendations,
        }
        return [made[stage]] if stage in made else []


def _place(scenario: Scenario) -> str:
    """Return where the log is, as the scenario file says; an address of a database there holds no password."""
    sql = scenario.source.sql
    return str(scenario.source.events) if sql is None else sql.name
