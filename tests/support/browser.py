"""A headless Chromium driven over its DevTools protocol: enough to use a page as a person does and take its picture."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium")
SIZE = (1500, 1000)
SETTLE_S = 1  # for what fades in or slides before a picture is taken


class Page:
    """The browser's page.

    Attributes
    ----------
    faults
        ``(address, text)`` of each error that a page or a frame in it has logged or thrown.
    requests
        The address of all that was asked for.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._number = connection, 0
        self.faults: list[tuple[str, str]] = []
        self.requests: list[str] = []
        for domain in ("Log", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command of the protocol and return its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=30))
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _note(self, event: str | None, told: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.faults.append((told["entry"].get("url", ""), told["entry"]["text"]))
        elif event == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.faults.append((_address_of(details), details.get("exception", details).get("description", "")))
        elif event == "Runtime.consoleAPICalled" and told["type"] == "error":
            self.faults.append((_address_of(told), json.dumps(told["args"])))

    def evaluate(self, script: str) -> Any:
        """Return the value of a piece of JavaScript, of a promise what it comes to."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Wait until a piece of JavaScript is true; what cannot be read yet is not."""
        end = time.monotonic() + seconds
        while not self.evaluate(f"(() => {{ try {{ return Boolean({condition}) }} catch {{ return false }} }})()"):
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds:g} s in vain for {condition}; the page: {self._shown()}")
            time.sleep(0.25)

    def _shown(self) -> str:
        return str(self.evaluate("location.href + ' ' + document.body.innerText"))[:2000]

    def open(self, url: str) -> None:
        """Open an address and wait until it is loaded."""
        fault = self.send("Page.navigate", url=url).get("errorText")
        assert fault is None, f"{url}: {fault}"
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def click(self, element: str) -> None:
        """Click on the element that a piece of JavaScript finds, once it is there."""
        self.wait(element)
        self.evaluate(f"{element}.click()")

    def type(self, element: str, text: str) -> None:
        """Type a text into the element that a piece of JavaScript finds."""
        self.wait(element)
        self.evaluate(f"{element}.focus()")
        self.send("Input.insertText", text=text)

    def log_in(self, url: str, token: str) -> None:
        """Let the page open the server at an address as the user of a token."""
        self.send("Network.setCookie", name="_token", value=token, url=url)

    @contextlib.contextmanager
    def sized(self, width: int, most: int) -> Iterator[None]:
        """Make the window as wide and as high as the page is, up to a height; in pixels."""
        self._resize(width, 1)  # the page's own height shows where the window is lower
        self._resize(width, min(most, self.evaluate("document.documentElement.scrollHeight")))
        yield
        self.send("Emulation.clearDeviceMetricsOverride")

    def _resize(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def picture(self, path: Path) -> None:
        """Write what the page shows as PNG, once it has settled."""
        time.sleep(SETTLE_S)
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))


def _address_of(told: dict[str, Any]) -> str:
    frames = told.get("stackTrace", {}).get("callFrames") or [{}]
    return str(told.get("url") or frames[0].get("url", ""))


@contextlib.contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """Run Chromium with a profile of its own."""
    assert CHROMIUM is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0"]
    size = f"--window-size={SIZE[0]},{SIZE[1]}"
    process = subprocess.Popen(
        [CHROMIUM, *flags, size, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # What the page tells while nobody listens is kept, however much and however long.
        address = _address(profile / "DevToolsActivePort")
        with connect(address, max_size=None, max_queue=None, ping_interval=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait(20)


def _address(port_file: Path) -> str:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with contextlib.suppress(OSError, IndexError, StopIteration):
            port = port_file.read_text(encoding="utf-8").splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=5) as answer:
                pages = json.loads(answer.read())
            return str(next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"))
        time.sleep(0.25)
    raise AssertionError("Chromium has not started in 30 s")
