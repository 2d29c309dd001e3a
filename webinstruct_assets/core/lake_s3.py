"""A lake in a bucket: the bucket is the truth, a local folder its working copy.

Objects are named as files are in a lake on disk, and are written in the same order: the files of a unit, its ledger entry,
and at the end the manifest, whose PUT is the commit. What is done locally as on disk is done in the bucket before a file
gets its local name, so an entry that is here is there too, and a run on another machine goes on from it. What is read
comes into the working copy once, and its sha256 is compared with the manifest's.

Two machines: a partition's writer holds a lease, an object that it renews; one that is not renewed for ``LEASE_SECONDS``
(by the server's dates and this machine's clock) may be taken over. It says where the build stands, for everybody who looks
at the lake. What keeps versions apart is not the clock, though:
the manifest is only put in the place of the one that was there when the lease was taken (If-Match, If-None-Match).
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

import hashlib
import io
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import polars as pl

from webinstruct_assets.core.config import S3Config
from webinstruct_assets.core.errors import BadManifest, Busy, ConfigError, Unavailable, WebInstructError
from webinstruct_assets.core.ids import digest_file
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.lake import PROGRESS, Lake, manifest_name, ref_of, write_atomically
from webinstruct_assets.core.manifest import Manifest, Part
from webinstruct_assets.core.takedown import Takedown, Takedowns

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")
LEASE_SECONDS = 60.0
LEASES = "_leases"
FRESH_SECONDS = 2.0  # so long is what the bucket said believed, outside the lock of a partition
PIECE = 8 << 20  # bytes asked for at a time
TRANSFERS = 8  # files at a time
LONGEST_WAIT = 8.0


class Changed(Exception):
    """A conditional write whose condition does not hold."""


@dataclass(frozen=True)
class Found:
    """An object as the server lists it: bytes, entity tag, and when it was written by the server's clock."""

    size: int
    tag: str
    at: datetime


class Bucket:
    """A folder of a bucket: every call is tried until it is answered or ``settings.attempts`` are used up.

    Here and not by obstore's own retries, which give up on conditional writes (whether one was done tells only a look at
    what is there) and on an answer that is cut in its middle.
    """

    def __init__(self, url: str, settings: S3Config):
        parts = urlsplit(url)
        if not parts.netloc:
            raise ConfigError(f"lake {url!r} names no bucket", "write it as s3://BUCKET/PREFIX")
        self.url = url.rstrip("/")
        self._settings = settings
        self._store = _store(parts.netloc, parts.path.strip("/"), settings)

    def find(self, name: str) -> Found | None:
        """The object's listing, None where there is none."""
        import obstore

        meta = self._ask(name, lambda: obstore.head(self._store, name))
        return _found(meta) if meta else None

    def get(self, name: str) -> tuple[bytes, Found] | None:
        """A small object, None where there is none."""
        import obstore

        def read() -> tuple[bytes, Found]:
            answer = obstore.get(self._store, name)
            return bytes(answer.bytes()), _found(answer.meta)

        return self._ask(name, read)

    def put(self, name: str, data: bytes, *, over: str | None = "*") -> str:
        """Writes a small object and returns its tag. ``over``: the tag of what it replaces, None for nothing, "*" for
        whatever is there. Raises Changed.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        mode: Any = "create" if over is None else {"e_tag": over}
        if over == "*" or not self._settings.conditional_writes:
            mode = "overwrite"
        try:
            answer = self._ask(name, lambda: obstore.put(self._store, name, data, mode=mode))
            if answer is None:  # what was to be replaced is gone
                raise Changed(name)
            return str(answer["e_tag"])
        except (AlreadyExistsError, PreconditionError):
            there = self.get(name)
            if there and there[0] == data:  # a try whose answer got lost had written it
                return there[1].tag
            if over and there and there[1].tag == over and over.startswith('"'):
                return self.put(name, data, over=over.strip('"'))  # Ceph compares with the bare tag
            raise Changed(name) from None

    def upload(self, path: Path, name: str) -> None:
        """A file of any size."""
        import obstore
        from obstore.exceptions import GenericError

        def send() -> None:
            try:
                obstore.put(self._store, name, path)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                # The pieces of an upload that had failed were dropped twice, the first answer to that being lost: what
                # went wrong before is not told, and the object is not there.
                raise GenericError(str(error)) from error

        self._ask(name, send)

    def download(self, name: str, path: Path, size: int) -> str | None:
        """Writes an object's bytes to ``path``, whole or not at all; returns their sha256, None where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(8)}")
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as stream:
                for start in range(0, size, PIECE):
                    end = min(start + PIECE, size)
                    piece = self.piece(name, start, end)
                    if piece is None:
                        return None
                    stream.write(piece)
                    digest.update(piece)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return digest.hexdigest()

    def piece(self, name: str, start: int, end: int) -> bytes | None:
        """Bytes of an object, None where there is none."""
        import obstore

        return self._ask(name, lambda: bytes(obstore.get_range(self._store, name, start=start, end=end)))

    def below(self, prefix: str) -> dict[str, Found]:
        """Every object below ``prefix``, in the order of names."""
        import obstore

        found = self._ask(prefix, lambda: obstore.list(self._store, prefix).collect()) or []
        return {meta["path"]: _found(meta) for meta in sorted(found, key=lambda meta: meta["path"])}

    def directly_below(self, prefix: str) -> tuple[list[str], list[str]]:
        """Names of the objects, and of the folders, that ``prefix`` itself holds."""
        import obstore

        answer = self._ask(prefix, lambda: obstore.list_with_delimiter(self._store, prefix))
        if answer is None:
            return [], []
        return [meta["path"] for meta in answer["objects"]], sorted(answer["common_prefixes"])

    def delete(self, names: Sequence[str]) -> None:
        """Removes objects; one that is not there is no error."""
        import obstore

        if names:
            self._ask(names[0], lambda: obstore.delete(self._store, list(names)))

    def _ask(self, name: str, call: Callable[[], T]) -> T | None:
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        for attempt in range(self._settings.attempts):
            try:
                return call()
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise ConfigError(f"{self.url}: no such bucket", "create it, or correct `lake`") from error
                return None
            except (AlreadyExistsError, PreconditionError):
                raise
            except (PermissionDeniedError, UnauthenticatedError) as error:
                raise ConfigError(
                    f"{self.url}/{name}: access denied", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a key that"
                    " may read, write, list and delete there"
                ) from error  # fmt: skip
            except BaseError as error:
                if attempt + 1 == self._settings.attempts:
                    line = str(error).splitlines()[0][:300]
                    problem = f"{self.url}/{name}: no answer after {attempt + 1} attempts ({line})"
                    raise Unavailable(
                        problem, "see whether the server runs, then run again: what is committed stays"
                    ) from error
                time.sleep(min(0.1 * 2**attempt, LONGEST_WAIT))
        raise AssertionError("unreachable")


class _Object(io.RawIOBase):
    """An object as a file, of which only what is read is asked for. FileNotFoundError where it is gone."""

    def __init__(self, bucket: Bucket, name: str, size: int):
        self._bucket, self._name, self._size, self._at = bucket, name, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        data = self._bucket.piece(self._name, self._at, end) if end > self._at else b""
        if data is None:
            raise FileNotFoundError(self._name)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _store(bucket: str, prefix: str, settings: S3Config) -> "S3Store":
    from obstore.store import S3Store

    config: Any = {"region": settings.region}
    if settings.endpoint:
        config["endpoint"] = settings.endpoint
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=config,
        client_options={
            "timeout": f"{settings.timeout:g}s",
            "allow_http": (settings.endpoint or "").startswith("http://"),
        },
        retry_config={"max_retries": 2},  # of one request of a large upload; all else is for Bucket to decide
    )


def _found(meta: Any) -> Found:
    return Found(int(meta["size"]), str(meta["e_tag"]), meta["last_modified"])


class S3Lake(Lake):
    """``url``: ``s3://BUCKET/PREFIX``; ``root``: the working copy, which may be deleted when nothing runs."""

    def __init__(self, root: Path, url: str, settings: S3Config, home: str | None = None):
        super().__init__(root)
        self.url, self.settings = url, settings
        self._home = home  # the working copy of the run, where this is a worker's
        self._bucket: Bucket | None = None
        self._seen: dict[str, tuple[float, Any]] = {}  # what the bucket said, and when
        self._sent: set[tuple[str, int, int]] = set()
        self._prepared: set[str] = set()
        self._leases: dict[Ref, _Lease] = {}
        self._guard = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return S3Lake, (self.root, self.url, self.settings, self._machine())

    @property
    def bucket(self) -> Bucket:
        """The connection of this process."""
        with self._guard:
            if self._bucket is None:
                self._bucket = Bucket(self.url, self.settings)
            return self._bucket

    def _remembered(self, what: str, ask: Callable[[], T]) -> T:
        at, answer = self._seen.get(what, (-FRESH_SECONDS, None))
        if time.monotonic() - at > FRESH_SECONDS:
            at, answer = time.monotonic(), ask()
            self._seen[what] = (at, answer)
        return cast(T, answer)

    def refresh(self) -> None:
        self._seen.clear()

    # -- small files -------------------------------------------------------------------------------------

    def address(self, name: str) -> str:
        return f"{self.url.rstrip('/')}/{name}"

    def load(self, name: str) -> bytes | None:
        found = self._remembered(name, lambda: self.bucket.get(name))
        return found[0] if found else None

    def save(self, name: str, data: bytes) -> None:
        self.bucket.put(name, data)
        self.refresh()

    def names(self, folder: str) -> list[str]:
        return [name.rpartition("/")[2] for name in self.bucket.directly_below(folder)[1]]

    def manifest_files(self, asset: str) -> list[str]:
        names = sorted(self._manifests_below(asset))
        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(self.load, names))
        return names

    def _manifests_below(self, folder: str) -> Iterator[str]:
        """Without a look into builds, which hold most objects."""
        names, folders = self.bucket.directly_below(folder)
        yield from (name for name in names if name.endswith("/manifest.json"))
        for inner in folders:
            if "=" in inner.rpartition("/")[2]:
                yield from self._manifests_below(inner)

    # -- takedowns: one object each, so that two machines can record at once -----------------------------

    @property
    def takedowns(self) -> Takedowns:
        takedowns = super().takedowns
        self._remembered("_takedowns", lambda: self._sync(takedowns))
        return takedowns

    def _sync(self, takedowns: Takedowns) -> None:
        found = self.bucket.below("_takedowns")
        lines = []
        for name, listed in found.items():
            path = self.root / name
            if not path.exists() or path.stat().st_size != listed.size:
                self.bucket.download(name, path, listed.size)
            if path.suffix == ".json":
                lines.append(path.read_bytes())
        journal = b"".join(line + b"\n" for line in sorted(lines, key=lambda line: json.loads(line)["at"]))
        known = takedowns.journal.read_bytes() if takedowns.journal.exists() else b""
        if journal != known:
            write_atomically(takedowns.journal, journal)

    def record(self, takedown: Takedown, held: pl.DataFrame) -> None:
        rows = self.takedowns.write_held(takedown, held)
        self.bucket.upload(rows, f"_takedowns/{rows.name}")
        self.save(f"_takedowns/{takedown.id}.json", takedown.model_dump_json().encode())

    # -- builds ------------------------------------------------------------------------------------------

    def open_build(self, ref: Ref, name: str) -> Path:
        build = super().open_build(ref, name)
        self.collect(build)
        return build

    def commit(self, temporary: Path, path: Path) -> None:
        lease = next((lease for ref, lease in self._leases.items() if self.folder(ref) in path.parents), None)
        if lease:
            lease.check()
        if path.name.startswith("unit-") and path.parent.name != "scratch":
            self.send(path.parent)  # a unit may have left there what a re-run relies on
        self._upload(temporary, path)
        super().commit(temporary, path)

    def _upload(self, file: Path, path: Path) -> None:
        self.bucket.upload(file, path.relative_to(self.root).as_posix())
        self._sent.add(_identity(file, path.name))

    def send(self, build: Path) -> None:
        scratch = build / "scratch"
        for path in sorted(scratch.iterdir()) if scratch.is_dir() else []:
            loose = not path.name.startswith((".", "part-", "rejects-", "unit-")) and path.is_file()
            if loose and _identity(path, path.name) not in self._sent:
                self._upload(path, path)

    def collect(self, build: Path) -> None:
        self._bring(self.bucket.below(build.relative_to(self.root).as_posix()))

    def prepare(self, build: Path, inputs: Sequence[Manifest]) -> None:
        if self._home in (None, self._machine()):
            return
        _ = self.takedowns
        key = f"{build} of {[manifest.data_version for manifest in inputs]}"
        if key not in self._prepared:
            (build / "scratch").mkdir(parents=True, exist_ok=True)
            for manifest in inputs:
                source = self.source(manifest, str(build))
                self.fetched(source, source.parts)
                self.fetched(source, source.files)
            self._bring(self.bucket.below(f"{build.relative_to(self.root).as_posix()}/scratch"))
            self._prepared.add(key)

    def _bring(self, objects: dict[str, Found]) -> None:
        """Objects of a build that are not here, or not in this size. An entry whose files are other ones is dropped."""
        from webinstruct_assets.core.unit import Entry

        wanted = {
            self.root / name: found
            for name, found in objects.items()
            if not (path := self.root / name).exists() or path.stat().st_size != found.size
        }
        entries = [path for path in wanted if path.name.startswith("unit-")]
        with ThreadPoolExecutor(TRANSFERS) as pool:
            for group in ([path for path in wanted if path not in entries], entries):
                list(pool.map(lambda path: self.bucket.download(self._name(path), path, wanted[path].size), group))
        self._sent.update(_identity(path, path.name) for path in wanted if path.exists())  # it is there already
        for path in entries:
            parts = Entry.model_validate_json(path.read_bytes()).all_files if path.exists() else []
            if any(not _is_whole(path.parent / part.file, part) for part in parts):
                path.unlink()  # killed between the files and the entry of a unit that was made again

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    # -- published partitions ----------------------------------------------------------------------------

    def absent(self, manifest: Manifest) -> str | None:
        prefix = self._name(self.data_folder(manifest))
        listed = self._remembered(prefix, lambda: self.bucket.below(prefix))
        for part in manifest.everything:
            found = listed.get(f"{prefix}/{part.file}")
            if found is None or found.size != part.bytes:
                return self.address(f"{prefix}/{part.file}")
        return None

    def fetched(self, manifest: Manifest, parts: Sequence[Part]) -> list[Path]:
        folder = self.data_folder(manifest)
        paths = [folder / part.file for part in parts]
        known = folder / f".verified-{manifest.data_version}"
        sure = set(known.read_text().splitlines()) if known.exists() else set()
        wanted = [
            (path, part)
            for path, part in zip(paths, parts, strict=True)
            if part.file not in sure or not path.exists() or path.stat().st_size != part.bytes
        ]
        if wanted:
            with ThreadPoolExecutor(TRANSFERS) as pool:
                list(pool.map(lambda pair: self._fetch(manifest, *pair), wanted))
            write_atomically(known, "\n".join(sorted(sure | {part.file for _, part in wanted})).encode())
        return paths

    def columns(self, manifest: Manifest, part: Part, names: Sequence[str]) -> pl.DataFrame:
        path = self.data_folder(manifest) / part.file
        if path.exists() and path.stat().st_size == part.bytes:
            return pl.read_parquet(path, columns=list(names), hive_partitioning=False)
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile

        name = self._name(path)
        try:
            with ParquetFile(_Object(self.bucket, name, part.bytes)) as file:
                return cast(pl.DataFrame, pl.from_arrow(file.read(list(names))))
        except (FileNotFoundError, ArrowInvalid) as error:
            gone = isinstance(error, FileNotFoundError)
            raise _not_as_published(self.address(name), manifest, gone=gone) from error

    def that_may_hold(self, manifest: Manifest, parts: Sequence[Part], identity: str) -> list[Path]:
        def holds(part: Part) -> bool:
            return identity in self.columns(manifest, part, ["id"])["id"]

        with ThreadPoolExecutor(TRANSFERS) as pool:
            found = list(pool.map(holds, parts))
        return self.fetched(manifest, [part for part, there in zip(parts, found, strict=True) if there])

    def _fetch(self, manifest: Manifest, path: Path, part: Part) -> None:
        if _is_whole(path, part):
            return
        digest = self.bucket.download(self._name(path), path, part.bytes)
        if digest != part.sha256:
            path.unlink(missing_ok=True)
            raise _not_as_published(self.address(self._name(path)), manifest, gone=digest is None)

    def publish(self, manifest: Manifest, committed: Set[str]) -> None:
        ref = ref_of(manifest)
        lease = self._leases[ref]
        folder = self.data_folder(manifest)
        there = self.bucket.below(self._name(folder))
        lacking = []
        for part in manifest.everything:
            found = there.get(self._name(folder / part.file))
            if part.file not in committed or found is None or found.size != part.bytes:
                lacking.append(folder / part.file)
        with ThreadPoolExecutor(TRANSFERS) as pool:
            list(pool.map(lambda path: self.bucket.upload(path, self._name(path)), lacking))
        lease.check()
        try:
            self.bucket.put(manifest_name(ref), manifest.model_dump_json(indent=1).encode(), over=lease.replaces)
        except Changed:
            raise Busy(
                f"{ref}: another machine published it meanwhile", "run it again: nothing of it is lost"
            ) from None
        self.refresh()
        write_atomically(
            folder / f".verified-{manifest.data_version}", "\n".join(part.file for part in manifest.everything).encode()
        )
        self._drop_other_builds(ref, manifest.data_dir)
        self._drop_other_objects(ref, manifest)

    def _drop_other_objects(self, ref: Ref, manifest: Manifest) -> None:
        partition = f"{ref.path()}/"
        scratch = f"{partition}{manifest.data_dir}/scratch/"
        gone = []
        for name in self.bucket.below(partition):
            build, slash, _ = name.removeprefix(partition).partition("/")
            if name.startswith(scratch) or (slash and "=" not in build and build != manifest.data_dir):
                gone.append(name)
        self.bucket.delete(gone)

    @contextmanager
    def lock(self, ref: Ref) -> Iterator[None]:
        """As on disk on this machine, and a lease in the bucket over all machines. Raises Busy."""
        with super().lock(ref):
            lease = _Lease(self.bucket, ref, self.folder(ref) / PROGRESS, self._machine())
            with lease.held():
                self.refresh()
                current = self.bucket.find(manifest_name(ref))
                lease.replaces = current.tag if current else None
                self._leases[ref] = lease
                try:
                    yield
                finally:
                    del self._leases[ref]

    def builds(self) -> list[bytes]:
        own, others = super().builds(), []
        for name in self.bucket.below(LEASES):
            there = self.bucket.get(name)
            if there and _age(there[1]) < LEASE_SECONDS:
                holder = json.loads(there[0])
                if holder["machine"] != self._machine() and (progress := holder.get("progress")):
                    others.append(progress.encode())
        return own + others

    def _machine(self) -> str:
        """Names this working copy. A lease of the same, while the local lock is ours, is a dead run's."""
        path = self.root / ".machine"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".machine.tmp-{secrets.token_hex(8)}")
            temporary.write_text(secrets.token_hex(16))
            try:
                os.link(temporary, path)  # unlike a rename, the first of two stays
            except FileExistsError:
                pass
            temporary.unlink()
        return path.read_text()


@cache
def open_lake(root: Path, url: str, settings: S3Config) -> S3Lake:
    """One object per process, whatever workspaces look at it: it holds the leases, and what the bucket has just said."""
    return S3Lake(root, url, settings)


class _Lease:
    """``_leases/<partition>``: who writes the partition, and where that stands. All in one place: there are few at a time.

    ``progress``: the file that tells. ``replaces``: tag of the manifest that was there when the lease was taken.
    """

    def __init__(self, bucket: Bucket, ref: Ref, progress: Path, machine: str):
        self._bucket, self._name, self._label = bucket, f"{LEASES}/{ref.path()}", str(ref)
        self._progress, self._machine = progress, machine
        self._content = {"machine": machine, "host": socket.gethostname(), "pid": os.getpid()}
        self._tag = ""
        self._over = threading.Event()
        self._renewed, self._taken = time.monotonic(), False
        self.replaces: str | None = None

    def check(self) -> None:
        """Raises Busy where somebody else has it by now."""
        if self._taken or time.monotonic() - self._renewed > LEASE_SECONDS:
            raise Busy(
                f"{self._label}: its lease ran out, another machine may have taken it",
                "run it again; if another run is at it, when that has ended",
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Takes it, renews it until the end, and gives it back. Raises Busy."""
        self._take()
        renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            self._over.set()
            renewing.join()
            try:
                found = self._bucket.find(self._name)
                if found and found.tag.strip('"') == self._tag.strip('"'):
                    self._bucket.delete([self._name])
            except WebInstructError:  # the server is away: it ends by itself
                pass

    def _write(self, over: str | None, progress: str | None = None) -> None:
        # A new tag each time: contents differ.
        content = json.dumps({**self._content, "token": secrets.token_hex(8), "progress": progress}).encode()
        asked = time.monotonic()
        self._tag = self._bucket.put(self._name, content, over=over)
        self._renewed = asked

    def _take(self) -> None:
        there = self._bucket.get(self._name)
        if there:
            holder = json.loads(there[0])
            age = _age(there[1])
            if holder["machine"] != self._machine and age < LEASE_SECONDS:
                raise Busy(
                    f"{self._label} is being built by another run (pid {holder['pid']} on {holder['host']})",
                    f"wait for that run to end; if it died, its lease ends in {LEASE_SECONDS - age:.0f} s",
                )
        try:
            self._write(there[1].tag if there else None)
        except Changed:
            raise Busy(f"{self._label}: another machine has just begun to build it", "run it again later") from None

    def _renew(self) -> None:
        while not self._over.wait(LEASE_SECONDS / 4):
            try:
                self._write(self._tag, self._told())
            except Changed:
                self._taken = True
                return
            except WebInstructError:
                pass  # the server is away: the lease is ours until it ends

    def _told(self) -> str | None:
        try:
            return self._progress.read_text()
        except FileNotFoundError:
            return None


def _age(found: Found) -> float:
    return (datetime.now(UTC) - found.at).total_seconds()


def _not_as_published(address: str, manifest: Manifest, *, gone: bool) -> BadManifest:
    what = "is gone: the partition was made again, or changed" if gone else "is not what was published"
    return BadManifest(f"{address} {what}", f"run again, or materialize {ref_of(manifest)} again")


def _identity(path: Path, name: str) -> tuple[str, int, int]:
    status = path.stat()
    return name, status.st_size, status.st_mtime_ns


def _is_whole(path: Path, part: Part) -> bool:
    return path.exists() and path.stat().st_size == part.bytes and digest_file(path) == part.sha256
