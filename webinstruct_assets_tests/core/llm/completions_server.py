"""A server of chat completions, a program of its own, which notes what it answered.

python completions_server.py PORT LOG SECONDS     each answer takes so many seconds
"""

import http.server
import json
import sys
import time
from pathlib import Path

LOG, SECONDS = Path(sys.argv[2]), float(sys.argv[3])


class Completions(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": [{"id": "m", "object": "model"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        time.sleep(SECONDS)
        message = {"role": "assistant", "content": f"answer to {asked}"}
        self.reply({
            "id": "x", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        })  # fmt: skip
        with LOG.open("a") as log:
            log.write(f"{asked}\n")

    def reply(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Completions).serve_forever()
