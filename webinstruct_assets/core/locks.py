"""A lock that one process holds and the kernel frees, however that process ends."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from webinstruct_assets.core.errors import Busy
from webinstruct_assets.core.lifeline import process_identity

DYING_SECONDS = 10.0  # a killed holder's children hold it, too, until the kernel has ended them


@contextmanager
def held(path: Path, problem: Callable[[str], str], fix: str) -> Iterator[int]:
    """Holds the lock file ``path``; gives its descriptor, which children may be given to hold it, too.

    Raises Busy with ``problem``, told the pid that the holder wrote there, and ``fix``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + DYING_SECONDS
    with path.open("a+") as stream:
        while not _locked(stream):
            stream.seek(0)
            holder = stream.read().strip()
            if not _is_gone(holder) or time.monotonic() > deadline:
                raise Busy(problem(holder or "unknown"), fix)
            time.sleep(0.05)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield stream.fileno()


def _locked(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_gone(holder: str) -> bool:
    return holder.isdecimal() and process_identity(int(holder)) is None
