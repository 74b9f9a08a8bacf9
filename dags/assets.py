"""Assets that the DAGs read, make and wait for, which Airflow's lineage graph shows."""

from dataclasses import dataclass

from airflow.sdk import Asset

from dags import scenario_files
from mtl_tasks.scenario import Scenario


@dataclass(frozen=True)
class ScenarioAssets:
    """The assets of a scenario, in a group of its name.

    ``source`` is the log as others write it; the DAGs only read it. Its URI is the log's place; a log in a database has
    its name alone, as the address is a secret. The other URIs begin with ``x-mtl:``. The others but ``champion`` have
    one event per run. ``champion`` has one only if a promotion changes today's champion, so that a backfill triggers
    nothing.
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
            read = Asset(f"{scenario.name}_source_log", uri=_place(scenario), group=scenario.name)
        else:  # the asset that its writer updates
            read = Asset(scenario.schedule.asset)
        made = ("validated_log", "factors", "candidate", "champion", "recommendations")
        return cls(read, *(_made(scenario.name, name) for name in made))

    def made_by(self, stage: str) -> list[Asset]:
        """Return the assets that the task of a stage makes."""
        made = {
            "validate": self.log,
            "factors": self.factors,
            "publish": self.candidate,
            "recommend": self.recommendations,
        }
        return [made[stage]] if stage in made else []


def _made(scenario: str, name: str) -> Asset:
    return Asset(f"{scenario}_{name}", uri=f"x-mtl://{scenario}/{name}", group=scenario)


def _place(scenario: Scenario) -> str:
    """Return the URI of the log; of one in a database, the asset's name."""
    events = scenario.source.events
    if events is None:
        return f"{scenario.name}_source_log"
    return events if "://" in events else (scenario_files.ROOT / events).as_uri()
