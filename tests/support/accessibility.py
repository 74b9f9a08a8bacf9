"""Checks a page for accessibility with axe-core, which `make test` fetches from the npm registry by its lock's hash."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

from tests.conftest import PROJECT

AXE = PROJECT / ".npm/node_modules/axe-core/axe.min.js"
SERIOUS = ("serious", "critical")
RUN = """
axe.run().then(found => found.violations.map(rule => ({
  rule: rule.id, impact: rule.impact, where: rule.nodes.map(node => node.failureSummary + ' ' + node.html) })))
"""


def serious_violations(page: Page) -> list[dict[str, Any]]:
    """Return the rules that the page breaks seriously, each with the elements that do."""
    return [rule for rule in violations(page) if rule["impact"] in SERIOUS]


def violations(page: Page) -> list[dict[str, Any]]:
    """Return all rules that the page breaks, each with the elements that do.

    Playwright evaluates the script through the browser's debugger, which the page's Content-Security-Policy does not
    bind.
    """
    page.evaluate(f"{AXE.read_text(encoding='utf-8')}; axe.version")
    found: list[dict[str, Any]] = page.evaluate(RUN)
    return found
