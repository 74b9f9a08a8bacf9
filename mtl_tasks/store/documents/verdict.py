"""Documents of the stage `gate`: the result of each rule, and the verdict."""

from __future__ import annotations

from typing import Literal

from mtl_tasks.core.documents import ArtifactDocument, StoredDocument
from mtl_tasks.store.documents.measurements import Measurement


class RuleResult(ArtifactDocument):
    """The result of a rule.

    Attributes
    ----------
    rule
        The rule in words.
    kind
        The section of the gate that it is from, or ``floor``.
    value, low, high
        What was judged, with its interval; None if it cannot be computed.
    limit
        The value at which the rule begins to fail.
    reason
        The result as a sentence.
    """

    rule: str
    kind: str
    passed: bool
    value: float | None
    limit: float
    low: float | None
    high: float | None
    rows: int
    reason: str

    @property
    def measured(self) -> Measurement:
        """What was judged, as a measurement."""
        return Measurement(value=self.value, low=self.low, high=self.high, rows=self.rows)

    @classmethod
    def fail(cls, kind: str, rule: str, limit: float, why: str, *, rows: int = 0) -> RuleResult:
        """Return the result of a rule that cannot be judged, with the reason."""
        reason = f"{rule}: fails, {why}"
        return cls(
            rule=rule, kind=kind, passed=False, value=None, limit=limit, low=None, high=None, rows=rows, reason=reason
        )


class Verdict(StoredDocument):
    """The decision of the gate.

    Attributes
    ----------
    first
        Whether there was no champion to compare with.
    champion
        Key of the champion.
    warnings
        One sentence for each newer champion that was passed over.
    reasons
        One sentence for each rule: failed ones, then warnings, then passed ones.
    """

    decision: Literal["promote", "reject"]
    first: bool
    mode: Literal["enforce", "dry_run"]
    champion: str | None
    warnings: tuple[str, ...] = ()
    rules: tuple[RuleResult, ...]
    reasons: tuple[str, ...]

    @property
    def passed(self) -> int:
        """Number of rules that passed."""
        return sum(rule.passed for rule in self.rules)

    @property
    def line(self) -> str:
        """The verdict in one line."""
        first = [rule.reason for rule in self.rules if not rule.passed][:1]
        line = f"{self.decision}: {self.passed} of {len(self.rules)} rules passed"
        return "; ".join([line, *first, *self.warnings])
