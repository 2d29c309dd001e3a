"""The lake: where partitions live on disk, and how they become visible.

    <lake>/<asset>/<dim=value>/…/manifest.json      what is published (replaced atomically, last)
    <lake>/<asset>/<dim=value>/…/<fingerprint12>/   parts, rejects and files of one build
    <lake>/<asset>/<dim=value>/…/.lock              held while a run builds this partition
    <lake>/<asset>/<dim=value>/…/.progress.json     where that run stands (``core.progress``)

Readers see only what a manifest lists, so a killed run leaves nothing half-visible. A lake in a bucket
(``core.lake_s3``) has such a folder as its working copy, and overrides what is marked below.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from webinstruct_assets.core.errors import BadManifest, MissingInput
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.locks import held
from webinstruct_assets.core.manifest import SCHEMA_VERSION, InputRecord, Manifest, Part, migrated
from webinstruct_assets.core.takedown import Takedown, Takedowns

PROGRESS = ".progress.json"
REJECT_SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "reason": pl.String(),
    "detail": pl.String(),
}


def write_atomically(path: Path, data: bytes) -> None:
    """Writes the whole file beside ``path``, syncs it, then renames: readers see the old or the new, never half."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


def write_table(path: Path, rows: pl.DataFrame) -> None:
    """A table as Parquet, whole or not at all: a killed run leaves no half file that the next would take for done."""
    stream = io.BytesIO()
    rows.write_parquet(stream, compression="zstd")
    write_atomically(path, stream.getvalue())


class Lake:
    """Reads and publishes partitions under one root folder. May be pickled."""

    def __init__(self, root: Path):
        self.root = root

    # -- what a lake in a bucket does otherwise ----------------------------------------------------------

    def address(self, name: str) -> str:
        """Where a file of the lake is, for people."""
        return str(self.root / name)

    def load(self, name: str) -> bytes | None:
        """A small file by its path below the root (a manifest, a link between snapshots), None when there is none."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def save(self, name: str, data: bytes) -> None:
        """Replaces a small file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    def names(self, folder: str) -> list[str]:
        """Names in a folder."""
        path = self.root / folder
        return sorted(item.name for item in path.iterdir()) if path.is_dir() else []

    def refresh(self) -> None:
        """From here on, what other processes and machines did until now is seen."""

    @property
    def takedowns(self) -> Takedowns:
        """What must not be in any later version."""
        return Takedowns(self.root / "_takedowns")

    def record(self, takedown: Takedown, held: pl.DataFrame) -> None:
        """Adds a takedown, with the rows that hold it now."""
        self.takedowns.record(takedown, held)

    def open_build(self, ref: Ref, name: str) -> Path:
        """Folder of a build, with all units of it that were committed, on whatever machine."""
        folder = self.folder(ref) / name
        folder.mkdir(parents=True, exist_ok=True)
        for stray in [*folder.glob(".*.tmp-*"), *folder.parent.glob(".*.tmp-*")]:  # of a killed run; of its manifest
            stray.unlink()
        return folder

    def commit(self, temporary: Path, path: Path) -> None:
        """Gives a whole and synced file of a unit its name."""
        os.replace(temporary, path)

    def send(self, build: Path) -> None:
        """Lets workers on other machines have what the stage itself wrote for them into its scratch folder."""

    def collect(self, build: Path) -> None:
        """Brings here what workers on other machines committed."""

    def prepare(self, build: Path, inputs: Sequence[Manifest]) -> None:
        """On a worker: brings here what a unit may read."""

    def manifest_files(self, asset: str) -> list[str]:
        """Paths below the root of all manifests of an asset, in key order."""
        return [path.relative_to(self.root).as_posix() for path in _of_partitions(self.root / asset, "manifest.json")]

    def builds(self) -> list[bytes]:
        """What the builds at work last said of themselves (``core.progress``), in the order of their partitions.

        Those of killed runs are among them where nothing here tells.
        """
        found = []
        for asset in sorted(self.root.iterdir()) if self.root.is_dir() else []:
            for path in _of_partitions(asset, PROGRESS):
                with suppress(FileNotFoundError):  # it has just ended
                    found.append(path.read_bytes())
        return found

    def absent(self, manifest: Manifest) -> str | None:
        """The first published file that is not there in its size."""
        for part in manifest.everything:
            path = self.data_folder(manifest) / part.file
            if not path.exists() or path.stat().st_size != part.bytes:
                return str(path)
        return None

    def fetched(self, manifest: Manifest, parts: Sequence[Part]) -> list[Path]:
        """Paths of published files, on this machine's disk."""
        return [self.data_folder(manifest) / part.file for part in parts]

    def columns(self, manifest: Manifest, part: Part, names: Sequence[str]) -> pl.DataFrame:
        """Some columns of a published part; of a bucket, no more than these are read."""
        (path,) = self.fetched(manifest, [part])
        return pl.read_parquet(path, columns=list(names), hive_partitioning=False)

    def that_may_hold(self, manifest: Manifest, parts: Sequence[Part], identity: str) -> list[Path]:
        """Paths of the published parts among which the row ``identity`` is, if it is in any."""
        return self.fetched(manifest, parts)

    # -- partitions --------------------------------------------------------------------------------------

    def folder(self, ref: Ref) -> Path:
        """Where the partition lives."""
        return self.root / ref.path()

    def manifest(self, ref: Ref) -> Manifest | None:
        """The published manifest, None when there is none. Raises BadManifest when it cannot be trusted."""
        text = self.load(manifest_name(ref))
        if text is None:
            return None
        path = self.address(manifest_name(ref))
        try:
            record = migrated(json.loads(text))
        except (ValueError, AttributeError) as error:
            raise BadManifest(
                f"{path}: not a manifest: {error}", f"delete the file and materialize {ref} again"
            ) from error
        if record.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
            raise BadManifest(
                f"{path}: manifest schema {record['schema_version']}, this code reads {SCHEMA_VERSION}",
                f"materialize {ref} again",
            )
        try:
            return Manifest.model_validate(record)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"])
            raise BadManifest(
                f"{path}: field {where!r}: {first['msg']}", f"delete the file and materialize {ref} again"
            ) from error

    def manifest_sha256(self, ref: Ref) -> str:
        """sha256 of the manifest file's bytes."""
        text = self.load(manifest_name(ref))
        if text is None:
            raise MissingInput(f"{ref} has no manifest any more", f"materialize {ref} again")
        return hashlib.sha256(text).hexdigest()

    def require(self, ref: Ref, needed_by: str) -> Manifest:
        """The manifest of a partition that must exist with all its parts.

        Raises MissingInput when it was never materialized and BadManifest when a part is gone or was changed
        in size (digests are checked by ``verify``).
        """
        manifest = self.manifest(ref)
        if manifest is None:
            raise MissingInput(f"{needed_by} needs {ref}, which has not been materialized", f"materialize {ref} first")
        source = self.source(manifest, needed_by)
        if absent := self.absent(source):
            raise BadManifest(f"{absent}: missing, or not the bytes that were published", f"materialize {ref} again")
        return manifest

    def source(self, manifest: Manifest, needed_by: str) -> Manifest:
        """The manifest that holds the data: itself, or what it reuses (which may reuse another in turn)."""
        if manifest.reuses is None:
            return manifest
        asset, _, key = manifest.reuses.partition("/")
        return self.source(
            self.require(Ref(asset, PartitionKey.parse(tuple(manifest.keys), key)), needed_by), needed_by
        )

    def data_folder(self, manifest: Manifest) -> Path:
        """Folder of the manifest's own parts."""
        return self.folder(ref_of(manifest)) / manifest.data_dir

    def part_paths(self, manifest: Manifest) -> list[Path]:
        """Parquet parts, in order."""
        return self.fetched(manifest, manifest.parts)

    def reject_paths(self, manifest: Manifest) -> list[Path]:
        """Parquet parts of the rejects table."""
        return self.fetched(manifest, manifest.rejects)

    def file_paths(self, manifest: Manifest) -> list[Path]:
        """Files that are not parts."""
        return self.fetched(manifest, manifest.files)

    def read(self, manifest: Manifest) -> pl.DataFrame:
        """All rows of the partition (of the reference, where it reuses one)."""
        paths = self.part_paths(self.source(manifest, str(ref_of(manifest))))
        return pl.read_parquet(paths, hive_partitioning=False) if paths else pl.DataFrame()

    def file(self, manifest: Manifest, name: str) -> Path:
        """Path of a non-Parquet file of the partition, such as ``model.bin``."""
        source = self.source(manifest, str(ref_of(manifest)))
        self.file_paths(source)  # all of them: some are read by name, as the files of a model
        return self.data_folder(source) / name

    def file_address(self, manifest: Manifest, name: str) -> str:
        """Where a file of the partition is, for people."""
        source = self.source(manifest, str(ref_of(manifest)))
        return self.address(f"{ref_of(source).path()}/{source.data_dir}/{name}")

    def input_record(self, ref: Ref, manifest: Manifest) -> InputRecord:
        """What a consumer pins of ``manifest``."""
        return InputRecord(
            asset=ref.asset,
            partition=str(ref.key),
            data_version=manifest.data_version,
            manifest_sha256=self.manifest_sha256(ref),
        )

    def refs(self, asset: str) -> list[Ref]:
        """Every partition of an asset that has a manifest, readable or not, in key order."""
        return [_ref_of_name(name) for name in self.manifest_files(asset)]

    def manifests(self, asset: str, unreadable: "dict[Ref, BadManifest] | None" = None) -> list[Manifest]:
        """Every published partition of an asset, in key order.

        Raises BadManifest for one that cannot be trusted; who can do without it, and says so, takes it in ``unreadable``.
        """
        found = []
        for ref in self.refs(asset):
            try:
                manifest = self.manifest(ref)
            except BadManifest as error:
                if unreadable is None:
                    raise
                unreadable[ref] = error
                continue
            if manifest is not None:
                found.append(manifest)
        return found

    def readable(self, ref: Ref) -> Manifest | None:
        """The published manifest; one that cannot be trusted is none: the partition has to be built again."""
        try:
            return self.manifest(ref)
        except BadManifest:
            return None

    def publish(self, manifest: Manifest, committed: Set[str]) -> None:
        """Makes the manifest current, then removes builds that it replaced. ``committed``: files that units did."""
        ref = ref_of(manifest)
        self.save(manifest_name(ref), manifest.model_dump_json(indent=1).encode())
        self._drop_other_builds(ref, manifest.data_dir)

    def _drop_other_builds(self, ref: Ref, current: str) -> None:
        folder = self.folder(ref)
        for other in folder.iterdir():
            # Nested partition folders (dim=value) belong to other keys; builds are bare hex names.
            if other.is_dir() and "=" not in other.name and other.name != current:
                shutil.rmtree(other)

    @contextmanager
    def lock(self, ref: Ref) -> Iterator[None]:
        """Holds the partition for one writer; the kernel frees it when the holder dies. Raises Busy."""
        with held(
            self.folder(ref) / ".lock",
            lambda pid: f"{ref} is being built by another run (pid {pid})",
            "wait for that run to end, or stop it, then materialize again",
        ):
            yield


def _of_partitions(folder: Path, name: str) -> Iterator[Path]:
    """Files ``name`` of the partitions below a folder, in key order. Builds, which hold most files, are not looked into."""
    if (folder / name).is_file():
        yield folder / name
    if folder.is_dir():
        for inner in sorted(folder.iterdir()):
            if "=" in inner.name:
                yield from _of_partitions(inner, name)


def _ref_of_name(name: str) -> Ref:
    asset, *steps, _ = name.split("/")
    return Ref(asset, PartitionKey.of(dict(step.split("=", 1) for step in steps)))


def manifest_name(ref: Ref) -> str:
    """Path of a partition's manifest below the root."""
    return f"{ref.path()}/manifest.json"


def ref_of(manifest: Manifest) -> Ref:
    """The partition that a manifest describes."""
    return Ref(manifest.asset, PartitionKey.of(manifest.keys))
