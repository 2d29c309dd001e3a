"""Several servers of one model, each a process: shared out by load, one dies and comes back, nothing is lost or asked twice."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.errors import ConfigError, DeadEndpoint
from webinstruct_assets.core.llm import balance
from webinstruct_assets.core.llm.client import LlmClient, LlmReply, LlmRequest
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets_tests.crawls import configured
from webinstruct_assets_tests.s3 import free_port, wait_for

PROGRAM = Path(__file__).with_name("completions_server.py")


class Servers:
    """Server processes by number."""

    def __init__(self, folder: Path, stack: ExitStack):
        self._folder, self._stack = folder, stack
        self.ports: list[int] = []
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, seconds: float, number: int | None = None) -> str:
        if number is None:
            number = len(self.ports)
            self.ports.append(free_port())
        port = self.ports[number]
        child = subprocess.Popen([sys.executable, str(PROGRAM), str(port), str(self.log(number)), str(seconds)])
        self._stack.callback(child.wait)
        self._stack.callback(child.kill)
        self._processes[number] = child
        wait_for(port, 30)
        return f"http://127.0.0.1:{port}/v1"

    def kill(self, number: int) -> None:
        self._processes[number].kill()
        self._processes[number].wait()

    def log(self, number: int) -> Path:
        return self._folder / f"server-{number}.log"

    def answered(self, number: int) -> list[str]:
        return self.log(number).read_text().splitlines() if self.log(number).exists() else []


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(tmp_path, stack)


def questions(count: int, start: int = 0) -> list[LlmRequest]:
    return [LlmRequest(messages=({"role": "user", "content": f"q{number}"},)) for number in range(start, start + count)]


def test_the_least_loaded_is_asked(servers: Servers, tmp_path: Path) -> None:
    urls = [servers.start(0.02), servers.start(0.4)]  # far apart: other work on the machine slows both
    client = LlmClient((urls, "m"), "i", Ledger(tmp_path / "l.sqlite"), concurrency=6)
    replies = client.complete(questions(60))
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(60)]
    quick, slow = len(servers.answered(0)), len(servers.answered(1))
    assert quick + slow == 60 and quick > slow > 0


def test_one_dies_and_comes_back(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balance, "PROBE_SECONDS", 0.2)
    urls = [servers.start(0.05), servers.start(0.05), servers.start(0.05)]
    heard: list[int] = []
    marks: dict[str, int] = {}

    def on_reply(index: int, reply: LlmReply) -> None:
        heard.append(index)
        if len(heard) == 40:
            servers.kill(1)
            marks["dead"] = len(servers.answered(1))
        if len(heard) == 120:
            marks["still dead"] = len(servers.answered(1))
            servers.start(0.05, 1)

    ledger = Ledger(tmp_path / "l.sqlite")
    requests = questions(400)
    client = LlmClient((urls, "m"), "i", ledger, concurrency=6)
    replies = client.complete(requests, on_reply)
    assert [reply.text for reply in replies] == [f"answer to q{number}" for number in range(400)]
    assert sorted(heard) == list(range(400))
    assert 0 < marks["dead"] == marks["still dead"] < len(servers.answered(1))
    # What the dead one was at may have been answered by it just before; the rest was answered once.
    answered = Counter(line for number in range(3) for line in servers.answered(number))
    assert answered.keys() == {f"q{number}" for number in range(400)} and answered.total() <= 400 + 2
    # And never again, whichever servers there are.
    again = LlmClient((urls[::2], "m"), "i", ledger).complete(requests)
    assert all(reply.from_ledger for reply in again)
    assert sum(len(servers.answered(number)) for number in range(3)) == answered.total()


def test_all_dead_is_an_error_that_names_them(servers: Servers, tmp_path: Path) -> None:
    urls = [f"http://127.0.0.1:{free_port()}/v1" for _ in range(2)]
    client = LlmClient((urls, "m"), "i", Ledger(tmp_path / "l.sqlite"), max_retries=2)
    started = time.monotonic()
    with pytest.raises(DeadEndpoint, match=f"{urls[0]}, {urls[1]} cannot be reached"):
        client.complete(questions(3))
    assert time.monotonic() - started < 30


def test_a_model_with_several_base_urls(workspace: Workspace, servers: Servers) -> None:
    """Replicas come and go without making answers of the same model another model's."""
    urls = [servers.start(0.0), servers.start(0.0)]
    model = {"source": "hub:org/big", "base_url": urls, "served_name": "m"}
    ws = configured(workspace, models={"big": model})
    assert ws.model_identity("big") == f"endpoint:{urls[0]}#m"
    with ws.llm("big", print) as client:
        assert client.base_urls == urls
        assert all(reply.error is None for reply in client.complete(questions(20)))
    assert servers.answered(0) and servers.answered(1)
    more = configured(ws, models={"big": {**model, "base_url": urls[0]}})
    with more.llm("big", print) as client:
        assert all(reply.from_ledger for reply in client.complete(questions(20)))
    with pytest.raises(ConfigError, match="base_url"):
        configured(ws, models={"big": {**model, "base_url": []}})
    assert ModelConfig(source="hub:org/big", base_url=urls[0]).base_url == urls[0]
