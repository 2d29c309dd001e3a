"""kill -9 of every process of ``webinstruct ui`` while a run is at work, at seeded moments; then what a restart makes of it.

The model is an endpoint with fixed replies; local vLLM servers are killed in ``core/llm/test_server.py``, Ray workers in
``core/engine/test_ray.py``.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.graph import BY_ASSET, Selection, closure, targets
from webinstruct_assets.stages.crawl.demo import build_demo_crawl
from webinstruct_assets_tests import answers
from webinstruct_assets_tests.conftest import make_home, webinstruct
from webinstruct_assets_tests.services import Stack, free_port, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
KEY = PartitionKey.of({"snapshot": "local-demo"})
SEED = 7
RETRY_SECONDS = 60.0  # by when Dagster has started what it tries again
# ``worker``: a process of the engine inside the run. ``everything``: a power cut.
VICTIMS = ("run", "daemon", "everything", "webserver", "worker", "code-server", "run", "llm", "supervisor", "everything", "run", "everything")  # fmt: skip


class Machine:
    """A root, its stack and its model's endpoint; and which processes are theirs."""

    def __init__(self, home: Path, asked: Path):
        self.home, self.asked = home, asked
        self.stack = Stack(home)
        self.port = free_port()
        self.llm: subprocess.Popen[bytes] | None = None
        self.ws = Workspace.open(home)

    def start_llm(self) -> None:
        command = [
            sys.executable,
            "-m",
            "webinstruct_assets_tests.answers",
            str(self.port),
            str(self.home),
            str(self.asked),
        ]
        self.llm = subprocess.Popen(command, cwd=PROJECT_ROOT, env={**os.environ, "WEBINSTRUCT_HOME": ""})

    def processes(self) -> list[psutil.Process]:
        """Everything of this root but the endpoint, found by its environment: an orphan is in it, too."""
        found = []
        for process in psutil.process_iter():
            try:
                if (
                    process.environ().get("WEBINSTRUCT_HOME") == str(self.home)
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def victims(self, role: str) -> list[psutil.Process]:
        """Whom to kill, [] while nobody plays that role."""
        if role == "everything":
            return self.processes()
        if role == "llm":
            assert self.llm
            return [psutil.Process(self.llm.pid)]
        by_role = self.stack.processes()
        if role != "worker":
            return by_role.get(role, [])[:1]
        workers = [child for run in by_role.get("run", []) for child in run.children(recursive=True)]
        return workers[:1]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("stack")
    home = make_home(folder / "home")
    machine = Machine(home, folder / "asked")
    answers.configure(
        home, machine.port, refiners=["smollm2-format"], recipes=["demo-sft"], engine={"kind": "processes", "workers": 2}
    )  # fmt: skip
    recipe = home / "config/recipes/demo-sft.yaml"
    text = "\n".join(
        line for line in recipe.read_text().splitlines() if not line.startswith(("steps", "epochs", "max_length"))
    )
    recipe.write_text(f"{text}\nsteps: 2\nmax_length: 64\n")
    machine.ws = Workspace.open(home)
    config = machine.ws.config
    build_demo_crawl(machine.ws.path(config.crawl.demo_sources), machine.ws.path(config.crawl.local_root), "local-demo")
    machine.start_llm()
    try:
        yield machine
    finally:
        machine.stack.stop()
        assert machine.llm
        machine.llm.kill()
        machine.llm.wait()


def recalled(machine: Machine) -> list[Ref]:
    return closure(machine.ws, targets(machine.ws, Selection(), ["recalled_urls"]), None)


def versions(ws: Workspace, refs: list[Ref]) -> dict[str, list[str]]:
    """Data version and digests of all parts."""
    manifests = {str(ref): ws.lake.require(ref, "test") for ref in refs}
    return {
        name: [manifest.data_version, *(part.sha256 for part in [*manifest.parts, *manifest.rejects, *manifest.files])]
        for name, manifest in manifests.items()
    }


def forget(machine: Machine, refs: list[Ref]) -> None:
    for ref in refs:
        shutil.rmtree(machine.ws.lake.folder(ref), ignore_errors=True)
    for path in (machine.home / "data/llm").glob("ledger.sqlite*"):
        path.unlink()


def idle(machine: Machine) -> bool:
    """Whether nothing runs or waits."""
    return not {run["status"] for run in machine.stack.runs()} - {"SUCCESS", "FAILURE", "CANCELED"}


def settled(machine: Machine, refs: list[Ref]) -> bool:
    """Whether all is published and nothing runs or waits."""
    return idle(machine) and all(machine.ws.lake.manifest(ref) for ref in refs)


def finish(machine: Machine, refs: list[Ref], what: str) -> int:
    """Waits until all is published; how often a run had to be started again, since Dagster had failed to try it again.

    It fails to when the code server is away at the moment of the retry, too.
    """
    again = 0
    while True:
        wait_for(what, 900, lambda: idle(machine))
        try:
            wait_for(what, RETRY_SECONDS, lambda: settled(machine, refs) or not idle(machine))
        except AssertionError:
            again += 1
            assert again <= 1, what
            machine.stack.launch([ref.asset for ref in refs], str(KEY))
        if settled(machine, refs):
            return again


def test_whatever_is_killed_the_graph_is_built_once_and_nothing_is_left_behind(machine: Machine) -> None:
    stack, refs, chance = machine.stack, recalled(machine), random.Random(SEED)
    stack.start()
    began = time.monotonic()
    run = stack.launch([ref.asset for ref in refs], str(KEY))
    wait_for("a calm run", 600, lambda: settled(machine, refs))
    assert stack.status(run) == "SUCCESS"
    seconds = time.monotonic() - began
    calm, log = versions(machine.ws, refs), []
    for role in VICTIMS:
        victims: list[psutil.Process] = []
        while not victims:  # a run may be over before its moment has come
            forget(machine, refs)
            run = stack.launch([ref.asset for ref in refs], str(KEY))
            wait_for("the run's beginning", 300, lambda run=run: stack.status(run) != "QUEUED", every=0.05)
            moment = time.monotonic() + chance.uniform(0, 0.8 * seconds)
            while stack.status(run) in ("STARTING", "STARTED") and not victims:
                victims = machine.victims(role) if time.monotonic() > moment else []
        before = [ref.asset for ref in refs if machine.ws.lake.manifest(ref)]
        for victim in victims:
            try:
                victim.kill()
            except psutil.NoSuchProcess:
                pass
        if role == "llm":
            machine.start_llm()
        if role in ("supervisor", "everything"):
            assert stack.process
            stack.process.wait(30)
            stack.start()
        began = time.monotonic()
        if role not in ("supervisor", "everything"):
            wait_for("the code location", 120, stack.loaded)
        started_again = finish(machine, refs, f"an end after {role} was killed")
        assert versions(machine.ws, refs) == calm
        wait_for("empty pools", 120, lambda: not stack.slots())
        wait_for("no orphan", 120, lambda: not orphans(machine))
        daemons = [process for process in machine.processes() if "dagster._daemon" in process.cmdline()]
        assert len(daemons) == 1
        log.append(
            {"killed": role, "published before": len(before), "seconds to the end": round(time.monotonic() - began),
             "started again by hand": started_again}
        )  # fmt: skip
    again = [line for line in machine.asked.read_text().splitlines() if line.endswith("again")]
    assert not again, "a recorded answer was asked for again"
    print(json.dumps(log, indent=1))


def orphans(machine: Machine) -> list[str]:
    """Processes of the root that do not descend from its supervisor."""
    assert machine.stack.process
    supervisor = psutil.Process(machine.stack.process.pid)
    family = {supervisor.pid, *(child.pid for child in supervisor.children(recursive=True))}
    found = []
    for process in machine.processes():
        try:
            if process.pid not in family:
                found.append(" ".join(process.cmdline())[:200])
        except psutil.NoSuchProcess:
            continue
    return found


def test_a_second_stack_is_refused(machine: Machine) -> None:
    answer = webinstruct(machine.home, "ui", "--port", str(free_port()), check=False)
    assert answer.returncode == 1 and "another `webinstruct ui`" in answer.stderr and "two daemons" in answer.stderr


def test_a_killed_trainer(machine: Machine) -> None:
    """The trainer is a child of the run; killed, the run fails at once, and the next one trains from the start."""
    webinstruct(machine.home, "run", "--snapshot", "local-demo", "--recipe", "demo-sft", "--to", "sft_dataset")
    ref = BY_ASSET["trained_checkpoint"].ref(PartitionKey.of({"recipe": "demo-sft"}))
    run = machine.stack.launch(["trained_checkpoint"], "demo-sft")

    def trainer() -> list[psutil.Process]:
        return [process for process in machine.processes() if "trainer_process" in " ".join(process.cmdline())]

    wait_for("the trainer", 300, trainer, every=0.05)
    time.sleep(random.Random(SEED).uniform(0, 5))
    for process in trainer():
        process.send_signal(signal.SIGKILL)
    wait_for("the run's failure", 120, lambda: machine.stack.status(run) == "FAILURE")
    assert machine.ws.lake.manifest(ref) is None and not trainer()
    run = machine.stack.launch(["trained_checkpoint"], "demo-sft")
    wait_for("the training", 900, lambda: machine.stack.status(run) in ("SUCCESS", "FAILURE"))
    assert machine.stack.status(run) == "SUCCESS" and machine.ws.lake.require(ref, "test").rows
