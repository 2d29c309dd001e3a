"""Row ids and digests.

An id is ``<prefix>-<24 hex>``: the prefix names the asset that made the row, the rest is a digest of the
parent's id and whatever tells siblings apart, so the same input gives the same id on every machine.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ID_HEX = 24  # 96 bits: at 10^10 rows the chance of any collision stays below 10^-8


def row_id(prefix: str, *parts: object) -> str:
    """The id of the row that ``parts`` (parent id first) identify."""
    digest = hashlib.blake2b("\x1f".join(str(part) for part in parts).encode(), digest_size=ID_HEX // 2)
    return f"{prefix}-{digest.hexdigest()}"


def row_ids(prefix: str, parent: str, numbers: Iterable[int]) -> list[str]:
    """``row_id(prefix, parent, number)`` for every number, for tables with one row per page of a crawl."""
    start = hashlib.blake2b(f"{parent}\x1f".encode(), digest_size=ID_HEX // 2)
    ids = []
    for number in numbers:
        digest = start.copy()
        digest.update(b"%d" % number)
        ids.append(f"{prefix}-{digest.hexdigest()}")
    return ids


def digest_json(value: Any) -> str:
    """sha256 (hex) of ``value`` as canonical JSON: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
