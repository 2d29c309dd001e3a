"""The process that owns one vLLM server: ``python -m webinstruct_assets.core.llm.serve``, started by a lessee.

It holds ``server.lock`` for life, watches ``lease.lock`` and ends the server when the last lease is gone.
Standard library only: it lives as long as the server and should weigh nothing.
"""

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

POLL_SECONDS = 2.0
STOP_SECONDS = 10.0


def processes_in(folder: Path) -> Iterator[int]:
    """Python processes whose working directory is ``folder``: a server's, as nothing else is started there.

    The working directory tells them apart because it is inherited, survives renamed processes (vLLM overwrites
    argv and environment of its children), and unlike a recorded pid it means nothing else after a reboot.
    """
    python = os.readlink("/proc/self/exe")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if os.readlink(entry / "cwd") == str(folder) and os.readlink(entry / "exe") == python:
                yield int(entry.name)
        except OSError:  # ended meanwhile, or someone else's
            continue


def kill_all_in(folder: Path) -> None:
    """Kills what is left of a server, and returns when it is gone (at most a few seconds)."""
    deadline = time.monotonic() + 5
    while (pids := list(processes_in(folder))) and time.monotonic() < deadline:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.1)


def try_lock(path: Path) -> int | None:
    """An open descriptor with the exclusive lock of ``path``, or None while another process holds any lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def watch(server: subprocess.Popen[bytes], state: Path, linger: float) -> None:
    """Returns when the server ended or has had no lease for ``linger`` seconds.

    In the latter case ``lease.lock`` stays locked, so whoever comes now waits until this server is gone.
    """
    last_leased = time.monotonic()
    while server.poll() is None:
        time.sleep(min(POLL_SECONDS, max(linger, 0.1)))
        free = try_lock(state / "lease.lock")
        if free is None:
            last_leased = time.monotonic()
        elif time.monotonic() - last_leased < linger:
            os.close(free)
        else:
            print(f"no lease for {linger:g} s: stopping", flush=True)
            return


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True, help="folder of locks, log and server.json")
    parser.add_argument("--linger", type=float, required=True, help="seconds without a lease before it stops")
    parser.add_argument("--endpoint", required=True, help="JSON that lessees read from server.json")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    def terminate(_signal: int, _frame: FrameType | None) -> None:
        sys.exit("terminated")

    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGINT, terminate)
    run_folder = options.state / "run"
    server = subprocess.Popen(options.command, cwd=run_folder, start_new_session=True, stdin=subprocess.DEVNULL)
    try:
        record = {**json.loads(options.endpoint), "pid": os.getpid(), "server_pid": server.pid}
        part = options.state / "server.json.tmp"
        part.write_text(json.dumps(record))
        os.replace(part, options.state / "server.json")
        watch(server, options.state, options.linger)
    finally:
        server.terminate()  # lets vLLM release its shared memory
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        kill_all_in(run_folder)
        print(f"server ended with code {server.poll()}", flush=True)


if __name__ == "__main__":
    main()
