"""An HTTP server that forwards requests to another one until it breaks."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

_HOP: Final = {"connection", "content-length", "date", "host", "server", "transfer-encoding"}


class Forwarder(ThreadingHTTPServer):
    """Forwards requests to a server; after some of them it closes every connection without an answer.

    Attributes
    ----------
    left
        Number of requests that are still forwarded; None: all.
    before
        Called with the path of each request before it is forwarded.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _ForwardedRequest)
        self.target = target
        self.left: int | None = None
        self.before: Callable[[str], None] = lambda path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _ForwardedRequest(BaseHTTPRequestHandler):
    server: Forwarder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.left == 0:
            self.close_connection = True
            return
        if self.server.left is not None:
            self.server.left -= 1
        self.server.before(self.path)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        address = f"{self.server.target}{self.path}"
        request = urllib.request.Request(address, body or None, headers, method=self.command)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                self._answer(answer)
        except urllib.error.HTTPError as refused:
            self._answer(refused)

    do_GET = do_PUT = do_PATCH = do_DELETE = do_POST  # noqa: N815 - the names are the base class's

    def _answer(self, answer: Any) -> None:
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Write nothing to the test's output."""
