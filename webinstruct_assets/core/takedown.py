"""Takedowns: what must not be in any later version of anything, and what still holds it.

    <lake>/_takedowns/journal.jsonl     one takedown a line, only ever added to
    <lake>/_takedowns/<id>.parquet      rows that held it when it was recorded: asset, partition, data_version, id, and
                                        of a pair its text

A takedown names a domain (with its subdomains), a URL, or a pair. It acts in one place, where a unit of any stage is
committed (``core.unit``): a row with that domain or URL, or whose id or parent is among the recorded rows, becomes a reject
``taken_down``. Of a pair the text counts too, so that it stays out when its page is read anew, and its copies with it.
A partition that held such rows, or reads one that does, has the takedown in its identity, so it counts as
stale until it is materialized again; others are left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.journal import append_line

REASON = "taken_down"
HELD_SCHEMA: dict[str, pl.DataType] = {
    "asset": pl.String(),
    "partition": pl.String(),
    "data_version": pl.String(),
    "id": pl.String(),
    "text": pl.String(),
}
HOST = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?([^/:?#]+)"


class Takedown(BaseModel):
    """One request. ``id`` orders them and names the file of rows; ``at``: UTC; ``by``: who recorded it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: Literal["domain", "url", "pair"]
    value: str
    reason: str
    at: str
    by: str


@dataclass(frozen=True)
class Takedowns:
    """All takedowns of a lake. May be pickled: it is a path, read where it is used."""

    folder: Path

    @property
    def journal(self) -> Path:
        """The file of requests."""
        return self.folder / "journal.jsonl"

    def all(self) -> list[Takedown]:
        """Every request, oldest first. Raises BadInput naming file, line and field."""
        if not self.journal.exists():
            return []
        found = []
        for number, line in enumerate(self.journal.read_bytes().splitlines(), start=1):
            try:
                found.append(Takedown.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(step) for step in first["loc"]) or "(whole line)"
                raise BadInput(
                    f"{self.journal} line {number}: field {where}: {first['msg']}", "correct that line"
                ) from error
        return found

    def held(self) -> pl.DataFrame:
        """Rows that held something when its takedown was recorded: ``HELD_SCHEMA`` and ``takedown`` (its id)."""
        frames = [
            pl.read_parquet(self.folder / f"{entry.id}.parquet").with_columns(pl.lit(entry.id).alias("takedown"))
            for entry in self.all()
        ]
        return pl.concat(frames) if frames else pl.DataFrame(schema={**HELD_SCHEMA, "takedown": pl.String()})

    def record(self, takedown: Takedown, held: pl.DataFrame) -> None:
        """Adds a request: the rows first, so that one that is in the journal has them."""
        self.write_held(takedown, held)
        append_line(self.journal, takedown.model_dump_json())

    def write_held(self, takedown: Takedown, held: pl.DataFrame) -> Path:
        """The file of a request's rows."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{takedown.id}.parquet"
        held.select(pl.col(name).cast(kind) for name, kind in HELD_SCHEMA.items()).write_parquet(path)
        return path

    def that_touch(self, asset: str, partition: str, data_version: str | None = None) -> list[str]:
        """Ids of the takedowns that this version of a partition held when they were recorded (None: any version)."""
        rules = self._rules()
        return rules.touching(asset, partition, data_version) if rules else []

    def rows_in(self, asset: str, partition: str, data_version: str) -> int:
        """How many rows of this version of a partition are taken down."""
        rules = self._rules()
        return rules.counts.get((asset, partition, data_version), 0) if rules else 0

    def count(self) -> int:
        """How many requests there are."""
        return len(self.journal.read_bytes().splitlines()) if self.journal.exists() else 0

    def mask(self, rows: pl.DataFrame) -> pl.Series | None:
        """True for rows that are taken down; None when none is."""
        rules = self._rules()
        if rules is None:
            return None
        taken = rules.mask(rows)
        return taken if taken.any() else None

    def _rules(self) -> "_Rules | None":
        if not self.journal.exists():
            return None
        status = self.journal.stat()
        return _load(self, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _load(takedowns: Takedowns, modified: int, size: int) -> "_Rules":
    """Read again only when the journal has changed."""
    return _Rules(takedowns.all(), takedowns.held())


class _Rules:
    def __init__(self, entries: Sequence[Takedown], held: pl.DataFrame):
        self._domains = [entry.value for entry in entries if entry.kind == "domain"]
        self._urls = [entry.value for entry in entries if entry.kind == "url"]
        self._held = held
        pairs = [entry.id for entry in entries if entry.kind == "pair"]
        self._texts = held.filter(pl.col("takedown").is_in(pairs) & (pl.col("text") != ""))["text"].unique()

    @cached_property
    def _ids(self) -> pl.Series:
        # A model has no row that holds anything, and "" is the parent of all that nothing is above.
        return self._held.filter(pl.col("id") != "")["id"].unique()

    def touching(self, asset: str, partition: str, data_version: str | None) -> list[str]:
        versions = self._versions.get((asset, partition), {})
        found = versions.values() if data_version is None else [versions.get(data_version, [])]
        return sorted({identity for ids in found for identity in ids})

    @cached_property
    def _versions(self) -> dict[tuple[str, str], dict[str, list[str]]]:
        grouped = self._held.group_by("asset", "partition", "data_version").agg(pl.col("takedown").unique())
        versions: dict[tuple[str, str], dict[str, list[str]]] = {}
        for asset, partition, version, ids in grouped.iter_rows():
            versions.setdefault((asset, partition), {})[version] = ids
        return versions

    @cached_property
    def counts(self) -> dict[tuple[str, str, str], int]:
        rows = self._held.filter(pl.col("id") != "")
        grouped = rows.group_by("asset", "partition", "data_version").agg(pl.col("id").n_unique())
        return {(asset, partition, version): count for asset, partition, version, count in grouped.iter_rows()}

    def mask(self, rows: pl.DataFrame) -> pl.Series:
        known = self._ids.implode()
        tests = [pl.col(name).is_in(known) for name in ("id", "parent_id") if name in rows.columns]
        if len(self._texts) and {"question", "answer"} <= set(rows.columns):
            tests.append(folded_pair("question", "answer").is_in(self._texts.implode()))
        tests += of_places(rows.columns, self._urls, self._domains)
        return rows.select(pl.any_horizontal(test.fill_null(False) for test in tests).alias("taken"))["taken"]


def of_places(columns: Sequence[str], urls: Sequence[str], domains: Sequence[str]) -> list[pl.Expr]:
    """Tests of whether a row with these columns is of one of the URLs or domains."""
    tests = []
    if "url" in columns:
        tests.append(pl.col("url").is_in(list(urls)))
        host = pl.col("url").str.extract(HOST, 1).str.to_lowercase()
        tests += [_below(host, domain) for domain in domains]
    if "domain" in columns:
        tests += [_below(pl.col("domain"), domain) for domain in domains]
    return tests


def folded_pair(question: str, answer: str) -> pl.Expr:
    """A pair's text without case and white space: the same for its copies on other pages and in other builds."""
    return pl.concat_str(pl.col(name).str.to_lowercase().str.replace_all(r"\s+", "") for name in (question, answer))


def _below(host: pl.Expr, domain: str) -> pl.Expr:
    return (host == domain) | host.str.ends_with("." + domain)
