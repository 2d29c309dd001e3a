"""Answers already paid for, so that no run asks the same thing twice."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import disk_errors_named


class Ledger:
    """Request key -> reply, in one SQLite file that many processes and threads may use at once. Raises Unwritable.

    Every reply is committed as it arrives; a process killed a moment later has still paid for it only once.
    """

    def __init__(self, path: Path):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        with disk_errors_named(str(path)):
            self._db = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            # WAL lets readers go on while one process writes; NORMAL may lose the last replies in a power cut
            # (they are asked again), never the file.
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies"
                " (key TEXT PRIMARY KEY, model TEXT NOT NULL, reply TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID"
            )

    def get_many(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The known replies among ``keys``."""
        wanted = list(keys)
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(wanted), 500):  # below SQLite's limit of bound values in every build
            chunk = wanted[start : start + 500]
            query = f"SELECT key, reply FROM replies WHERE key IN ({','.join('?' * len(chunk))})"
            with self._lock:
                rows = self._db.execute(query, chunk).fetchall()
            found.update((key, json.loads(reply)) for key, reply in rows)
        return found

    def put(self, key: str, model: str, reply: dict[str, Any]) -> None:
        """Stores a reply. The first one stays: two runs that asked at the same time agree from then on."""
        with self._lock, disk_errors_named(str(self.path)):
            self._db.execute(
                "INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?)",
                (key, model, json.dumps(reply, ensure_ascii=False), time.time()),
            )

    def close(self) -> None:
        """Ends the connection."""
        self._db.close()
