"""The trigger form of a training run. Defaults are the scenario's own settings."""

from typing import Any, get_args

from airflow.sdk import Param

from mtl_tasks.scenario import Boosting, FusionMethod, Gate, MemberKind, Scenario, Windows, number_limits

WINDOWS = {
    "train": "the models learn from these",
    "tune": "early stopping",
    "blend": "fusion weights and calibration",
    "test": "what the gate reads",
}


def make_params(scenario: Scenario) -> dict[str, Param]:
    """Return the fields by name; `mtl_tasks.pipeline.tasks` maps them to keys of the scenario."""
    return {**_what(scenario), **_windows(scenario), **_resources(scenario), **_verdict(scenario)}


def _what(scenario: Scenario) -> dict[str, Param]:
    kinds = list(get_args(MemberKind))
    return {
        "as_of": Param(
            None,
            type=["null", "string"],
            format="date",
            title="As of",
            description="The run knows nothing at or after this day (UTC). Empty: the end of the data interval, and "
            f"without an interval the day of the run{_at_latest(scenario)}.",
            section="What to learn",
        ),
        "members": Param(
            list(scenario.members),
            type="array",
            items={"type": "string", "enum": kinds},
            examples=kinds,
            title="Members",
            description="The models to fit. Popularity must be among them: it is the floor for the others.",
            section="What to learn",
        ),
        "fusion": Param(
            scenario.fusion.method,
            enum=list(get_args(FusionMethod)),
            title="Fusion",
            description="How the members' predictions are combined; auto takes what does best on the blend window.",
            section="What to learn",
        ),
        "force": Param(
            False,
            type="boolean",
            title="Force",
            description="Make everything again, beside what is there, as a run of its own in the registry. Its tasks "
            "that are cleared reuse what it has made; to force once more, trigger another run.",
            section="What to learn",
        ),
    }


def _at_latest(scenario: Scenario) -> str:
    return f"; by hand, at the latest the day after the log's last, {scenario.end_date}" if scenario.end_date else ""


def _windows(scenario: Scenario) -> dict[str, Param]:
    return {
        f"{name}_days": Param(
            getattr(scenario.windows, name),
            type="integer",
            **number_limits(Windows, name),
            title=f"{name.capitalize()} window",
            description=f"Days, counted back from as_of: {purpose}.",
            section="Windows: history | train | tune | blend | test | as_of",
        )
        for name, purpose in WINDOWS.items()
    }


def _resources(scenario: Scenario) -> dict[str, Param]:
    threads = scenario.boosting.threads
    return {
        "device": Param(
            scenario.boosting.device,
            enum=_choices(Boosting, "device"),
            title="Boosting device",
            description="gpu (OpenCL) and cuda run in the queue and pool gpu; cpu and auto in the queue default.",
            section="Resources",
        ),
        "threads": Param(
            threads,
            type="integer",
            **{**number_limits(Boosting, "threads"), "maximum": threads},
            title="Threads",
            description=f"For a boosted member; at most the {threads} that its task reserves in the pool cpu_heavy.",
            section="Resources",
        ),
    }


def _verdict(scenario: Scenario) -> dict[str, Param]:
    return {
        "gate_mode": Param(
            scenario.gate.mode,
            enum=_choices(Gate, "mode"),
            title="Gate",
            description="dry_run writes the verdict and promotes nothing.",
            section="Verdict",
        ),
        "approval": Param(
            scenario.gate.approval,
            enum=_choices(Gate, "approval"),
            title="Approval",
            description="required: what passed the gate is promoted once somebody approves it here; no answer in "
            f"{scenario.gate.approval_hours:g} hours is a no.",
            section="Verdict",
        ),
    }


def _choices(section: Any, field: str) -> list[str]:
    return list(get_args(section.model_fields[field].annotation))
