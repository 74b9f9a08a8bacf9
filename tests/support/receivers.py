"""Servers in this process: of mail and of HTTP, which keep what they are sent, and one that never answers."""

from __future__ import annotations

import contextlib
import email
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Server = TypeVar("Server", bound=socketserver.BaseServer)


class MailServer(socketserver.ThreadingTCPServer):
    """Keeps the messages it accepts; if it is full or locked, it refuses each message or each login with a secret."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _MailSession)
        self.messages: list[Message] = []
        self.recipients: list[str] = []
        self.full = self.locked = False

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _MailSession(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 ready")
        while line := self.rfile.readline().decode().strip():
            verb = line.partition(" ")[0].upper()
            if verb == "RCPT":
                self.server.recipients.append(line)
            if verb == "DATA" and not self.server.full:
                self._say("354 go on")
                self.server.messages.append(email.message_from_string(self._data()))
            self._say(self._answer(verb))
            if verb == "QUIT":
                return

    def _answer(self, verb: str) -> str:
        if verb == "DATA" and self.server.full:
            return "552 no room for the secret mail"
        if verb == "AUTH" and self.server.locked:
            return "535 wrong secret"
        return {"QUIT": "221 bye", "EHLO": "250-ready\r\n250 AUTH PLAIN"}.get(verb, "250 ok")

    def _data(self) -> str:
        lines = []
        while (line := self.rfile.readline().decode()) not in (".\r\n", ""):
            lines.append(line)
        return "".join(lines)

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class HookServer(ThreadingHTTPServer):
    """Keeps what is posted to it, each with its path and headers; what is not JSON as bytes.

    If it is cut, it closes the connection instead of answering.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _HookRequest)
        self.posted: list[tuple[str, dict[str, str], Any]] = []
        self.status, self.cut, self.answer = 200, False, b'{"ok": true}'

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _HookRequest(BaseHTTPRequestHandler):
    server: HookServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        form = self.headers.get("Content-Type", "")
        document = json.loads(body) if form.startswith("application/json") else body
        self.server.posted.append((self.path, dict(self.headers), document))
        if self.server.cut:
            self.close_connection = True
            return
        answer = self.server.answer
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_PUT = do_POST  # noqa: N815 - the names are the base class's

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Write nothing to the test's output."""


@contextlib.contextmanager
def mute_server() -> Iterator[int]:
    """Yield a port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve from a thread within the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
