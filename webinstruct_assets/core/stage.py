"""A stage and its execution: identity first, then units of work with a ledger, then the manifest.

Identity (what makes a build *this* build): the stage's own sources, its settings, and the data versions of
its inputs. Paths, hardware, time and run ids never enter it. The build folder is named by that fingerprint,
so changed settings can never resume into old parts.

Execution: a stage splits its work into units, which are computed in memory and committed whole (``core.unit``), here
(``Job.unit``) or by many processes and machines (``Job.map``, ``core.engine``). A re-run skips committed units; after
kill -9 only the units in flight are lost.
"""

import json
import pickle
import platform
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl

from webinstruct_assets.core.cost import cost_of, training_seconds
from webinstruct_assets.core.engine import engine_of
from webinstruct_assets.core.errors import QualityGate, UnitsFailed, disk_errors_named
from webinstruct_assets.core.ids import digest_file, digest_json
from webinstruct_assets.core.keys import PartitionKey, Ref, plain_snapshot, profile_of
from webinstruct_assets.core.llm.batches import Batch, answered
from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.core.manifest import Manifest, Part, data_version
from webinstruct_assets.core.progress import Listener, Progress
from webinstruct_assets.core.unit import Entry, Failed, Ledger, Reject, Schema, Unit, Work

__all__ = ["AskedUnit", "Job", "Reject", "Stage", "Unit", "execute", "identify"]

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient
    from webinstruct_assets.core.workspace import Workspace

PACKAGE = Path(__file__).parents[1]
Argument = TypeVar("Argument")
Number = TypeVar("Number", int, float)
MENTIONED = 10  # failed units that an error describes
TRACEBACKS = 2


class AskedUnit(Batch, ABC):
    """A unit of work that is made of a model's answers; ``Job.ask`` gives it its name."""

    name: str

    @abstractmethod
    def made_of(self, replies: Sequence[LlmReply]) -> Unit:
        """The unit, from the last reply to each of its requests."""


@dataclass(frozen=True)
class Stage:
    """What an asset does, without Dagster.

    ``schema``: columns of its rows (``id`` and ``parent_id`` among them, ids starting with ``prefix``).
    ``inputs``/``settings``: of one partition, from the workspace's configuration. ``sources``: globs below
    the package whose bytes are the code version. ``reuses``: the partition that stands in for this one, which then
    has no parts of its own and does no work; None where it is built. ``by_profile``: depends on how pairs are extracted,
    so SNAPSHOT@PROFILE is built; other stages have SNAPSHOT itself stand in for it. ``whole``: what it makes (a model,
    files, counts) comes from all of its inputs together, so nothing of them leaves it but by making it again, and
    `webinstruct trace` goes on from its inputs. ``begins_pairs``: a question and answer enter the graph as a row of it.
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
    by_profile: bool = False
    whole: bool = False
    begins_pairs: bool = False

    def stand_in(self, ws: "Workspace", key: PartitionKey) -> Ref | None:
        """The partition that this one reuses, None where it is built."""
        snapshot = key.as_dict().get("snapshot", "")
        if profile_of(snapshot) and not self.by_profile:
            return self.ref(PartitionKey.of({**key.as_dict(), "snapshot": plain_snapshot(snapshot)}))
        return self.reuses(ws, key)

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
        listener: Listener = lambda standing: None,
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
        self.ledger = Ledger(folder, f"{stage.asset} {key}", dict(stage.schema), ws.lake, ws.lake.takedowns)
        self.progress = Progress(self.ledger.label, log, self._dollars, ws.lake.folder(stage.ref(key)), listener)
        self._clock, self._cpu_seconds = time.monotonic(), 0.0
        self._usages_before = len(ws.llm_usage)  # of what was built before in this process
        self._rejected: Counter[str] = Counter()  # of units so far
        self.metrics: dict[str, Any] = {}
        self.training: dict[str, Any] = {}  # what a training process has spent so far, see core.cost.training_seconds
        self.rows: int | None = None  # set by stages whose rows are not table rows (training rows of a model)
        self._entries: dict[str, Entry] = {}
        self._engine = engine_of(ws.config.engine, log)

    def _dollars(self) -> float:
        """Cost so far, as the finished partition will count it: committed units, and an LLM's time once it was asked."""
        usages = self.ws.llm_usage[self._usages_before :]
        tokens_in, tokens_out = sum(use.tokens_in for use in usages), sum(use.tokens_out for use in usages)
        prices, (cpu_seconds, gpu_seconds) = self.ws.config.costs, training_seconds(self.training)
        gpu_seconds += prices.gpus * (time.monotonic() - self._clock) if tokens_out else 0.0
        return cost_of(self._cpu_seconds + cpu_seconds, gpu_seconds, tokens_in, tokens_out, prices).dollars

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

    def scan(self, asset: str) -> pl.LazyFrame:
        """Rows of the only input from ``asset``, read when and as far as they are needed."""
        return pl.scan_parquet(self._part_paths(asset), hive_partitioning=False)

    def parts(self, asset: str, rows: int = 1) -> Iterator[pl.DataFrame]:
        """Rows of the only input from ``asset``, one of its parts at a time, or as many as have ``rows`` rows."""
        found: list[pl.DataFrame] = []
        for path in self._part_paths(asset):
            found.append(pl.read_parquet(path, hive_partitioning=False))
            if sum(part.height for part in found) >= rows:
                yield pl.concat(found)
                found = []
        if found:
            yield pl.concat(found)

    def _part_paths(self, asset: str) -> list[Path]:
        (manifest,) = self.manifests(asset)
        return self.ws.lake.part_paths(self.ws.lake.source(manifest, self.stage.asset))

    def input_file(self, asset: str, name: str) -> Path:
        """Path of a file of the only input from ``asset``."""
        (manifest,) = self.manifests(asset)
        return self.ws.lake.file(manifest, name)

    def unit(self, name: str, compute: Callable[[], Unit]) -> None:
        """Runs ``compute`` here and commits its result as unit ``name``, unless that unit is committed already."""
        if entry := self.ledger.committed(name):
            self._take_found(name, entry)
        else:
            self._take(name, self.ledger.compute(name, compute))

    def ask(self, client: "LlmClient | None", units: Iterable[Callable[[], "AskedUnit"]]) -> None:
        """Commits units that are made of a model's answers, each as soon as it has them all, by their number.

        ``units`` prepare one each. They are called when the requests of those before no longer keep the endpoint busy, and
        not at all for a unit that is committed already. No ``client``: no unit has a request.
        """

        def left() -> Iterator[AskedUnit]:
            for number, prepare in enumerate(units):
                name = f"{number:05}"
                if entry := self.ledger.committed(name):
                    self._take_found(name, entry)
                else:
                    unit = prepare()
                    unit.name = name
                    yield unit

        start = time.process_time()
        with closing(answered(client, left()) if client else ((unit, []) for unit in left())) as done:
            for unit, replies in done:
                self._take(unit.name, self.ledger.commit(unit.name, unit.made_of(replies), start))
                start = time.process_time()  # units overlap: each is charged what was spent since the one before

    def _take_found(self, name: str, entry: Entry) -> None:
        self.progress.found(entry.rows_in)
        self._take(name, entry)

    def _take(self, name: str, entry: Entry) -> None:
        self._entries[name] = entry
        self._cpu_seconds += entry.cpu_seconds
        self._rejected.update(entry.rejected)
        self.progress.settle(self._rejected)
        for warning in entry.warnings:
            self.log(f"{self.ledger.label}: {warning}")

    def map(
        self,
        function: Callable[[Argument], Unit],
        units: Mapping[str, Argument],
        *,
        noun: str = "units",
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Commits ``function(argument)`` as unit ``name`` for every (name, argument), on the environment's engine.

        ``function`` and the arguments travel to other processes and machines: a function of a module, mostly under a
        ``functools.partial`` that binds paths and settings (small ones: what is large is a file that it reads). It is
        pure but for what it reads, and writes nothing: side files are part of its ``Unit``. What is dear to load, such as
        a model, is kept per process by a function of its path under ``functools.lru_cache(maxsize=1)``.

        Units that are committed already are not computed again. Progress counts units, called ``noun``, or the
        records in them where ``sizes`` tells their number per unit.

        A unit that raises does not stop the others. Raises UnitsFailed at the end, naming each that failed and why.
        """
        entries = self._compute(self.ledger, function, units, noun, sizes)
        self._entries |= entries
        self._rejected.update(_sum(entry.rejected for entry in entries.values()))

    def first_pass(
        self,
        function: Callable[[Argument], Unit],
        units: Mapping[str, Argument],
        schema: Schema,
        *,
        noun: str = "units",
    ) -> tuple[Path, dict[str, Entry]]:
        """Like ``map``, for what a stage has to know of all its input before it can tell rows from rejects.

        The units have columns ``schema``; they are no rows of the partition, and gone when it is published. Returns
        their folder and their entries.
        """
        folder = self.folder / "scratch"
        folder.mkdir(exist_ok=True)
        ledger = Ledger(folder, f"{self.ledger.label}, first pass", dict(schema), self.ws.lake, None)
        return folder, self._compute(ledger, function, units, noun, None)

    def _compute(
        self,
        ledger: Ledger,
        function: Callable[[Argument], Unit],
        units: Mapping[str, Argument],
        noun: str,
        sizes: Mapping[str, int] | None,
    ) -> dict[str, Entry]:
        size = sizes.__getitem__ if sizes else lambda name: 1
        committed = {name: entry for name in units if (entry := ledger.committed(name))}
        entries = dict(committed)
        self._cpu_seconds += sum(entry.cpu_seconds for entry in committed.values())
        if committed:
            self.log(f"{ledger.label}: {len(committed):,} of {len(units):,} units are there from an earlier run")
        self.progress.start(
            sum(map(size, units)), noun, sum(map(size, committed)), _sum(entry.rejected for entry in committed.values())
        )
        left = [(name, argument) for name, argument in units.items() if name not in committed]
        failed: list[Failed] = []
        work = Work(function, ledger, self.folder, list(self.inputs.values()))
        pickle.dumps(work)  # what cannot travel is refused by every engine, not only by those that need it to
        self.ws.lake.send(self.folder)
        with closing(self._engine.run(work, left)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, Failed):
                    failed.append(outcome)
                    self.log(f"{ledger.label}: unit {outcome.name} failed: {outcome.problem}")
                else:
                    entries[outcome.name] = outcome
                    self._cpu_seconds += outcome.cpu_seconds
                    for warning in outcome.warnings:
                        self.log(f"{ledger.label}: {warning}")
                    self.progress.advance(size(outcome.name), outcome.rejected)
        self.ws.lake.collect(self.folder)
        if failed:
            raise _units_failed(ledger.label, failed, len(units))
        return entries

    @property
    def counts(self) -> dict[str, float]:
        """Sums of the unit counts over all units so far, by name."""
        return _sum(entry.counts for entry in self._entries.values())

    def count(self, name: str) -> float:
        """One of ``counts``, 0 where no unit has it."""
        return self.counts.get(name, 0)

    @property
    def rejected(self) -> dict[str, int]:
        """Rejects by reason so far."""
        return _sum(entry.rejected for entry in self._entries.values())

    def outcome(self) -> dict[str, Any]:
        """Manifest fields that the ledger and the files on disk determine."""
        entries = [entry for _, entry in sorted(self._entries.items())]
        parts = [entry.part for entry in entries]
        rejects = [entry.rejects for entry in entries if entry.rejects]
        side = [part for entry in entries for part in entry.files]
        owned = self.committed
        others = [
            Part(
                file=path.relative_to(self.folder).as_posix(),
                rows=0,
                bytes=path.stat().st_size,
                sha256=digest_file(path),
            )
            for path in self.folder.rglob("*")
            if path.is_file()
            and path.name not in owned
            and not path.name.startswith((".", "unit-"))
            and "scratch" not in path.relative_to(self.folder).parts
        ]
        return {
            "parts": parts,
            "rejects": rejects,
            "files": sorted([*side, *others], key=lambda part: part.file),
            "rows_in": sum(entry.rows_in for entry in entries),
            "rows_kept": sum(entry.rows_kept for entry in entries),
            "rows": sum(part.rows for part in parts) if self.rows is None else self.rows,
            "rejected": self.rejected,
            "metrics": self.metrics,
            "cpu_seconds": round(sum(entry.cpu_seconds for entry in entries), 3),
        }

    @property
    def committed(self) -> set[str]:
        """Names of the files that units committed."""
        return {part.file for entry in self._entries.values() for part in entry.all_files}


def _sum(counters: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    total: dict[str, Number] = {}
    for counter in counters:
        for name, value in counter.items():
            total[name] = total[name] + value if name in total else value
    return dict(sorted(total.items()))


def _units_failed(label: str, failed: list[Failed], total: int) -> UnitsFailed:
    failed = sorted(failed, key=lambda unit: unit.name)
    lines = [f"unit {unit.name}: {unit.problem}" for unit in failed[:MENTIONED]]
    if len(failed) > MENTIONED:
        lines.append(f"and {len(failed) - MENTIONED:,} more: {', '.join(unit.name for unit in failed[MENTIONED:])}")
    lines += [unit.trace for unit in failed if unit.trace][:TRACEBACKS]
    fixes = dict.fromkeys(unit.fix for unit in failed[:MENTIONED])
    return UnitsFailed(
        "\n".join([f"{label}: {len(failed):,} of {total:,} units failed", *lines]),
        f"{'; '.join(fixes)}; then run it again: only the units that failed are computed, the others are committed",
    )


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
    ws = ws.under(key)
    reuses = stage.stand_in(ws, key)
    if reuses:
        config: dict[str, Any] = {"reuses": str(reuses)}
        refs: Sequence[Ref] = [reuses]
    else:
        config = json.loads(json.dumps(stage.settings(ws, key), default=str))
        refs = stage.inputs(ws, key)
    needed_by = str(stage.ref(key))
    inputs = {ref: ws.lake.require(ref, needed_by) for ref in refs}
    takedowns = ws.lake.takedowns
    touching = set(takedowns.that_touch(stage.asset, str(key)))
    for ref, manifest in inputs.items():
        touching.update(takedowns.that_touch(ref.asset, str(ref.key), manifest.data_version))
    if touching:
        config["taken_down"] = sorted(touching)
    code, config_fingerprint = stage.code_version(), digest_json(config)[:16]
    versions = [[str(ref), manifest.data_version] for ref, manifest in inputs.items()]
    return Identity(code, config, config_fingerprint, inputs, digest_json([code, config, versions]), reuses)


def execute(
    stage: Stage,
    key: PartitionKey,
    ws: "Workspace",
    *,
    log: Callable[[str], None],
    run_id: str,
    listener: Listener = lambda standing: None,
) -> Manifest:
    """Builds and publishes one partition; returns its manifest.

    Finished work with the same identity is returned as it is. Raises a WebInstructError (nothing is published
    then, the previous version stays) for missing or bad input, a failed quality gate, or a held lock.
    """
    ref = stage.ref(key)
    ws = ws.under(key)
    with disk_errors_named(str(ref)), ws.lake.lock(ref):
        identity = identify(stage, key, ws)
        current = ws.lake.readable(ref)
        if current and current.fingerprint == identity.fingerprint and _intact(ws, ref):
            log(f"{ref}: up to date, nothing to do")
            return current
        started, clock = datetime.now(UTC), time.monotonic()
        folder = ws.lake.open_build(ref, identity.fingerprint[:12])
        committed: set[str] = set()
        if identity.reuses:
            outcome = _reuse(identity.inputs[identity.reuses])
            version = identity.inputs[identity.reuses].data_version
        else:
            job = _run(stage, key, ws, identity, folder, log, listener)
            outcome, committed = job.outcome(), job.committed
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
        ws.lake.publish(manifest, committed)
        log(
            f"{ref}: {manifest.rows_in:,} in, {manifest.rows:,} out, {manifest.rejected_total:,} rejected, {manifest.seconds:.1f} s"
        )
        return manifest


def _run(
    stage: Stage,
    key: PartitionKey,
    ws: "Workspace",
    identity: Identity,
    folder: Path,
    log: Callable[[str], None],
    listener: Listener,
) -> Job:
    """Runs the stage to its end, again where something was taken down meanwhile: the units that hold it are redone."""
    while True:
        takedowns = ws.lake.takedowns.count()
        job = Job(stage, key, ws, identity.inputs, identity.config, folder, log, listener)
        try:
            stage.run(job)
        finally:
            job.progress.close()
        ws.lake.refresh()
        if ws.lake.takedowns.count() == takedowns:
            return job


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
