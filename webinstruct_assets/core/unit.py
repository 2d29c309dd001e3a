"""A unit of work: what a stage returns for it, and the ledger that commits it whole.

    part-<unit>.parquet      its rows                rejects-<unit>.parquet   its rejects, where there are any
    <name>-<unit>.<suffix>   its side files          unit-<unit>.json         its ledger entry, written last

Every file is written beside its name, synced and renamed, so an entry that is there stands for files that are whole.
The process that computed a unit commits it, on whatever machine that is.
"""

import io
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from webinstruct_assets.core.ids import digest_file
from webinstruct_assets.core.lake import REJECT_SCHEMA, Lake
from webinstruct_assets.core.manifest import Manifest, Part
from webinstruct_assets.core.takedown import REASON, Takedowns

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Reject:
    """A record that goes no further: its id, its parent's id, a reason from a short list, and the detail."""

    id: str
    parent_id: str
    reason: str
    detail: str = ""


@dataclass
class Unit:
    """Result of one unit of work.

    ``rows_kept``: input records that led to output (default: one per row). ``files``: side files by name, which has
    to contain the unit's name (``domains-<unit>.parquet``); tables are written as Parquet, bytes as they are.
    ``warnings``: what the run's log should say of its input, a few lines. ``cpu_seconds``: of child processes; those of
    this one are known.
    """

    rows: Sequence[Mapping[str, Any]] | pl.DataFrame
    rows_in: int
    rejects: Sequence[Reject] | pl.DataFrame = ()
    rows_kept: int | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    files: Mapping[str, pl.DataFrame | bytes] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    cpu_seconds: float = 0.0


class Entry(BaseModel):
    """A committed unit: its files with their digests, and its counts. ``rejected``: rejects by reason.

    ``takedowns``: how many there were when it was committed. ``cpu_seconds``: of the process that computed it, and of its
    children, for what a dataset cost; nothing is decided by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rows_in: int
    rows_kept: int
    counts: dict[str, float]
    rejected: dict[str, int]
    part: Part
    rejects: Part | None
    files: list[Part]
    cpu_seconds: float
    warnings: list[str]
    takedowns: int

    @property
    def all_files(self) -> list[Part]:
        """Everything the unit has on disk but this entry."""
        return [self.part, *([self.rejects] if self.rejects else []), *self.files]


@dataclass(frozen=True)
class Ledger:
    """Commits units into ``folder``. ``label`` (asset and partition) is for messages. May be pickled.

    Rows that ``takedowns`` name become rejects here, in whatever stage they turn up.
    """

    folder: Path
    label: str
    schema: Schema
    lake: Lake
    takedowns: Takedowns | None  # None: of a first pass, whose rows are none of the partition

    def committed(self, name: str) -> Entry | None:
        """The unit's entry, None when it has to be computed: never committed, a file is gone, or a row was taken down."""
        try:
            entry = Entry.model_validate_json((self.folder / f"unit-{name}.json").read_bytes())
            whole = all((self.folder / part.file).stat().st_size == part.bytes for part in entry.all_files)
        except (FileNotFoundError, ValidationError):
            return None
        return entry if whole and not self._taken_down_since(entry) else None

    def _taken_down_since(self, entry: Entry) -> bool:
        """Whether a unit holds rows that were taken down after it was committed."""
        if self.takedowns is None or self.takedowns.count() == entry.takedowns:
            return False
        return self.takedowns.mask(pl.read_parquet(self.folder / entry.part.file)) is not None

    def compute(self, name: str, function: Callable[[], Unit]) -> Entry:
        """Calls ``function`` and commits its unit."""
        start = time.process_time()
        return self.commit(name, function(), start)

    def commit(self, name: str, unit: Unit, start: float) -> Entry:
        """Writes the unit, its entry last; ``start``: the process's CPU time when its computation began.

        Raises AssertionError for other columns than declared, or lost records.
        """
        rows = (
            unit.rows
            if isinstance(unit.rows, pl.DataFrame)
            else pl.DataFrame(list(unit.rows), schema=dict(self.schema), strict=True)
        )
        if rows.schema != pl.Schema(self.schema):
            raise AssertionError(f"{self.label}: columns {rows.schema} are not the declared {dict(self.schema)}")
        rejects = (
            unit.rejects
            if isinstance(unit.rejects, pl.DataFrame)
            else pl.DataFrame([vars(reject) for reject in unit.rejects], schema=REJECT_SCHEMA)
        )
        takedowns = self.takedowns.count() if self.takedowns else 0  # before they act: a later one is looked at again
        rows, rejects, gone = self._without_taken_down(rows, rejects, per_row=unit.rows_kept is None)
        kept = rows.height if unit.rows_kept is None else unit.rows_kept - gone
        if unit.rows_in != kept + rejects.height:
            raise AssertionError(f"{self.label} unit {name}: {unit.rows_in} in, {kept} kept, {rejects.height} rejected")
        for file in unit.files:
            if name not in file or "/" in file or file.startswith((".", "part-", "rejects-", "unit-")):
                raise AssertionError(f"{self.label} unit {name}: {file!r} cannot be the name of a side file of it")
        entry = Entry(
            name=name,
            rows_in=unit.rows_in,
            rows_kept=kept,
            counts=dict(unit.counts),
            rejected=dict(sorted(Counter(rejects["reason"].to_list()).items())),
            part=self._table(f"part-{name}.parquet", rows),
            rejects=self._table(f"rejects-{name}.parquet", rejects) if rejects.height else None,
            files=[self._write(file, content) for file, content in sorted(unit.files.items())],
            cpu_seconds=round(time.process_time() - start + unit.cpu_seconds, 3),
            warnings=list(unit.warnings),
            takedowns=takedowns,
        )
        self._write(f"unit-{name}.json", json.dumps(entry.model_dump(), sort_keys=True).encode())
        return entry

    def _without_taken_down(
        self, rows: pl.DataFrame, rejects: pl.DataFrame, *, per_row: bool
    ) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        """Rows and rejects once takedowns have acted, and how many records lost all of their rows.

        Where a record is not a row (``per_row`` false), it is the parent of its rows: a reject for each parent that has
        none left.
        """
        taken = self.takedowns.mask(rows) if self.takedowns else None
        if taken is None:
            return rows, rejects, 0
        lost, rows = rows.filter(taken), rows.filter(~taken)
        if not per_row:
            lost = lost.filter(~pl.col("parent_id").is_in(rows["parent_id"].implode())).unique(
                "parent_id", keep="first", maintain_order=True
            )
        added = lost.select("id", "parent_id", pl.lit(REASON).alias("reason"), pl.lit("").alias("detail"))
        return rows, pl.concat([rejects, added]), lost.height

    def _table(self, name: str, rows: pl.DataFrame) -> Part:
        return self._write(name, rows).model_copy(update={"rows": rows.height})

    def _write(self, name: str, content: pl.DataFrame | bytes) -> Part:
        path = self.folder / name
        # Not named by pid: on a cluster, two machines may have the same pid at work on the same unit.
        temporary = path.with_name(f".{name}.tmp-{secrets.token_hex(8)}")
        if isinstance(content, pl.DataFrame):
            # Not straight into the file: where that fails, polars says something about Thrift and not what is wrong.
            buffer = io.BytesIO()
            content.write_parquet(buffer, compression="zstd")
            content = buffer.getvalue()
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part = Part(file=name, rows=0, bytes=temporary.stat().st_size, sha256=digest_file(temporary))
        self.lake.commit(temporary, path)
        return part


@dataclass(frozen=True)
class Failed:
    """A unit that was not committed: why, what to do, and the traceback of an error that nobody foresaw."""

    name: str
    problem: str
    fix: str
    trace: str = ""


@dataclass(frozen=True)
class Work:
    """A function of a stage, ``function(argument) -> Unit``, and the ledger that takes its units. May be pickled.

    ``build``: the build's folder. ``inputs``: the partitions that units may read.
    """

    function: Callable[[Any], Unit]
    ledger: Ledger
    build: Path
    inputs: Sequence[Manifest]

    def __call__(self, name: str, argument: Any) -> Entry | Failed:
        """Computes and commits one unit, in whatever process this is; an error is returned, not raised."""
        import traceback

        from webinstruct_assets.core.errors import WebInstructError, disk_errors_named

        try:
            with disk_errors_named(self.ledger.label):
                self.ledger.lake.prepare(self.build, self.inputs)
                return self.ledger.compute(name, partial(self.function, argument))
        except WebInstructError as error:
            return Failed(name, error.problem, error.fix)
        except Exception as error:
            return Failed(name, f"{type(error).__name__}: {error}", "see the traceback", traceback.format_exc())
