"""Only one training process works in a folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from webinstruct_assets.core.errors import Busy


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
