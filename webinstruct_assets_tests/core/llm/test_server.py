"""Leases: one server for many processes, and nothing left of it whichever process dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from webinstruct_assets.core.errors import DeadEndpoint
from webinstruct_assets.core.llm.serve import processes_in
from webinstruct_assets.core.llm.server import Endpoint, lease_server

LESSEE = """
import sys
from pathlib import Path
from webinstruct_assets.core.llm.server import lease_server
with lease_server(Path(sys.argv[1]), name="demo", state_dir=Path(sys.argv[2]), max_model_len=2048, linger=2,
                  log=lambda line: print(line, file=sys.stderr)) as endpoint:
    print(endpoint.base_url, flush=True)
    sys.stdin.read()
"""


def lessee(model: Path, state: Path) -> "subprocess.Popen[str]":
    """A process that prints the address it leased and keeps the lease until its stdin closes or it is killed."""
    command = [sys.executable, "-c", LESSEE, str(model), str(state)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def record(state: Path) -> dict[str, int]:
    [file] = state.glob("*/server.json")
    return json.loads(file.read_text())


def alive(state: Path) -> list[int]:
    """The owner and all of vLLM's processes that still run."""
    [folder] = [path.resolve() for path in state.glob("*/run")]
    owner = record(state)["pid"]
    try:
        owner_runs = str(folder.parent) in Path(f"/proc/{owner}/cmdline").read_text()
    except FileNotFoundError:
        owner_runs = False
    return [owner] * owner_runs + list(processes_in(folder))


def wait_until(reached: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if reached():
            return True
        time.sleep(0.2)
    return False


def engine(state: Path) -> int:
    """The process that holds the weights: the biggest."""
    return max(alive(state), key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[1]))


@pytest.mark.llm
def test_second_process_shares_the_server(endpoint: Endpoint, demo_model: Path, server_state: Path) -> None:
    before = record(server_state)
    other = lessee(demo_model, server_state)
    assert address(other) == endpoint.base_url
    other.communicate(timeout=30)
    assert other.returncode == 0
    time.sleep(5)  # longer than linger and poll: another's lease that ended must not end ours
    assert record(server_state) == before
    assert before["server_pid"] in alive(server_state)


@pytest.mark.llm
def test_server_listens_on_loopback_only(endpoint: Endpoint) -> None:
    port = f"{urlsplit(endpoint.base_url).port:04X}"
    tables = [path.read_text() for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port}")]
    assert listening == [f"0100007F:{port}"]


@pytest.mark.llm
@pytest.mark.slow
def test_processes_that_start_together_get_one_server_and_it_stops_after_the_last(
    demo_model: Path, tmp_path: Path
) -> None:
    first, second = lessee(demo_model, tmp_path), lessee(demo_model, tmp_path)
    assert address(first) == address(second) != ""
    server = record(tmp_path)
    first.kill()  # dies without a word
    first.wait()
    time.sleep(6)
    assert server["server_pid"] in alive(tmp_path), "the second lessee still has its lease"
    second.kill()
    second.wait()
    assert wait_until(lambda: not alive(tmp_path), 60)
    # What is left of that server misleads nobody: a new lessee gets a new one.
    third = lessee(demo_model, tmp_path)
    assert address(third).startswith("http://127.0.0.1:")
    assert record(tmp_path)["server_pid"] != server["server_pid"]
    third.communicate(timeout=30)
    assert wait_until(lambda: not alive(tmp_path), 60)


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["owner", "api server", "engine"])
def test_killing_any_process_of_a_server_leaves_none(demo_model: Path, tmp_path: Path, victim: str) -> None:
    tenant = lessee(demo_model, tmp_path)
    assert address(tenant)
    assert len(alive(tmp_path)) >= 3
    server = record(tmp_path)
    pid = {"owner": server["pid"], "api server": server["server_pid"], "engine": engine(tmp_path)}[victim]
    os.kill(pid, signal.SIGKILL)
    try:
        assert wait_until(lambda: not alive(tmp_path), 30), alive(tmp_path)
    finally:
        tenant.kill()
        tenant.wait()


@pytest.mark.llm
@pytest.mark.slow
def test_lessee_killed_while_the_server_starts_leaves_none(demo_model: Path, tmp_path: Path) -> None:
    tenant = lessee(demo_model, tmp_path)
    assert wait_until(lambda: bool(list(tmp_path.glob("*/server.json"))), 30)
    time.sleep(3)
    tenant.kill()
    tenant.wait()
    assert wait_until(lambda: not alive(tmp_path), 60)


@pytest.mark.llm
@pytest.mark.slow
def test_failed_start_shows_the_last_log_lines(demo_model: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(DeadEndpoint, match=r"server for demo ended while starting(?s:.*)no-such-option(?s:.*)vllm_args"),
        lease_server(demo_model, name="demo", state_dir=tmp_path, vllm_args=["--no-such-option"]),
    ):
        pass
    assert wait_until(lambda: not alive(tmp_path), 30)
