"""Append-only files of one JSON object a line, that several processes may add to."""

import fcntl
import os
from pathlib import Path


def append_line(path: Path, line: str) -> None:
    """Adds one line, whole and on disk before this returns; earlier lines are never touched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
