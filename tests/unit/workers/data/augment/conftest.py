"""A real OpenAI-compatible endpoint on this machine, which answers as a test wants."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

Answer = Callable[[dict[str, Any]], "str | tuple[int, dict[str, str], bytes]"]


class Endpoint:
    """Remembers every request. `answer` gets its body, and gives the text of the answer, or status, headers, bytes."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.finish_reason = "stop"
        self.answer: Answer = lambda body: reworded(body["messages"][0]["content"])
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint._lock:
                    endpoint.bodies.append(body)
                    endpoint.headers.append(dict(self.headers))
                    endpoint.paths.append(self.path)
                    said = endpoint.answer(body)
                status, headers, raw = said if isinstance(said, tuple) else (200, {}, endpoint.completion(said))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(raw))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None: ...

        return Handler

    def completion(self, text: str) -> bytes:
        """A chat completion that says `text`, of 10 tokens."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish_reason}
        return json.dumps({"choices": [choice], "usage": {"total_tokens": 10}}).encode()


def between_lines(prompt: str) -> str:
    """The text that a prompt is about."""
    return prompt.split("\n---\n")[1].removesuffix("\n---")


def reworded(prompt: str) -> str:
    """A paraphrase of it, as far as tests are concerned."""
    return f"In other words, kindly: {between_lines(prompt)}"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    server = Endpoint()
    yield server
    server.close()
