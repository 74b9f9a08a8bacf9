"""What a registry is made of: verdicts, what people ruled on them, and how both are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, NamedTuple

from mtl_tasks.core.errors import ArtifactError
from mtl_tasks.store.artifacts import Ref, to_json

Json = dict[str, Any]
Action = Literal["promote", "retire"]
RunId = tuple[str, str]  # as_of and the part of the run's key that stands in the names of its records
PROMOTE: Final = "promote"
AWAITS_APPROVAL: Final = "awaits_approval"
AWAITING: Final = "awaits approval"  # the status of such a run until somebody decides
KEY_LENGTH: Final = 32
SCHEMA: Final = 2  # 1: the records of before versions were written down
READABLE_SCHEMAS: Final = (1, 2)
UNREADABLE: Final = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    ArtifactError,
)  # what reading a damaged one raises
_NAME: Final = re.compile(r"(\d+)-([^-.]+)(?:-(promote|retire)-[^-.]+)?\.json")


@dataclass(frozen=True)
class RunRecord:
    """One verdict, for ever.

    Attributes
    ----------
    decision
        ``promote``, ``reject``, ``awaits_approval`` (passed, and somebody has yet to approve), or ``dry_run:`` and
        what the gate would have decided.
    scenario_document
        The scenario as it was run: what is needed to score with the run again.
    refs
        Stage to reference of its artifact, of all stages that led to the verdict.
    metrics
        Task to metric to ``{value, low, high, …}`` of the fusion on the test window, as ``evaluate`` measured them: a
        thousand runs can be looked over without opening an artifact of each.
    """

    run_key: str
    as_of: str
    decision: str
    reasons: list[str]
    scenario_document: Json
    refs: dict[str, Ref]
    code: str
    metrics: Json = field(default_factory=dict)

    @property
    def promoted(self) -> bool:
        """Whether the run passed an enforced gate."""
        return self.decision == PROMOTE

    def to_json(self) -> Json:
        """Return a JSON-able form."""
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
    def from_json(cls, document: Json) -> RunRecord:
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
            document.get("metrics", {}),  # entries of before these were kept have none
        )


@dataclass(frozen=True)
class Decision:
    """What a person, or the lack of an answer, decided about a run after its verdict; the latest one counts.

    Attributes
    ----------
    action
        ``promote`` makes the run a champion whatever its verdict was, ``retire`` takes it out for good.
    by, reason, at
        Who, why, and when (ISO 8601).
    answer
        Whether it answers the question for approval: it then counts only if nobody had decided before it.
    """

    run_key: str
    as_of: str
    action: Action
    by: str
    reason: str
    at: str
    answer: bool = False

    def to_json(self) -> Json:
        """Return a JSON-able form."""
        document = asdict(self)
        if not self.answer:  # as it was written before answers were marked, so that a ruling keeps its name
            del document["answer"]
        return document

    def sentence(self, entry: RunRecord, rulings: Sequence[Decision]) -> str:
        """The ruling in words, given the run's entry and all that was ruled on it, oldest first."""
        before = rulings[: rulings.index(self)]
        verb = {"promote": "promoted by force", "retire": "retired"}[self.action]
        if entry.decision == AWAITS_APPROVAL and not before:  # the first is the answer
            verb = {"promote": "approved", "retire": "not approved"}[self.action]
        elif self.action == PROMOTE and (entry.promoted or any(ruling.action == PROMOTE for ruling in before)):
            verb = "promoted again"
        return f"{verb} by {self.by} at {self.at}: {self.reason}"


RegistryEvent = RunRecord | Decision


def standing_of(entry: RunRecord, rulings: Sequence[Decision]) -> str:
    """What a run is now, in a word or two: ``promoted``, ``forced``, ``awaits approval``, ``retired``, and so on."""
    if not rulings:
        plain = {PROMOTE: "promoted", "reject": "rejected", AWAITS_APPROVAL: AWAITING}
        return plain.get(entry.decision, "dry run")
    asked = entry.decision == AWAITS_APPROVAL
    if rulings[-1].action == PROMOTE:
        passed = "approved" if asked and rulings[0].action == PROMOTE else "forced"
        return "promoted" if entry.promoted else passed
    return "not approved" if asked and len(rulings) == 1 else "retired"


class RecordName(NamedTuple):
    """What the name of a record's file says, whatever became of its content."""

    number: int
    key: str
    action: str | None

    @classmethod
    def parse(cls, name: str) -> RecordName | None:
        """Return the parts of a file name; None if it is not that of a record.

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
        Of its file, in the folder of its as_of.
    why
        A sentence that names the file, the fault and the remedy.
    """

    as_of: str
    name: str
    why: str

    @property
    def place(self) -> str:
        """How a command names it."""
        return f"{self.as_of}/{self.name}"

    @property
    def run(self) -> RunId | None:
        """Which run it is about; None where its name does not say so: it may then be any of its as_of."""
        parsed = RecordName.parse(self.name)
        return None if parsed is None else (self.as_of, parsed.key)

    @property
    def short(self) -> str:
        """A sentence about the run that is the same wherever the store lies."""
        parsed = RecordName.parse(self.name)
        about = "a run" if parsed is None else f"run {parsed.key[:12]}"
        return f"{about} as of {self.as_of}: its record {self.place} in the registry is damaged"


@dataclass(frozen=True)
class Quarantined(Damaged):
    """A damaged record that somebody set aside: who, why and when."""

    by: str
    reason: str
    at: str

    @property
    def sentence(self) -> str:
        """All of it in words."""
        return f"{self.place} quarantined by {self.by} at {self.at}: {self.reason}"


class SchemaError(ValueError):
    """A record of a version that this code does not know."""


def run_id(record: RegistryEvent) -> RunId:
    """Which run a record is about."""
    return record.as_of, record.run_key[:KEY_LENGTH]


def record_name(record: RegistryEvent) -> str:
    """A record's file name without its number."""
    if isinstance(record, RunRecord):
        return f"{record.run_key[:KEY_LENGTH]}.json"
    digest = hashlib.sha256(to_json(record.to_json())).hexdigest()
    return f"{record.run_key[:KEY_LENGTH]}-{record.action}-{digest[:8]}.json"


def read_record(document: Json, scenario: str, as_of: str, name: str) -> RegistryEvent:
    """Return the record of a document that lies under a name in the registry of a scenario.

    Raises
    ------
    ValueError, KeyError, TypeError, AttributeError
        Unless it is one of a version that this code knows, and belongs where it lies.
    """
    schema = document.pop("schema", 1)
    if schema not in READABLE_SCHEMAS:
        known = " and ".join(map(str, READABLE_SCHEMAS))
        raise SchemaError(f"written with version {schema!r} of the registry's schema, and this code reads {known}")
    record = Decision(**document) if "action" in document else RunRecord.from_json(document)
    if isinstance(record, RunRecord) and record.scenario_document["name"] != scenario:
        raise ValueError(f"is of scenario {record.scenario_document['name']!r:.50}")
    if record.as_of != as_of or record_name(record) != name.partition("-")[2]:
        raise ValueError(f"it is the record {record.as_of}/*-{record_name(record)} under another name")
    return record
