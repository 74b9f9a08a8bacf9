"""A headless Chromium driven by Playwright, and a record of the errors and requests of its page."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import ConsoleMessage, FrameLocator, Locator, Page, Request, WebError, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
WIDTH, HEIGHT = 1500, 1000  # pixels
TIMEOUT_MS = 60_000  # of an action and of an expectation


@dataclass  # not frozen: Playwright keeps its wrapper of a listener in the listener's object
class PageActivity:
    """The errors and requests of a page and of the frames in it.

    Attributes
    ----------
    errors
        ``(address, text)`` of each error that was logged or thrown; the address is empty where it is unknown.
    requests
        The address of each request.
    """

    errors: list[tuple[str, str]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def add_message(self, message: ConsoleMessage) -> None:
        """Record a message of the console if it is an error."""
        if message.type == "error":
            self.errors.append((message.location["url"], message.text))

    def add_exception(self, thrown: WebError) -> None:
        """Record an exception that no script has caught."""
        self.errors.append((thrown.location["url"], thrown.error.message))

    def add_request(self, request: Request) -> None:
        """Record a request."""
        self.requests.append(request.url)


@contextlib.contextmanager
def browser() -> Iterator[Page]:
    """Run Chromium with a profile of its own, and close it at the end of the block."""
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(TIMEOUT_MS)
        try:
            yield page
        finally:
            chromium.close()


@contextlib.contextmanager
def recorded(page: Page) -> Iterator[PageActivity]:
    """Record the activity of a page within the block."""
    activity = PageActivity()
    listeners = {"console": activity.add_message, "weberror": activity.add_exception, "request": activity.add_request}
    for event, listener in listeners.items():
        page.context.on(event, listener)  # type: ignore[call-overload]  # one overload for each event
    yield activity
    for event, listener in listeners.items():
        page.context.remove_listener(event, listener)


def element(parent: Page | FrameLocator | Locator, selector: str, text: str) -> Locator:
    """Return the first element that a CSS selector matches and that contains a text in this spelling."""
    return parent.locator(selector, has_text=re.compile(re.escape(text))).first


def screenshot(page: Page, path: Path, *, width: int = WIDTH, max_height: int | None = None) -> None:
    """Write a page as PNG, with its animations finished.

    Parameters
    ----------
    width, max_height
        Of the picture, in pixels; the picture is as high as the page, up to the limit, or by default as the window.
    """
    page.set_viewport_size({"width": width, "height": HEIGHT})
    if max_height is not None:
        page.set_viewport_size({"width": width, "height": 1})  # the page's own height shows where the window is lower
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": width, "height": min(max_height, height)})
    page.screenshot(path=path, animations="disabled")
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
