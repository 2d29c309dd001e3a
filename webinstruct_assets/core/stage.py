"""A stage and its execution: identity first, then units of work with a ledger, then the manifest.

Identity (what makes a build *this* build): the stage's own sources, its settings, and the data versions of
its inputs. Paths, hardware, time and run ids never enter it. The build folder is named by that fingerprint,
so changed settings can never resume into old parts.

Execution: a stage splits its work into units. A unit is computed in memory and committed whole: rows part,
rejects part, then a small JSON ledger entry last, each renamed into place. A re-run skips committed units;
after kill -9 only the unit in flight is lost.
"""

import json
import os
import platform
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import digest_file, digest_json
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import REJECT_SCHEMA, write_atomically
from webinstruct_assets.core.manifest import Manifest, Part, data_version
from webinstruct_assets.core.progress import Progress

if TYPE_CHECKING:
    from webinstruct_assets.core.workspace import Workspace

PACKAGE = Path(__file__).parents[1]
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
    """Result of one unit of work. ``rows_kept``: input records that led to output (default: one per row)."""

    rows: Sequence[Mapping[str, Any]] | pl.DataFrame
    rows_in: int
    rejects: Sequence[Reject] | pl.DataFrame = ()
    rows_kept: int | None = None
    counts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """What an asset does, without Dagster.

    ``schema``: columns of its rows (``id`` and ``parent_id`` among them, ids starting with ``prefix``).
    ``inputs``/``settings``: of one partition, from the workspace's configuration. ``sources``: globs below
    the package whose bytes are the code version. ``reuses``: the partition that stands in for this one, which then
    has no parts of its own and does no work; None where it is built.
    """

    asset: str
    dimensions: tuple[str, ...]
    prefix: str
    schema: Schema
    run: Callable[["Job"], None]
    inputs: Callable[["Workspace", PartitionKey], Sequence[Ref]]
    settings: Callable[["Workspace", PartitionKey], dict[str, Any]]
    sources: tuple[str, ...]
    reuses: Callable[["Workspace", PartitionKey], Ref | None] = lambda ws, key: None
    may_be_empty: Callable[["Workspace", PartitionKey], bool] = lambda ws, key: False

    def ref(self, key: PartitionKey) -> Ref:
        """The partition ``key`` of this asset."""
        return Ref(self.asset, key)

    def code_version(self) -> str:
        """Digest of the stage's own sources and prompts."""
        return _digest_sources(self.sources)


def from_reference(asset: str) -> Callable[["Workspace", PartitionKey], Ref | None]:
    """``Stage.reuses`` of an asset that a snapshot may take from its reference snapshot (``--model-from``)."""

    def find(ws: "Workspace", key: PartitionKey) -> Ref | None:
        reference = ws.reference_for(key["snapshot"])
        return Ref(asset, PartitionKey.of({**key.as_dict(), "snapshot": reference})) if reference else None

    return find


@cache
def _digest_sources(sources: tuple[str, ...]) -> str:
    paths = sorted({path for pattern in sources for path in PACKAGE.glob(pattern) if path.is_file()})
    if not paths:
        raise AssertionError(f"no source matches {sources}")
    return digest_json([[path.relative_to(PACKAGE).as_posix(), digest_file(path)] for path in paths])[:16]


class Job:
    """One execution of a stage on one partition: what its ``run`` function is given."""

    def __init__(
        self,
        stage: Stage,
        key: PartitionKey,
        ws: "Workspace",
        inputs: Mapping[Ref, Manifest],
        settings: dict[str, Any],
        folder: Path,
        log: Callable[[str], None],
    ):
        self.stage, self.key, self.ws, self.settings, self.folder, self.log = (
            stage,
            key,
            ws,
            settings,
            folder,
            log,
        )
        self.inputs = inputs
        self.progress = Progress(f"{stage.asset} {key}", log)
        self.metrics: dict[str, Any] = {}
        self.rows: int | None = None  # set by stages whose rows are not table rows (training rows of a model)
        self._ledger: list[dict[str, Any]] = []

    def manifests(self, asset: str) -> list[Manifest]:
        """Manifests of the inputs from ``asset``, in key order."""
        return [manifest for ref, manifest in self.inputs.items() if ref.asset == asset]

    def read(self, asset: str) -> pl.DataFrame:
        """Rows of all inputs from ``asset``; where there are several, with their keys as columns."""
        manifests = self.manifests(asset)
        frames = [self.ws.lake.read(manifest) for manifest in manifests]
        if len(frames) == 1:
            return frames[0]
        keyed = [
            frame.with_columns(pl.lit(value).alias(name) for name, value in manifest.keys.items())
            for frame, manifest in zip(frames, manifests, strict=True)
        ]
        return pl.concat([frame for frame in keyed if frame.height] or keyed[:1])

    def input_file(self, asset: str, name: str) -> Path:
        """Path of a file of the only input from ``asset``."""
        (manifest,) = self.manifests(asset)
        return self.ws.lake.file(manifest, name)

    def unit(self, name: str, compute: Callable[[], Unit]) -> None:
        """Runs ``compute`` and commits its result as unit ``name``, unless that unit is committed already."""
        entry_path = self.folder / f"unit-{name}.json"
        if entry_path.exists():
            self._ledger.append(json.loads(entry_path.read_text()))
            return
        unit = compute()
        rows = (
            unit.rows
            if isinstance(unit.rows, pl.DataFrame)
            else pl.DataFrame(list(unit.rows), schema=dict(self.stage.schema), strict=True)
        )
        if rows.schema != pl.Schema(self.stage.schema):
            raise AssertionError(
                f"{self.stage.asset}: columns {rows.schema} are not the declared {dict(self.stage.schema)}"
            )
        rejects = (
            unit.rejects
            if isinstance(unit.rejects, pl.DataFrame)
            else pl.DataFrame([vars(reject) for reject in unit.rejects], schema=REJECT_SCHEMA)
        )
        kept = rows.height if unit.rows_kept is None else unit.rows_kept
        if unit.rows_in != kept + rejects.height:
            raise AssertionError(
                f"{self.stage.asset} {self.key} unit {name}: {unit.rows_in} in, {kept} kept, {rejects.height} rejected"
            )
        entry = {
            "name": name,
            "rows_in": unit.rows_in,
            "rows_kept": kept,
            "counts": dict(unit.counts),
            "part": self._write(f"part-{name}.parquet", rows),
            "rejects": self._write(f"rejects-{name}.parquet", rejects) if rejects.height else None,
            "rejected": dict(sorted(Counter(rejects["reason"].to_list()).items())),
        }
        write_atomically(entry_path, json.dumps(entry, sort_keys=True).encode())
        self._ledger.append(entry)

    def _write(self, name: str, frame: pl.DataFrame) -> dict[str, Any]:
        path = self.folder / name
        temporary = path.with_name(f".{name}.tmp-{os.getpid()}")
        frame.write_parquet(temporary, compression="zstd")
        os.replace(temporary, path)
        return Part(file=name, rows=frame.height, bytes=path.stat().st_size, sha256=digest_file(path)).model_dump()

    def count(self, name: str) -> float:
        """Sum of a unit count over all units run or resumed so far."""
        return sum(entry["counts"].get(name, 0) for entry in self._ledger)

    @property
    def rejected(self) -> dict[str, int]:
        """Rejects by reason so far."""
        total: Counter[str] = Counter()
        for entry in self._ledger:
            total.update(entry["rejected"])
        return dict(sorted(total.items()))

    def outcome(self) -> dict[str, Any]:
        """Manifest fields that the ledger and the files on disk determine."""
        ledger = sorted(self._ledger, key=lambda entry: entry["name"])
        parts = [Part(**entry["part"]) for entry in ledger]
        rejects = [Part(**entry["rejects"]) for entry in ledger if entry["rejects"]]
        owned = {part.file for part in [*parts, *rejects]}
        files = [
            Part(
                file=path.relative_to(self.folder).as_posix(),
                rows=0,
                bytes=path.stat().st_size,
                sha256=digest_file(path),
            )
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
            and path.name not in owned
            and not path.name.startswith((".", "unit-"))
            and "scratch" not in path.relative_to(self.folder).parts
        ]
        return {
            "parts": parts,
            "rejects": rejects,
            "files": files,
            "rows_in": sum(entry["rows_in"] for entry in ledger),
            "rows_kept": sum(entry["rows_kept"] for entry in ledger),
            "rows": sum(part.rows for part in parts) if self.rows is None else self.rows,
            "rejected": self.rejected,
            "metrics": self.metrics,
        }


@dataclass(frozen=True)
class Identity:
    """What the current code, settings and inputs say a partition should be built from."""

    code_version: str
    config: dict[str, Any]
    config_fingerprint: str
    inputs: dict[Ref, Manifest]
    fingerprint: str
    reuses: Ref | None


def identify(stage: Stage, key: PartitionKey, ws: "Workspace") -> Identity:
    """The identity that a run started now would have. Raises MissingInput when an input is not there."""
    reuses = stage.reuses(ws, key)
    if reuses:
        config: dict[str, Any] = {"reuses": str(reuses)}
        refs: Sequence[Ref] = [reuses]
    else:
        config = json.loads(json.dumps(stage.settings(ws, key), default=str))
        refs = stage.inputs(ws, key)
    needed_by = str(stage.ref(key))
    inputs = {ref: ws.lake.require(ref, needed_by) for ref in refs}
    code, config_fingerprint = stage.code_version(), digest_json(config)[:16]
    versions = [[str(ref), manifest.data_version] for ref, manifest in inputs.items()]
    return Identity(code, config, config_fingerprint, inputs, digest_json([code, config, versions]), reuses)


def execute(stage: Stage, key: PartitionKey, ws: "Workspace", *, log: Callable[[str], None], run_id: str) -> Manifest:
    """Builds and publishes one partition; returns its manifest.

    Finished work with the same identity is returned as it is. Raises a WebInstructError (nothing is published
    then, the previous version stays) for missing or bad input, a failed quality gate, or a held lock.
    """
    ref = stage.ref(key)
    with ws.lake.lock(ref):
        identity = identify(stage, key, ws)
        current = ws.lake.manifest(ref)
        if current and current.fingerprint == identity.fingerprint and _intact(ws, ref):
            log(f"{ref}: up to date, nothing to do")
            return current
        started, clock = datetime.now(UTC), time.monotonic()
        folder = ws.lake.folder(ref) / identity.fingerprint[:12]
        folder.mkdir(parents=True, exist_ok=True)
        for stray in folder.glob(".*.tmp-*"):
            stray.unlink()
        job = Job(stage, key, ws, identity.inputs, identity.config, folder, log)
        if identity.reuses:
            outcome = _reuse(identity.inputs[identity.reuses])
            version = identity.inputs[identity.reuses].data_version
        else:
            stage.run(job)
            outcome = job.outcome()
            version = data_version(outcome["parts"], outcome["rejects"], outcome["files"], identity.config_fingerprint)
            if not outcome["rows"] and not stage.may_be_empty(ws, key):
                raise QualityGate(
                    f"{ref}: no rows ({outcome['rows_in']} records in, rejected: {outcome['rejected'] or 'none'})",
                    "look at the rejects' reasons above and at the settings of this stage",
                )
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        manifest = Manifest(
            asset=ref.asset,
            partition=str(key),
            keys=key.as_dict(),
            code_version=identity.code_version,
            config=identity.config,
            config_fingerprint=identity.config_fingerprint,
            fingerprint=identity.fingerprint,
            inputs=[ws.lake.input_record(item, record) for item, record in identity.inputs.items()],
            data_dir=folder.name,
            data_version=version,
            reuses=str(identity.reuses) if identity.reuses else None,
            started_at=started.isoformat(timespec="seconds"),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - clock, 3),
            run_id=run_id,
            environment=_environment(ws),
            **outcome,
        )
        ws.lake.publish(manifest)
        log(
            f"{ref}: {manifest.rows_in:,} in, {manifest.rows:,} out, {manifest.rejected_total:,} rejected, {manifest.seconds:.1f} s"
        )
        return manifest


def _intact(ws: "Workspace", ref: Ref) -> bool:
    from webinstruct_assets.core.errors import WebInstructError

    try:
        ws.lake.require(ref, str(ref))
    except WebInstructError:
        return False
    return True


def _reuse(reference: Manifest) -> dict[str, Any]:
    """A partition that reuses another has no parts of its own; its numbers are the other's."""
    return {
        "parts": [],
        "rejects": [],
        "files": [],
        "rows_in": 0,
        "rows_kept": 0,
        "rows": reference.rows,
        "rejected": {},
        "metrics": reference.metrics,
    }


@cache
def _git_commit() -> str:
    answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PACKAGE, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _environment(ws: "Workspace") -> dict[str, str]:
    return {
        "environment": ws.config.environment,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
    }
