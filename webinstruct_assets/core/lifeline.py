"""A child process dies with the run that started it, however that one ended.

Something may stand between the two (accelerate, torchrun), so besides the kernel's parent-death signal a thread
watches the run's own process.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 1.0


def process_identity(pid: int) -> tuple[int, int] | None:
    """Pid and start time (clock ticks since boot), so that a reused pid is another process; None when gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else (pid, int(fields[19]))


def dies_with_parent() -> Callable[[], None]:
    """A ``preexec_fn`` for programs that are not ours: the kernel kills the child when this process dies (Linux only)."""
    if sys.platform != "linux":
        return lambda: None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died in between
            os._exit(1)

    return prepare


def die_with(owner: tuple[int, int] | None) -> None:
    """Ends this process when its parent or ``owner`` dies. Outside Linux only a new parent is noticed."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent and (owner is None or process_identity(owner[0]) == tuple(owner)):
            time.sleep(WATCH_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
