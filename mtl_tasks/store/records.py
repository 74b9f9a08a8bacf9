"""Registry records: verdicts, later decisions, and how both are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.core.stages import stage_position
from mtl_tasks.store.artifacts import Ref, to_json

ScenarioDocument = dict[str, Any]  # with the keys of the time when it was run, which may have other names today
Metrics = dict[str, dict[str, dict[str, Any]]]  # task to metric to {value, low, high, …}
Action = Literal["promote", "retire"]
RunId = tuple[str, str]  # as_of and the part of the run's key that is in the names of its records
PROMOTE: Final = "promote"
AWAITS_APPROVAL: Final = "awaits_approval"
AWAITING: Final = "awaits approval"  # the status of such a run until somebody decides
KEY_LENGTH: Final = 32
SCHEMA: Final = 2  # 1: records from before versions were written
READABLE_SCHEMAS: Final = (1, 2)
UNREADABLE: Final = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ArtifactError,
)  # raised when a damaged record is read
_NAME: Final = re.compile(r"(\d+)-([^-.]+)(?:-(promote|retire)-[^-.]+)?\.json")


@dataclass(frozen=True)
class RunRecord:
    """The permanent record of one verdict.

    Attributes
    ----------
    decision
        ``promote``, ``reject``, ``awaits_approval`` (passed, approval is pending), or ``dry_run:`` and what the gate
        would have decided.
    scenario_document
        The scenario as it was run, needed to score with the run again.
    refs
        Stage to reference of its artifact, for all stages that led to the verdict.
    metrics
        Task to metric to ``{value, low, high, …}`` of the fusion on the test window, as ``evaluate`` measured them, so
        that a thousand runs can be listed without opening an artifact of each.
    """

    run_key: str
    as_of: str
    decision: str
    reasons: list[str]
    scenario_document: ScenarioDocument
    refs: dict[str, Ref]
    code: str
    metrics: Metrics = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        """Whether the run passed an enforced gate."""
        return self.decision == PROMOTE

    @property
    def scenario_name(self) -> str:
        """Name of the scenario."""
        name: str = self.scenario_document["name"]
        return name

    @property
    def stages(self) -> list[str]:
        """The stages in the order they ran; the record keeps them by name."""
        return sorted(self.refs, key=stage_position)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        return {
            "run_key": self.run_key,
            "as_of": self.as_of,
            "decision": self.decision,
            "reasons": self.reasons,
            "scenario": self.scenario_document,
            "refs": {name: ref.to_json() for name, ref in self.refs.items()},
            "code": self.code,
            "metrics": self.metrics,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RunRecord:
        """Invert :meth:`to_json`."""
        refs = {name: Ref.from_json(ref) for name, ref in document["refs"].items()}
        return cls(
            document["run_key"],
            document["as_of"],
            document["decision"],
            document["reasons"],
            document["scenario"],
            refs,
            document["code"],
            document.get("metrics", {}),  # older records have none
        )


@dataclass(frozen=True)
class Decision:
    """A decision about a run after its verdict, by a person or by a timeout; the latest one counts.

    Attributes
    ----------
    action
        ``promote`` makes the run a champion whatever its verdict, ``retire`` removes it from the champions.
    by, reason, at
        Who, why, and when (ISO 8601).
    answer
        Whether it answers an approval request: it then counts only if nobody decided before it.
    """

    run_key: str
    as_of: str
    action: Action
    by: str
    reason: str
    at: str
    answer: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable form."""
        document = asdict(self)
        if not self.answer:  # the format from before answers were marked, so that a decision keeps its file name
            del document["answer"]
        return document

    def sentence(self, entry: RunRecord, rulings: Sequence[Decision]) -> str:
        """Describe the decision, given the run's record and all decisions about it, oldest first."""
        before = rulings[: rulings.index(self)]
        verb = {"promote": "promoted by force", "retire": "retired"}[self.action]
        if entry.decision == AWAITS_APPROVAL and not before:  # the first is the answer
            verb = {"promote": "approved", "retire": "not approved"}[self.action]
        elif self.action == PROMOTE and (entry.promoted or any(ruling.action == PROMOTE for ruling in before)):
            verb = "promoted again"
        return f"{verb} by {self.by} at {self.at}: {self.reason}"


RegistryEvent = RunRecord | Decision


def standing_of(entry: RunRecord, rulings: Sequence[Decision]) -> str:
    """Return the status of a run: ``promoted``, ``forced``, ``awaits approval``, ``retired``, and so on."""
    if not rulings:
        plain = {PROMOTE: "promoted", "reject": "rejected", AWAITS_APPROVAL: AWAITING}
        return plain.get(entry.decision, "dry run")
    asked = entry.decision == AWAITS_APPROVAL
    if rulings[-1].action == PROMOTE:
        passed = "approved" if asked and rulings[0].action == PROMOTE else "forced"
        return "promoted" if entry.promoted else passed
    return "not approved" if asked and len(rulings) == 1 else "retired"


class RecordName(NamedTuple):
    """The parts of a record's file name, known even if its content is damaged."""

    number: int
    key: str
    action: str | None

    @classmethod
    def parse(cls, name: str) -> RecordName | None:
        """Return the parts of a file name; None if it is not a record's.

        >>> RecordName.parse("0002-ab12-retire-0f.json")
        RecordName(number=2, key='ab12', action='retire')
        >>> RecordName.parse("notes.json") is None
        True
        """
        found = _NAME.fullmatch(name)
        return None if found is None else cls(int(found[1]), found[2], found[3])


@dataclass(frozen=True)
class Damaged:
    """A record that cannot be read.

    Attributes
    ----------
    name
        File name, in the folder of its as_of.
    why
        A sentence that names the file, the fault and the remedy.
    """

    as_of: str
    name: str
    why: str

    @property
    def location(self) -> str:
        """Path by which commands name it."""
        return f"{self.as_of}/{self.name}"

    @property
    def run(self) -> RunId | None:
        """The run it is about; None if its name does not say, so that it may be any run of its as_of."""
        parsed = RecordName.parse(self.name)
        return None if parsed is None else (self.as_of, parsed.key)

    @property
    def short(self) -> str:
        """A sentence about the run that does not depend on where the store is."""
        parsed = RecordName.parse(self.name)
        about = "a run" if parsed is None else f"run {parsed.key[:12]}"
        return f"{about} as of {self.as_of}: its record {self.location} in the registry is damaged"


@dataclass(frozen=True)
class Quarantined(Damaged):
    """A damaged record that somebody quarantined: who, why and when."""

    by: str
    reason: str
    at: str

    @property
    def sentence(self) -> str:
        """The quarantine in one sentence."""
        return f"{self.location} quarantined by {self.by} at {self.at}: {self.reason}"


class SchemaError(ValueError):
    """A record has a schema version that this code does not know."""


def run_id(record: RegistryEvent) -> RunId:
    """Return the id of the run that a record is about."""
    return record.as_of, record.run_key[:KEY_LENGTH]


def record_name(record: RegistryEvent) -> str:
    """Return a record's file name without its number."""
    if isinstance(record, RunRecord):
        return f"{record.run_key[:KEY_LENGTH]}.json"
    digest = hashlib.sha256(to_json(record.to_json())).hexdigest()
    return f"{record.run_key[:KEY_LENGTH]}-{record.action}-{digest[:8]}.json"


def read_record(document: dict[str, Any], scenario: str, as_of: str, name: str) -> RegistryEvent:
    """Return the record in a document, given its scenario, as_of and file name.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        Unless this code knows its schema version and the record belongs where it is.
    """
    schema = document.pop("schema", 1)
    if schema not in READABLE_SCHEMAS:
        known = " and ".join(map(str, READABLE_SCHEMAS))
        raise SchemaError(f"written with version {schema!r} of the registry's schema, and this code reads {known}")
    record = Decision(**document) if "action" in document else RunRecord.from_json(document)
    if isinstance(record, RunRecord) and record.scenario_name != scenario:
        raise ValueError(f"is of scenario {record.scenario_name!r:.50}")
    if record.as_of != as_of or record_name(record) != name.partition("-")[2]:
        raise ValueError(f"it is the record {record.as_of}/*-{record_name(record)} under another name")
    return record
