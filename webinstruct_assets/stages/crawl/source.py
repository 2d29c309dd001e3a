"""Where a crawl is read from: a folder or a web server, both laid out like Common Crawl's bucket.

    collinfo.json                                        the snapshots
    crawl-data/<snapshot>/{warc,wet,cc-index-table}.paths.gz   one path per line, relative to the root
    crawl-data/<snapshot>/segments/…                     the files themselves
    cc-index/table/cc-main/warc/crawl=<snapshot>/…       the columnar index

In goes a root (folder, ``file://`` or ``http(s)://`` URL), out come lists of paths, streams and byte ranges.

Sources: https://commoncrawl.org/get-started (layout), RFC 9110 sections 10.2.3 (Retry-After) and 14 (Range).
"""

import gzip
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from webinstruct_assets.core.errors import BadInput, ConfigError, MissingInput
from webinstruct_assets.core.keys import check_snapshot

if TYPE_CHECKING:
    import httpx

USER_AGENT = "webinstruct-assets (reads Common Crawl files)"
ATTEMPTS = 6
LONGEST_WAIT = 120.0  # seconds
# Common Crawl's data host answers 403 to clients that ask too often, see its status page.
RETRIED = frozenset({403, 408, 429, 500, 502, 503, 504})
# The one known server whose list of snapshots lives elsewhere.
COLLINFO = {"data.commoncrawl.org": "https://index.commoncrawl.org/collinfo.json"}


class CrawlSource:
    """Read access to a crawl at ``root``; paths are relative to it, as in Common Crawl's lists.

    Every method raises MissingInput for what is not there and BadInput for a server that fails for good.
    """

    def __init__(self, root: str, user_agent: str = USER_AGENT, *, sleep: Callable[[float], None] = time.sleep):
        scheme = urlsplit(root).scheme
        self.root = root
        self._sleep = sleep
        self._client: httpx.Client | None = None
        self._folder: Path | None = None
        if scheme in ("http", "https"):
            from httpx import Client, Timeout

            # identity: a server that compresses on the fly would change offsets and lengths.
            headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
            self._client = Client(headers=headers, timeout=Timeout(60.0), follow_redirects=True)
        elif scheme == "file":
            self._folder = Path(unquote(urlsplit(root).path))
        elif "://" in root:
            raise ConfigError(f"crawl source {root!r}: unknown scheme {scheme!r}", "use a folder or http(s)")
        else:
            self._folder = Path(root)

    def snapshots(self) -> list[dict[str, Any]]:
        """The entries of collinfo.json in its order (newest first): id, name, and from/to where given."""
        url = COLLINFO.get(urlsplit(self.root).netloc)
        try:
            text = self._get(url).content if url and self._client else self._read("collinfo.json")
            entries = json.loads(text)
            if not all(isinstance(entry["id"], str) for entry in entries):
                raise TypeError("an entry has no id")
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{self.root}: collinfo.json is not a list of snapshots ({error})",
                "point the crawl source at the root of a crawl laid out like Common Crawl's",
            ) from error
        return list(entries)

    def file_list(self, snapshot: str, kind: str) -> list[str]:
        """Paths of the snapshot's ``warc``, ``wet`` or ``cc-index-table`` files.

        For an unknown snapshot MissingInput lists the known ones.
        """
        path = f"crawl-data/{check_snapshot(snapshot)}/{kind}.paths.gz"
        try:
            data = self._read(path)
        except MissingInput as error:
            try:
                known = [entry["id"] for entry in self.snapshots()]
            except MissingInput:  # a root that holds nothing yet
                known = []
            if snapshot in known:
                raise
            raise MissingInput(
                f"{self.root} has no snapshot {snapshot}",
                f"use one of: {', '.join(known) or '(it has none)'}; or make it (import-warc, demo)",
            ) from error
        try:
            return [line for line in gzip.decompress(data).decode().splitlines() if line]
        except (OSError, EOFError, UnicodeDecodeError) as error:
            problem = f"{self.root}/{path}: not a gzip list of paths ({error})"
            raise BadInput(problem, "fetch it again") from error

    def open(self, path: str) -> BinaryIO:
        """The file as a stream; over HTTP it resumes by itself after a lost connection."""
        if self._client is None:
            return self.local(path).open("rb")
        return io.BufferedReader(_HttpStream(self, path), 1 << 20)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` on."""
        if self._client is None:
            with self.local(path).open("rb") as stream:
                stream.seek(offset)
                data = stream.read(length)
        else:
            response = self._get(self._url(path), offset, length)
            if response.status_code != 206:
                raise _no_ranges(self._url(path))
            data = response.content
        if len(data) != length:
            raise BadInput(
                f"{self.root}/{path}: {len(data)} of {length} bytes at offset {offset}",
                "the file is shorter than the index says; fetch it again",
            )
        return data

    def size(self, path: str) -> int:
        """Bytes of the file."""
        if self._client is None:
            return self.local(path).stat().st_size
        return int(self._attempt(lambda: self._send("HEAD", self._url(path))).headers["content-length"])

    def local(self, path: str) -> Path:
        """The file on disk, for a source that is a folder. Raises MissingInput where there is none."""
        if self._folder is None:
            raise ValueError(f"{self.root} is not a folder")
        file = self._folder / path
        if not file.resolve().is_relative_to(self._folder.resolve()):
            raise BadInput(f"{path}: leads out of {self._folder}", "fetch the list of paths again")
        if not file.is_file():
            raise MissingInput(f"{file} does not exist", "check the crawl source's root, or fetch the file")
        return file

    @property
    def is_local(self) -> bool:
        """Whether ``local`` can be used."""
        return self._client is None

    def _read(self, path: str) -> bytes:
        return self.local(path).read_bytes() if self._client is None else self._get(self._url(path)).content

    def _url(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}"

    def _get(self, url: str, offset: int = 0, length: int | None = None) -> "httpx.Response":
        headers = {} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"}
        return self._attempt(lambda: self._send("GET", url, headers))

    def _send(self, method: str, url: str, headers: dict[str, str] | None = None) -> "httpx.Response":
        assert self._client is not None
        response = self._client.request(method, url, headers=headers)
        self._check(response)
        return response

    def _check(self, response: "httpx.Response") -> None:
        if response.status_code in RETRIED:
            raise _TryAgain(f"HTTP {response.status_code}", _retry_after(response))
        if response.status_code in (404, 410):
            raise MissingInput(f"{response.url} does not exist", "check the crawl source's root")
        if response.status_code not in (200, 206):
            raise BadInput(f"{response.url}: HTTP {response.status_code}", "check the crawl source's root")

    def _attempt(self, send: "Callable[[], httpx.Response]") -> "httpx.Response":
        import httpx

        problem = ""
        for attempt in range(ATTEMPTS):
            try:
                return send()
            except _TryAgain as again:
                problem, wait = str(again), again.wait
            except httpx.TransportError as error:
                problem, wait = f"{type(error).__name__}: {error}", None
            if attempt + 1 < ATTEMPTS:
                self._sleep(min(LONGEST_WAIT, 2.0**attempt if wait is None else wait))
        raise BadInput(f"{self.root}: no answer after {ATTEMPTS} attempts ({problem})", "try again later")

    @contextmanager
    def _body(self, url: str, offset: int) -> "Iterator[httpx.Response]":
        """The body from ``offset`` on, unread; closes the connection at the end."""
        assert self._client is not None
        client = self._client

        def send() -> "httpx.Response":
            headers = {"Range": f"bytes={offset}-"} if offset else {}
            response = client.send(client.build_request("GET", url, headers=headers), stream=True)
            try:
                self._check(response)
                if offset and response.status_code != 206:
                    raise _no_ranges(url)
            except BaseException:
                response.close()
                raise
            return response

        response = self._attempt(send)
        try:
            yield response
        finally:
            response.close()


def _no_ranges(url: str) -> BadInput:
    return BadInput(f"{url}: the server ignores Range", "serve the crawl with a server that supports it")


class _TryAgain(Exception):
    def __init__(self, problem: str, wait: float | None):
        super().__init__(problem)
        self.wait = wait


def _retry_after(response: "httpx.Response") -> float | None:
    """Seconds that the server asks to wait (sent as a number or as a date), None where it does not ask."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


class _HttpStream(io.RawIOBase):
    """A file on the server, read forward. A lost connection is taken up again at the byte where it broke."""

    def __init__(self, source: CrawlSource, path: str):
        self._source = source
        self._url = source._url(path)
        self._chunks = self._read_all()
        self._rest = b""
        # The first request is made here, so that a missing file is reported by ``open``.
        self._rest = next(self._chunks, b"")

    def _read_all(self) -> Iterator[bytes]:
        import httpx

        at, failures = 0, 0
        while True:
            with self._source._body(self._url, at) as response:
                try:
                    for chunk in response.iter_raw(1 << 18):
                        at += len(chunk)
                        failures = 0
                        yield chunk
                    return
                except httpx.TransportError as error:
                    failures += 1
                    if failures >= ATTEMPTS:
                        problem = f"{self._url}: broke off at byte {at} ({error})"
                        raise BadInput(problem, "try again later") from error
            self._source._sleep(min(LONGEST_WAIT, 2.0**failures))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def close(self) -> None:
        self._chunks.close()  # type: ignore[attr-defined]
        super().close()
