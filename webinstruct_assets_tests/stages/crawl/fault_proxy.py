"""A web server that passes requests on to another and spoils the first answers to each. A program of its own.

    python fault_proxy.py PORT_OF_THE_OTHER FAULT,FAULT,…     prints its port, then serves until it is killed

The first answer to a request (path and range; to the end of a file from anywhere is one) is spoilt by the first
fault, and so on; after the last fault
answers are passed on as they are.
"""

import http.client
import http.server
import socket
import struct
import sys
import threading
import time
from collections import Counter

OTHER, FAULTS = int(sys.argv[1]), sys.argv[2].split(",")
SEEN: Counter[tuple[str, str, str]] = Counter()
LOCK = threading.Lock()


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        ranges = self.headers["Range"] or ""
        key = (self.command, self.path, "" if ranges.endswith("-") else ranges)  # a transfer taken up is the same
        with LOCK:
            number, SEEN[key] = SEEN[key], SEEN[key] + 1
        fault = FAULTS[number] if number < len(FAULTS) else ""
        self.close_connection = bool(fault)
        if fault[:3].isdigit():
            status, _, wait = fault.partition("/")
            self.send_response(int(status))
            if wait:
                self.send_header("Retry-After", wait)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        other = http.client.HTTPConnection("127.0.0.1", OTHER)
        passed = {name: value for name, value in self.headers.items() if name.lower() in ("range", "user-agent")}
        other.request(self.command, self.path, headers=passed)
        answer = other.getresponse()
        body = answer.read()
        other.close()
        length = len(body)
        half = len(body) // 2
        self.send_response(answer.status)
        for name in ("Content-Range", "ETag", "Location"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        declared = {"length_too_long": length + 1000, "length_too_short": half}.get(fault, length)
        self.send_header("Content-Length", str(declared))
        self.end_headers()
        if fault in ("truncated", "length_too_short"):
            self.wfile.write(body[:half])
        elif fault == "reset":
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault == "trickle":
            for at in range(0, min(len(body), 200), 2):
                self.wfile.write(body[at : at + 2])
                self.wfile.flush()
                time.sleep(0.05)
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # the reader hung up, or this proxy did
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        pass

    def shutdown_request(self, request: object) -> None:
        try:
            super().shutdown_request(request)  # type: ignore[arg-type]
        except OSError:
            pass


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Proxy)
    print(server.server_port, flush=True)
    server.serve_forever()
