"""An OpenAI-compatible server with recorded replies: ``python -m …recorded_server RECORDING LOG``; prints its port.

RECORDING: a JSON list of rules ``{model, contains, reply, logprobs?, status?}``. A request gets the first one of its model all
of whose ``contains`` stand in its messages. LOG: every request's body, one JSON object per line.
"""

import json
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from webinstruct_assets_tests.endpoint import JsonHandler


def choice(rule: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """The reply in the form of the chat completions endpoint."""
    message = {"role": "assistant", "content": rule["reply"]}
    found: dict[str, Any] = {"index": 0, "finish_reason": rule.get("finish_reason", "stop"), "message": message}
    if asked.get("logprobs") and "logprobs" in rule:
        top = [{"token": token, "logprob": value, "bytes": None} for token, value in rule["logprobs"].items()]
        found["logprobs"] = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
    return found


def main() -> None:
    recording, log, writing = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), threading.Lock()

    class Handler(JsonHandler):
        def do_POST(self) -> None:
            asked = self.asked()
            with writing, log.open("a") as stream:
                stream.write(json.dumps(asked) + "\n")
            said = "\n".join(message["content"] for message in asked["messages"])
            rules = [rule for rule in recording if rule["model"] == asked["model"]]
            rule = next((rule for rule in rules if all(text in said for text in rule["contains"])), None)
            status = 404 if rule is None else rule.get("status", 200)
            if rule and rule.get("refuses_logprobs") and asked.get("logprobs"):
                status = 400
            usage = {"prompt_tokens": len(said.split()), "completion_tokens": 5, "total_tokens": 5 + len(said.split())}
            body: dict[str, Any] = {"error": {"message": f"nothing recorded for {said[-300:]!r}"}}
            if status == 200 and rule:
                body = {"id": "r", "object": "chat.completion", "created": 0, "model": asked["model"], "usage": usage}
                body["choices"] = [choice(rule, asked)]
            self.reply(status, body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
