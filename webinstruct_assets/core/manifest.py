"""The manifest: what a published partition is and was made from. Written last, it is the commit mark.

Put here the record types and their digests; reading and writing them is the lake's.
"""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from webinstruct_assets.core.ids import digest_json

# Bump when a field changes its meaning. A new field whose default is true of old manifests needs no bump.
# 1: first version.
SCHEMA_VERSION = 1
# Version -> what turns a manifest of that version into one of the next: its JSON in, its JSON out. Data is never
# rewritten. A version without one is refused, and its partitions are built again.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Record):
    """A Parquet part, or any other file (``rows`` 0), of a partition; ``file`` is relative to its data folder."""

    file: str
    rows: int
    bytes: int
    sha256: str


class InputRecord(_Record):
    """A partition that was read, pinned by digest."""

    asset: str
    partition: str
    data_version: str
    manifest_sha256: str


class Manifest(_Record):
    """One published partition.

    Conservation: ``rows_in == rows_kept + sum(rejected.values())``: every record read either led to at least
    one output row or stands in the rejects parts with a reason. ``rows`` counts output rows (training rows
    for models, items for scores). ``cpu_seconds``: of all units, wherever they ran; wall-clock is ``seconds``.
    """

    schema_version: int = SCHEMA_VERSION
    asset: str
    partition: str
    keys: dict[str, str]
    code_version: str
    config: dict[str, Any]
    config_fingerprint: str
    fingerprint: str
    inputs: list[InputRecord]
    data_dir: str
    parts: list[Part]
    rejects: list[Part]
    files: list[Part]
    rows_in: int
    rows_kept: int
    rows: int
    rejected: dict[str, int]
    metrics: dict[str, Any]
    data_version: str
    reuses: str | None = None
    started_at: str
    finished_at: str
    seconds: float
    cpu_seconds: float = 0.0
    run_id: str
    environment: dict[str, str]

    @property
    def everything(self) -> list[Part]:
        """All files that are published."""
        return [*self.parts, *self.rejects, *self.files]

    @property
    def bytes(self) -> int:
        """Size of all files on disk."""
        return sum(part.bytes for part in self.everything)

    @property
    def rejected_total(self) -> int:
        """Rejected records over all reasons."""
        return sum(self.rejected.values())


def data_version(parts: list[Part], rejects: list[Part], files: list[Part], config_fingerprint: str) -> str:
    """Digest of what is published: ordered part digests and the config, nothing of time, place or run."""
    return digest_json(
        [[[part.file, part.sha256] for part in group] for group in (parts, rejects, files)] + [config_fingerprint]
    )


def migrated(record: dict[str, Any]) -> dict[str, Any]:
    """A manifest's JSON in this code's schema, as far as ``MIGRATIONS`` leads."""
    while (version := record.get("schema_version", 1)) != SCHEMA_VERSION and version in MIGRATIONS:
        record = {**MIGRATIONS[version](record), "schema_version": version + 1}
    return record
