"""An LLM endpoint whose replies are a fixed function of the request: fast, and the same whoever asks, and when.

A process of its own, so that it can be killed, speaking as much of OpenAI's protocol as our client does:

    python -m webinstruct_assets_tests.answers PORT HOME LOG

Each request is a line in LOG: its key in the ledger of answered requests, and ``again`` where HOME's ledger had the answer.
"""

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from webinstruct_assets.core.llm.client import LlmRequest
from webinstruct_assets.core.workspace import PROJECT_ROOT
from webinstruct_assets_tests.endpoint import JsonHandler
from webinstruct_assets_tests.services import wait_for_port

MODEL = "fixed"


def identity(port: int) -> str:
    """What provenance records of the model behind the endpoint."""
    return f"endpoint:http://127.0.0.1:{port}/v1#{MODEL}"


def configure(home: Path, port: int, **sections: dict[str, Any]) -> None:
    """Points every model of the demo environment at the endpoint; ``sections`` are changed, too."""
    path = home / "config/environments/demo.yaml"
    content = yaml.safe_load(path.read_text())
    for name, model in content["models"].items():
        content["models"][name] = {**model, "base_url": f"http://127.0.0.1:{port}/v1", "served_name": MODEL}
    for section, fields in sections.items():
        content[section] = {**content.get(section, {}), **fields} if isinstance(fields, dict) else fields
    path.write_text(yaml.safe_dump(content))


@contextmanager
def serving(home: Path, log: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The endpoint, until the block ends."""
    command = [sys.executable, "-m", "webinstruct_assets_tests.answers", str(port), str(home), str(log)]
    child = subprocess.Popen(command, cwd=PROJECT_ROOT)
    try:
        wait_for_port(port, 30)
        yield child
    finally:
        child.kill()
        child.wait()


def reply_to(messages: list[dict[str, str]] | None, prompt: str | None, schema: dict[str, Any] | None) -> str:
    """The reply: labels by the demo's gold, pairs as they were shown, other choices by the request's digest."""
    asked = (messages[-1]["content"] if messages else prompt) or ""
    pick = int.from_bytes(hashlib.sha256(asked.encode()).digest()[:4], "big")
    if schema is None:
        return f" Half of {pick % 50 * 2} is {pick % 50}. The answer is {pick % 50}.\n\n"
    properties = schema["properties"]
    if "pairs" in properties:
        return json.dumps({"pairs": [{"question": "1", "answer": "2-3", "kind": "solution"}] * (pick % 2)})
    if "answer" in properties:
        found = [asked[match.start() :] for match in re.finditer(r'\{"question"', asked)]
        return json.dumps(json.JSONDecoder().raw_decode(found[-1])[0], ensure_ascii=False)
    hosts = {row["host"] for row in _gold() if row["educational"]}
    names = dict(re.findall(r"(?m)^(\d+)\. (\S+)$", asked))
    answer = {}
    for name, choices in properties.items():
        if "enum" not in choices:
            answer[name] = ""
        elif "educational" in choices["enum"]:
            answer[name] = "educational" if names.get(name) in hosts else "non-educational"
        else:
            answer[name] = choices["enum"][pick % len(choices["enum"])]
    return json.dumps(answer)


def _gold() -> list[dict[str, Any]]:
    lines = (PROJECT_ROOT / "data/demo/domains.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def main(port: str, home: str, log: str) -> None:
    """Serves until it is killed."""
    ledger, model = Path(home) / "data/llm/ledger.sqlite", identity(int(port))

    class Handler(JsonHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.asked()
            schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
            request = LlmRequest(
                messages=tuple(body["messages"]) if "messages" in body else None, prompt=body.get("prompt"),
                max_tokens=body["max_tokens"], temperature=body["temperature"], top_p=body["top_p"],
                seed=body.get("seed"), stop=tuple(body.get("stop", ())), json_schema=schema,
            )  # fmt: skip
            key = request.key(model)
            with Path(log).open("a") as stream:
                stream.write(f"{key}{' again' if _answered(ledger, key) else ''}\n")
            text = reply_to(body.get("messages"), body.get("prompt"), schema)
            choice = {"index": 0, "finish_reason": "stop"}
            choice |= {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
            usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
            self.reply(200, {
                "id": "x", "object": "completion", "created": 0, "model": MODEL, "choices": [choice], "usage": usage,
            })  # fmt: skip

    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


def _answered(ledger: Path, key: str) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute("SELECT 1 FROM replies WHERE key = ?", (key,)).fetchone() is not None
    except sqlite3.OperationalError:  # no ledger yet
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
