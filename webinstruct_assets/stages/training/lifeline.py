"""The training process dies with the run that started it, and only one of them works in a folder.

A launcher (accelerate, torchrun) may stand between the run and the trainer, so besides the kernel's
parent-death signal a thread watches the run's own process.
"""

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from webinstruct_assets.core.errors import Busy

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


@contextmanager
def only_trainer(scratch: Path) -> Iterator[None]:
    """Holds the folder for this process; the kernel frees it when the process dies. Raises Busy."""
    scratch.mkdir(parents=True, exist_ok=True)
    with (scratch / ".trainer.lock").open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise Busy(
                f"{scratch.parent}: another training process works here (pid {stream.read().strip()})",
                "wait for it to end, or stop it",
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
