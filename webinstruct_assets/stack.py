"""Dagster on one machine: code location, webserver and daemon, under one supervisor that owns the store.

    webinstruct ui           this module; restarts a child that ends, stops them all when it ends
      ├─ code-server         loads the definitions; run workers are its children
      ├─ dagster-webserver
      └─ dagster-daemon

Not ``dagster dev``: killed, it leaves a daemon behind, and the next start makes two of them on one store. Here the kernel
kills the children with the supervisor, and each of them holds the store's lock as long as it lives.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import yaml

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.lifeline import dies_with_parent, process_identity
from webinstruct_assets.core.locks import held
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.graph import known_snapshots
from webinstruct_assets.partitions import register
from webinstruct_assets.runner import HOST_TAG, enter

UI = "WEBINSTRUCT_UI_URL"  # where people reach the UI; `webinstruct ui` sets its own address where nobody has
LOCK = Path("data/.dagster/stack.lock")
UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
STOP_SECONDS = 30.0
RESTARTS, RESTARTS_WITHIN = 5, 120.0
STARTING_SECONDS = 180.0  # what Dagster's run monitoring gives a run to start
_PID = re.compile(r"\(pid: (\d+)\)")

Log = Callable[[str], None]


def serve(ws: Workspace, port: int, log: Log) -> None:
    """Runs the stack until SIGINT or SIGTERM.

    Raises Busy when another one is up, WebInstructError when it cannot stay up or the store is one that machines share.
    """
    enter(ws)
    os.environ.setdefault(UI, f"http://127.0.0.1:{port}")
    with holding(ws.root / LOCK) as lock:
        with dg.DagsterInstance.get() as instance:
            if "sqlite" not in type(instance.run_storage).__module__:
                raise WebInstructError(
                    "this Dagster store is a database that machines share, and its daemon is elsewhere",
                    "use its own web page (deploy/README.md); a second daemon would start everything twice",
                )
            register(instance, known_snapshots(ws))
            reap(instance, log)
        with tempfile.TemporaryDirectory(prefix="webinstruct-") as folder:
            _supervise(Path(folder), port, lock, log)


def holding(path: Path) -> AbstractContextManager[int]:
    """The lock of one Dagster store, as a file descriptor that children are given, too. Raises Busy."""
    return held(
        path,
        lambda pid: f"another `webinstruct ui` (pid {pid}) serves this store: {path.parent}",
        "use that one, or stop it first: two daemons on one store start everything twice",
    )


def reap(instance: dg.DagsterInstance, log: Log, starting_seconds: float = 0.0) -> list[str]:
    """Marks runs whose process is gone as failed and frees their pool slots; returns their ids.

    Dagster itself never learns of a run that a power cut, the kill of its code server or of ``webinstruct run`` ended. To be
    called on the machine, or in the container, of the code server, whose children run workers are; runs that ``webinstruct
    run`` has on other machines are left alone. ``starting_seconds``: how long a run may be without a process.
    """
    reaped = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
        run = record.dagster_run
        if run.tags.get(HOST_TAG, socket.gethostname()) != socket.gethostname():
            continue
        at_work = _at_work(instance, run.run_id)
        if at_work is None:
            at_work = time.time() - record.update_timestamp.timestamp() < starting_seconds
        now = instance.get_run_by_id(run.run_id)  # a process writes its run's end before its own
        if at_work or now is None or now.is_finished:
            continue
        message = "Its process is gone; what it had committed is kept, a re-run goes on from there."
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        log(f"run {run.run_id} was {run.status.value} and its process is gone: marked as ended")
        reaped.append(run.run_id)
    return reaped


def _at_work(instance: dg.DagsterInstance, run_id: str) -> bool | None:
    """Whether the process that a run's events name still runs, and is not another with its number; None: they name none."""
    for entry in reversed(instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)):
        if found := _PID.search(entry.message or (entry.dagster_event.message if entry.dagster_event else "") or ""):
            return is_the_process(int(found[1]), entry.timestamp)
    return None


def is_the_process(pid: int, moment: float) -> bool:
    """Whether the process that had this number at ``moment`` (seconds since 1970) still runs."""
    identity = process_identity(pid)
    if identity is None:
        return False
    boot = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    return boot + identity[1] / os.sysconf("SC_CLK_TCK") <= moment + 1


def _commands(socket: Path, workspace: Path, port: int) -> dict[str, list[str]]:
    """The children's command lines; the code server first, which the others read."""
    server = {"socket": str(socket), "location_name": "webinstruct"}
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}))
    python = [sys.executable, "-m"]
    return {
        "code-server": [
            *python, "dagster", "code-server", "start", "-m", "webinstruct_assets.definitions", "--location-name", "webinstruct",
            "--socket", str(socket), "--log-level", "warning",
        ],
        "webserver": [
            *python, "dagster_webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port),
            "--dagster-log-level", "warning", "--live-data-poll-rate", "2000",
        ],
        "daemon": [*python, "dagster._daemon", "run", "-w", str(workspace), "--log-level", "warning"],
    }  # fmt: skip


def _supervise(folder: Path, port: int, lock: int, log: Log) -> None:
    """Keeps one process per command until it is told to stop. They meet at a socket in ``folder``, which is this user's."""
    socket = folder / "code.sock"
    commands = _commands(socket, folder / "workspace.yaml", port)
    children: dict[str, subprocess.Popen[bytes]] = {}
    restarts: list[float] = []
    stopped = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        stopped = True

    # SIGINT, too: to a script's background job a shell leaves it ignored, and only the children would be without it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        while not stopped:
            for name, command in commands.items():
                child = children.get(name)
                if child and child.poll() is None:
                    continue
                if name == "code-server":
                    socket.unlink(missing_ok=True)
                elif not socket.exists():
                    continue  # the code server is loading
                if child:
                    log(f"Dagster's {name} ended with {child.returncode}; starting it again")
                    now = time.monotonic()
                    restarts = [moment for moment in restarts if now - moment < RESTARTS_WITHIN] + [now]
                    if len(restarts) > RESTARTS:
                        raise WebInstructError(
                            f"Dagster's processes end again and again, {name} with {child.returncode}",
                            "see the lines above",
                        )
                children[name] = subprocess.Popen(command, pass_fds=[lock], preexec_fn=dies_with_parent())
            time.sleep(0.2)
    finally:
        for child in reversed(children.values()):  # the code server last: the others wait for its answers
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
