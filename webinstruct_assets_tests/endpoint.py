"""An OpenAI-compatible endpoint whose answers are known beforehand: for what cannot be ordered from a real model."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE = 20.0  # seconds


class JsonHandler(BaseHTTPRequestHandler):
    """Takes JSON and answers with JSON, quietly."""

    def asked(self) -> dict[str, Any]:
        """The request's body."""
        return dict(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def reply(self, status: int, content: object) -> None:
        """Sends the answer."""
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with suppress(ConnectionError):  # the client has given up
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Endpoint:
    """``together``: requests have to be here at the same time before any is answered. ``refuse_from``: from which on."""

    answer: Callable[[dict[str, Any]], str]
    together: int = 1
    refuse_from: int | None = None
    url: str = ""
    answered: int = 0
    barrier: threading.Barrier = field(init=False)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.together)


@contextmanager
def serving(endpoint: Endpoint) -> Iterator[Endpoint]:
    """Serves chat completions on loopback, as ``endpoint.url``."""
    lock = threading.Lock()

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            body = self.asked()
            try:
                endpoint.barrier.wait(PATIENCE)
            except threading.BrokenBarrierError:
                return self.reply(400, {"error": {"message": f"fewer than {endpoint.together} requests in flight"}})
            with lock:
                if endpoint.refuse_from is not None and endpoint.answered >= endpoint.refuse_from:
                    return self.reply(401, {"error": {"message": "no more"}})
                endpoint.answered += 1
            message = {"role": "assistant", "content": endpoint.answer(body)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
            self.reply(200, {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage})  # fmt: skip

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
