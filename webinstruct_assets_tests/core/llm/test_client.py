import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import ConfigError, DeadEndpoint
from webinstruct_assets.core.llm.client import LlmClient, LlmReply, LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.llm.server import Endpoint

FRANCE = LlmRequest(messages=({"role": "user", "content": "What is the capital of France?"},), max_tokens=16)
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green", "blue"]}, "sure": {"type": "boolean"}},
    "required": ["colour", "sure"],
    "additionalProperties": False,
}


@contextmanager
def proxy(endpoint: Endpoint, unavailable: int = 0) -> Iterator[tuple[str, Counter[int]]]:
    """A real HTTP proxy before the server that counts answers by status; its first ``unavailable`` are 503."""
    seen: Counter[int] = Counter()
    target = endpoint.base_url.removesuffix("/v1")

    class Forward(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if seen[503] < unavailable:
                status, answer = 503, b"{}"
            else:
                headers = {"Content-Type": "application/json"}
                try:
                    with urllib.request.urlopen(urllib.request.Request(target + self.path, body, headers)) as reply:
                        status, answer = reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    status, answer = error.code, error.read()
            seen[status] += 1
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        server.server_close()


def test_key_holds_all_that_bears_on_the_answer_and_nothing_else() -> None:
    base = LlmRequest(prompt="a", max_tokens=5)
    assert base.key("m") == LlmRequest(prompt="a", max_tokens=5, tag="record-7").key("m")
    others = [
        base.key("other model"),
        LlmRequest(prompt="b", max_tokens=5).key("m"),
        LlmRequest(messages=({"role": "user", "content": "a"},), max_tokens=5).key("m"),
        LlmRequest(prompt="a", max_tokens=6).key("m"),
        LlmRequest(prompt="a", max_tokens=5, temperature=0.5).key("m"),
        LlmRequest(prompt="a", max_tokens=5, top_p=0.9).key("m"),
        LlmRequest(prompt="a", max_tokens=5, seed=1).key("m"),
        LlmRequest(prompt="a", max_tokens=5, stop=("x",)).key("m"),
        LlmRequest(prompt="a", max_tokens=5, json_schema=COLOUR).key("m"),
        LlmRequest(prompt="a", max_tokens=5, top_logprobs=5).key("m"),
    ]
    assert len({base.key("m"), *others}) == 11
    # Keys of before there were log probabilities still find their answers.
    assert base.key("m") == "26a99d49412f6cd5f5341695f615ce71da08c32bbb756247c1dba4eefcef9a97"


def test_request_is_either_chat_or_prompt() -> None:
    with pytest.raises(ValueError, match="either messages or a prompt"):
        LlmRequest(max_tokens=1)


def test_dead_endpoint_is_named_with_a_fix(tmp_path: Path) -> None:
    client = LlmClient(("http://127.0.0.1:9/v1", "demo"), "m", Ledger(tmp_path / "ledger.sqlite"), max_retries=1)
    with pytest.raises(DeadEndpoint, match=r"http://127\.0\.0\.1:9/v1 cannot be reached(?s:.*)base_url"):
        client.complete([FRANCE] * 3)


@contextmanager
def answering(status: int, *bodies: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A server with these answers, one after the other; its URL and the paths that it was asked for."""
    asked: list[str] = []

    class Scripted(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = bodies[len(asked) % len(bodies)]
            asked.append(self.path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Scripted) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
        server.shutdown()


@pytest.mark.parametrize("servers", [1, 2])
def test_no_prompt_follows_a_redirect(servers: int, tmp_path: Path) -> None:
    """Pages of a crawl would go to whomever the endpoint names."""
    with answering(200, b"{}") as (elsewhere, heard), answering(307, b"", Location=elsewhere) as (url, asked):
        client = LlmClient(([url] * servers, "m"), "m", Ledger(tmp_path / "ledger.sqlite"), api_key="k")
        with pytest.raises(ConfigError, match=f"redirects to {elsewhere}"):
            client.complete([FRANCE])
    assert asked == ["/v1/chat/completions"] and heard == []


@pytest.mark.parametrize("kind", ["application/json", "text/html"])
def test_an_answer_that_is_no_completion_costs_its_request_only(kind: str, tmp_path: Path) -> None:
    bad = [
        b"", b"<html>Please log in</html>", b"{", b"null", b"7", b"{}", b'{"choices": []}', b'{"choices": [{}]}', b"\xff\xfe",
        b'{"choices": [{"finish_reason": "stop", "message": {"content": ["a"]}}]}',
    ]  # fmt: skip
    requests = [replace(FRANCE, seed=number) for number in range(len(bad))]
    with answering(200, *bad, **{"Content-Type": kind}) as (url, asked):
        client = LlmClient((url, "m"), "m", Ledger(tmp_path / "ledger.sqlite"), max_retries=0, concurrency=1)
        replies = client.complete(requests)
    assert len(asked) == len(bad) and all(reply.error for reply in replies)
    assert client.ledger.get_many(request.key("m") for request in requests) == {}


@pytest.mark.llm
def test_replies_come_in_order_and_are_announced(client: LlmClient) -> None:
    requests = [LlmRequest(prompt=f"{n}, {n + 1}, {n + 2},", max_tokens=4 + n) for n in range(6)]
    heard: dict[int, LlmReply] = {}
    replies = client.complete(requests, heard.__setitem__)
    assert [reply.tokens_out for reply in replies] == [4, 5, 6, 7, 8, 9]
    assert heard == dict(enumerate(replies))
    assert all(reply.error is None and reply.finish_reason == "length" and not reply.from_ledger for reply in replies)
    assert client.usage.requests == 6 and client.usage.tokens_out == 39


@pytest.mark.llm
def test_chat_answer_stops_at_the_end_of_its_turn(client: LlmClient) -> None:
    [reply] = client.complete([FRANCE])
    assert "Paris" in reply.text and reply.finish_reason == "stop" and "<|im_end|>" not in reply.text


@pytest.mark.llm
def test_ledger_answers_what_was_asked_before(endpoint: Endpoint, tmp_path: Path) -> None:
    requests = [FRANCE, LlmRequest(prompt="One, two,", max_tokens=3), FRANCE]
    with proxy(endpoint) as (url, seen):
        first = LlmClient((url, "demo"), "m", Ledger(tmp_path / "ledger.sqlite"))
        asked = first.complete(requests)
        assert seen == {200: 2}  # the repeated one is asked once
        again = LlmClient((url, "demo"), "m", Ledger(tmp_path / "ledger.sqlite"))
        known = again.complete(requests)
        assert seen == {200: 2}
    assert [reply.text for reply in known] == [reply.text for reply in asked]
    assert [reply.from_ledger for reply in asked] == [False, False, True]
    assert all(reply.from_ledger for reply in known)
    assert (again.usage.requests, again.usage.from_ledger, again.usage.tokens_out) == (3, 3, 0)


@pytest.mark.llm
def test_answers_before_a_crash_are_not_asked_again(endpoint: Endpoint, tmp_path: Path) -> None:
    requests = [LlmRequest(prompt=f"Number {n}:", max_tokens=2) for n in range(5)]

    def fail_at_third(index: int, reply: LlmReply) -> None:
        if index == 2:
            raise KeyboardInterrupt

    with proxy(endpoint) as (url, seen):
        with pytest.raises(KeyboardInterrupt):
            LlmClient((url, "demo"), "m", Ledger(tmp_path / "l.sqlite"), concurrency=1).complete(
                requests, fail_at_third
            )
        LlmClient((url, "demo"), "m", Ledger(tmp_path / "l.sqlite"), concurrency=1).complete(requests)
        # Only the request that was in flight by then may have been answered twice.
        assert 5 <= seen[200] <= 6


CHILD = """
import json, sys
from pathlib import Path
from webinstruct_assets.core.llm.client import LlmClient, LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
requests = [LlmRequest(prompt=f"Number {n}:", max_tokens=8) for n in range(6)]
client = LlmClient((sys.argv[1], "demo"), "m", Ledger(Path(sys.argv[2])), concurrency=1)
client.complete(requests, lambda index, reply: print(index, reply.from_ledger, flush=True))
"""


@pytest.mark.llm
def test_answers_before_kill_9_are_not_asked_again(endpoint: Endpoint, tmp_path: Path) -> None:
    with proxy(endpoint) as (url, seen):
        command = [sys.executable, "-c", CHILD, url, str(tmp_path / "l.sqlite")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert [child.stdout.readline().split() for _ in range(3)] == [[str(n), "False"] for n in range(3)]
        child.kill()
        child.wait()
        known = Ledger(tmp_path / "l.sqlite")
        again = LlmClient((url, "demo"), "m", known, concurrency=1)
        replies = again.complete([LlmRequest(prompt=f"Number {n}:", max_tokens=8) for n in range(6)])
        kept = sum(reply.from_ledger for reply in replies)
        assert kept >= 3 and all(reply.from_ledger for reply in replies[:kept])
        # Only the request in flight when it was killed may have been answered twice.
        assert 6 <= seen[200] <= 7


@pytest.mark.llm
def test_answer_follows_the_json_schema(client: LlmClient) -> None:
    ask = {"role": "user", "content": "What colour is grass? Answer in JSON."}
    plain = "The colour of grass as JSON: "
    replies = client.complete(
        [
            LlmRequest(messages=(ask,), max_tokens=60, json_schema=COLOUR),
            LlmRequest(prompt=plain, max_tokens=60, json_schema=COLOUR),
        ]
    )
    for reply in replies:
        answer = json.loads(reply.text)
        assert answer["colour"] in ("red", "green", "blue") and isinstance(answer["sure"], bool)


@pytest.mark.llm
@pytest.mark.slow
def test_sampling_with_a_seed_survives_more_prompts_than_a_step_takes(client: LlmClient) -> None:
    """Prompts that vLLM would prefill in pieces: together they are longer than what it computes at a time."""
    prompts = [" ".join(f"{word} {number}" for word in range(150)) for number in range(4)]
    requests = [LlmRequest(prompt=prompt, max_tokens=2, temperature=0.7, seed=5) for prompt in prompts]
    assert [reply.error for reply in client.complete(requests)] == [None] * len(requests)


@pytest.mark.llm
def test_too_long_a_request_is_an_error_reply_and_is_not_stored(client: LlmClient) -> None:
    too_long = LlmRequest(prompt="word " * 3000, max_tokens=4)
    replies = client.complete([too_long, FRANCE])
    assert replies[0].error and "2048" in replies[0].error and replies[0].text == ""
    assert replies[1].error is None
    assert client.ledger.get_many([too_long.key(client.model_identity)]) == {}


@pytest.mark.llm
def test_overloaded_server_is_tried_again_up_to_the_budget(endpoint: Endpoint, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    with proxy(endpoint, unavailable=2) as (url, seen):
        [reply] = LlmClient((url, "demo"), "m", ledger, max_retries=2).complete([FRANCE])
        assert reply.error is None and seen == {503: 2, 200: 1}
    with proxy(endpoint, unavailable=99) as (url, seen):
        [reply] = LlmClient((url, "demo"), "other", ledger, max_retries=1).complete([FRANCE])
        assert reply.error and "503" in reply.error and seen == {503: 2}


@pytest.mark.llm
def test_wrong_model_name_is_a_configuration_error(endpoint: Endpoint, tmp_path: Path) -> None:
    client = LlmClient((endpoint.base_url, "no-such-model"), "m", Ledger(tmp_path / "ledger.sqlite"))
    with pytest.raises(ConfigError, match=r"no-such-model(?s:.*)served_name"):
        client.complete([FRANCE])
