"""Notices of the outcome of a run: plain text without secrets, for whoever the section `notify` names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from mtl_tasks.core.days import AsOf
from mtl_tasks.core.documents import Document
from mtl_tasks.core.errors import MtlError
from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.past_runs import PastRun
from mtl_tasks.pipeline.stages import find_record
from mtl_tasks.scenario import Outcome, Scenario
from mtl_tasks.store.artifacts import Store
from mtl_tasks.store.registry import AWAITING, Registry, RunRecord, Snapshot
from mtl_tasks.store.sealing import StoreKey

_SUBJECT: Final = 200  # characters
_DETAIL: Final = 2000
_REFUSED: Final = ("rejected", "not approved")
log = logging.getLogger(__name__)


class Notice(Document):
    """A message on a run.

    Attributes
    ----------
    outcomes
        Outcomes that the message reports; the first is in the subject.
    run_key
        None if the run has no verdict.
    subject
        The first outcome in one line.
    lines
        Its reason, and the other outcomes.
    link
        Address of the page that shows the evidence.
    """

    outcomes: tuple[Outcome, ...]
    scenario: str
    as_of: AsOf
    run_key: str | None
    subject: str
    lines: tuple[str, ...]
    link: str

    @property
    def text(self) -> str:
        """The whole message as plain text."""
        return "\n".join([self.subject, *self.lines, self.link])

    def to_json(self) -> dict[str, Any]:
        """Return the document that a webhook is sent."""
        return {**super().to_json(), "text": self.text}


def verdict_notice(
    run_spec: RunSpec, upstream: UpstreamResults, scenario: Scenario, board: str, key: StoreKey | None = None
) -> Notice | None:
    """Return the notice of a run whose verdict, and approval if it needs one, is known.

    Parameters
    ----------
    upstream
        Results of the run, that of the stage ``gate`` among them.
    scenario
        The scenario file as it is now; its section ``notify`` says which outcomes are reported.
    board
        Address of the model board, without a slash at its end.
    key
        The key that seals the store's documents.

    Returns
    -------
    Notice or None
        None if no outcome of the run is to be reported.

    Raises
    ------
    MtlError
        If the registry cannot be read, or has no record of the run.
    """
    run = run_spec.open(key)
    snapshot = Registry(run.store, run.scenario.name).read()
    entry = find_record(run, upstream["gate"].ref, snapshot)
    standing = snapshot.standing_of(entry)
    past = PastRun(entry, tuple(snapshot.rulings(entry.run_key)), standing, run.store)
    found: dict[Outcome, tuple[str, str]] = {}
    if entry in snapshot.standing:
        today = "" if snapshot.champion() == entry else "; a newer run stays today's champion"
        found["promoted"] = f"{standing} as of {run.as_of}{today}", past.why
    elif standing in _REFUSED:
        found["rejected"] = f"{standing} as of {run.as_of}", past.why
    elif standing == AWAITING:
        found["awaits_approval"] = f"awaits approval as of {run.as_of}", past.why
    return _notice(scenario, run.as_of, {**found, **_stale(scenario, run.as_of, snapshot)}, board, entry)


def failure_notice(
    scenario: Scenario, as_of: AsOf, store: str, fault: str, link: str, key: StoreKey | None = None
) -> Notice | None:
    """Return the notice of a run without a verdict; None if no outcome of it is to be reported.

    Parameters
    ----------
    store
        Address of the store. If it cannot be read, the age of the champion is left out.
    fault
        The failed task, its fault and the next step.
    link
        Address of the run's page.
    """
    found: dict[Outcome, tuple[str, str]] = {"failed": (f"failed as of {as_of}", fault)}
    if "stale_champion" in _wanted(scenario):
        try:
            found.update(_stale(scenario, as_of, Registry(Store(store, key), scenario.name).read()))
        except MtlError as error:
            log.warning("notify: the age of the champion is unknown: %s", error)
    return _notice(scenario, as_of, found, link, None)


def _wanted(scenario: Scenario) -> tuple[Outcome, ...]:
    return () if scenario.notify is None else scenario.notify.outcomes


def _stale(scenario: Scenario, as_of: AsOf, snapshot: Snapshot) -> dict[Outcome, tuple[str, str]]:
    champion = snapshot.champion()
    if scenario.notify is None or champion is None:
        return {}
    age = as_of.day - AsOf.parse(champion.as_of).day
    if age < scenario.notify.stale_days:
        return {}
    why = f"it is {age} days older than this run; notify.stale_days is {scenario.notify.stale_days}"
    return {"stale_champion": (f"the champion is stale, as of {champion.as_of}", why)}


def _notice(
    scenario: Scenario,
    as_of: AsOf,
    found: Mapping[Outcome, tuple[str, str]],
    link: str,
    entry: RunRecord | None,
) -> Notice | None:
    """Return the notice of those outcomes that are to be reported; ``link`` is the board's address for a run on it."""
    reported = [(outcome, *text) for outcome, text in found.items() if outcome in _wanted(scenario)]
    if not reported:
        return None
    (_, headline, reason), *others = reported
    lines = [reason, *(f"{other}: {why}" for _, other, why in others)]
    page = link if entry is None else f"{link}/scenarios/{scenario.name}/runs/{entry.run_key}"
    return Notice(
        outcomes=tuple(outcome for outcome, *_ in reported),
        scenario=scenario.name,
        as_of=as_of,
        run_key=None if entry is None else entry.run_key,
        subject=_clipped(f"{scenario.title}: {headline}", _SUBJECT),
        lines=tuple(_clipped(line, _DETAIL) for line in lines if line),
        link=page,
    )


def _clipped(text: str, longest: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
