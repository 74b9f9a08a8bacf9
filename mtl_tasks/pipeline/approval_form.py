"""The question for approval, as Markdown: each rule once, the champion beside the candidate, links to the board."""

from __future__ import annotations

from mtl_tasks.pipeline.documents import RunSpec, UpstreamResults
from mtl_tasks.pipeline.stages import find_record
from mtl_tasks.report.labels import in_order, metric, number, with_minus
from mtl_tasks.store.documents.reading import read_document
from mtl_tasks.store.documents.verdict import RuleResult, Verdict
from mtl_tasks.store.registry import Registry, RunRecord
from mtl_tasks.store.sealing import StoreKey


def approval_form(
    run_spec: RunSpec, upstream: UpstreamResults, board: str | None = None, key: StoreKey | None = None
) -> str:
    """Return the verdict of the stage ``gate`` for the approver.

    Parameters
    ----------
    upstream
        The result of the stage ``gate``.
    board
        Address of the model board, without a slash at its end; None leaves the links out.
    key
        The key that seals the store's documents.

    Raises
    ------
    ArtifactError
        If the verdict or the run's record is missing or damaged.
    """
    run = run_spec.open(key)
    verdict = read_document(run.store.open(upstream["gate"].ref), "verdict", Verdict)
    snapshot = Registry(run.store, run.scenario.name).read()
    candidate = find_record(run, upstream["gate"].ref, snapshot)
    champion = next((entry for entry in snapshot.entries if entry.run_key == verdict.champion), None)
    passed = f"**{verdict.passed} of {len(verdict.rules)} rules passed.**"
    parts = [
        f"{passed} {_links(board, run.scenario.name, candidate, champion)}",
        *(f"**Warning:** {warning}" for warning in verdict.warnings),
        _rules(verdict),
        _beside(candidate, champion),
    ]
    return "\n\n".join(part.strip() for part in parts)


def _links(board: str | None, scenario: str, candidate: RunRecord, champion: RunRecord | None) -> str:
    if board is None:
        return ""
    runs = f"{board}/scenarios/{scenario}"
    links = [f"[All evidence of this run]({runs}/runs/{candidate.run_key})"]
    if champion is not None:
        beside = f"{runs}/compare?run={champion.run_key}&run={candidate.run_key}"
        links.append(f"[Comparison with the champion]({beside})")
    return " · ".join(links)


def _rules(verdict: Verdict) -> str:
    head = "| | rule | value | limit | interval | rows |\n|---|---|---|---|---|---|"
    failed_first = sorted(verdict.rules, key=lambda rule: rule.passed)
    return "\n".join([head, *map(_rule_row, failed_first)])


def _rule_row(rule: RuleResult) -> str:
    interval = "–" if rule.low is None else f"{number(rule.low)} to {number(rule.high)}"
    mark = "✓" if rule.passed else "✗"
    limit = with_minus(f"{rule.limit:g}")
    return f"| {mark} | {rule.rule} | {number(rule.value)} | {limit} | {interval} | {rule.rows:,} |"


def _beside(candidate: RunRecord, champion: RunRecord | None) -> str:
    """Return the primary metric of each task, of the candidate and the champion, each on its own test window."""
    if champion is None:
        return "There is no champion to compare with: this run would be the first."
    head = (
        f"| task | metric | this run, as of {candidate.as_of} | champion, as of {champion.as_of} |\n|---|---|---|---|"
    )
    rows = [_metric_row(task, candidate, champion) for task in candidate.metrics]
    note = "Each run was measured on its own test window; the rules above compare on the same rows."
    return "\n".join([head, *rows, "", note])


def _metric_row(task: str, candidate: RunRecord, champion: RunRecord) -> str:
    name = in_order(candidate.metrics[task])[0]
    mine, theirs = (run.metrics.get(task, {}).get(name, {}).get("value") for run in (candidate, champion))
    return f"| {task} | {metric(name).heading} | {number(mine)} | {number(theirs)} |"
