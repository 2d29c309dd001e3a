"""A proxy before an S3 server that spoils a share of the requests. A program of its own.

    python s3_proxy.py PORT ENDPOINT SHARE [deaf] [upload]

Spoilt in turn: 500 without asking the server; 503 after the server did what was asked; the answer cut in the middle;
no answer for ``SLOW`` seconds. Which requests are spoilt is drawn from a fixed seed, in the order they come in. Counts by
fault go to ``/_faults``. ``deaf``: conditions of writes are not passed on, as by a server that does not know them. ``upload``: a large upload's first
piece fails three times, and the answer to dropping that upload is lost.
"""

import http.client
import http.server
import json
import random
import sys
import threading
import time
from collections import Counter
from itertools import cycle
from urllib.parse import urlsplit

PORT, OTHER, SHARE = int(sys.argv[1]), urlsplit(sys.argv[2]), float(sys.argv[3])
DEAF = {"if-match", "if-none-match"} if "deaf" in sys.argv else set()
UPLOAD = "upload" in sys.argv
SLOW = 5.0
LOCK = threading.Lock()
DRAW = random.Random(0)
FAULTS = cycle(["refused", "lost_answer", "cut", "slow"])
SEEN: Counter[str] = Counter()


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/_faults":
            return self.answer(200, [], json.dumps(SEEN).encode())
        with LOCK:
            fault = next(FAULTS) if DRAW.random() < SHARE else "none"
            if UPLOAD and "partNumber=1&" in self.path and SEEN["refused"] < 3:
                fault = "refused"
            elif UPLOAD and self.command == "DELETE" and not SEEN["lost_answer"]:
                fault = "lost_answer"
            SEEN[fault] += 1
        if fault == "refused":
            return self.answer(500, [], b"<Error><Code>InternalError</Code></Error>")
        if fault == "slow":
            time.sleep(SLOW)
        other = http.client.HTTPConnection(OTHER.hostname or "", OTHER.port)
        other.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # Host too: it is signed
            if name.lower() not in {"connection", *DEAF}:
                other.putheader(name, value)
        other.endheaders(body)
        answer = other.getresponse()
        content = answer.read()
        other.close()
        if fault == "lost_answer":
            return self.answer(503, [], b"<Error><Code>SlowDown</Code></Error>")
        headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")]
        self.answer(answer.status, headers, content, cut=fault == "cut")

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:  # the client hung up
        pass


if __name__ == "__main__":
    Server(("127.0.0.1", PORT), Proxy).serve_forever()
