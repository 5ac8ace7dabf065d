"""Real servers on this machine, each on a free port."""

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler"], None]


@dataclass
class Server:
    """What it answers, and what it was asked."""

    port: int
    answers: dict[str, Answer] = field(default_factory=dict)
    """By path without the query."""
    otherwise: Answer | None = None
    """For every other path; None: 404."""
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Path and headers of each request."""


class Handler(BaseHTTPRequestHandler):
    server_state: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server_state.asked.append((self.path, dict(self.headers)))
        answer = self.server_state.answers.get(self.path.split("?")[0], self.server_state.otherwise)
        if answer is None:
            self.send(404)
        else:
            answer(self)

    def do_HEAD(self) -> None:
        self.do_GET()

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer; `_` in the names of headers stands for `-`."""
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: Any) -> None: ...


@contextmanager
def http_server(certificate: Any = None) -> Iterator[Server]:
    """A server on 127.0.0.1; with a certificate of trustme, one with TLS."""
    handler = type("OwnHandler", (Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        handler.server_state = Server(server.server_port)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield handler.server_state
        server.shutdown()
        thread.join()
