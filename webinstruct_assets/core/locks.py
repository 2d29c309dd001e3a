"""A lock that one process holds and the kernel frees, however that process ends."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from webinstruct_assets.core.errors import Busy


@contextmanager
def held(path: Path, problem: Callable[[str], str], fix: str) -> Iterator[int]:
    """Holds the lock file ``path``; gives its descriptor, which children may be given to hold it, too.

    Raises Busy with ``problem``, told the pid that the holder wrote there, and ``fix``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise Busy(problem(stream.read().strip() or "unknown"), fix) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield stream.fileno()
