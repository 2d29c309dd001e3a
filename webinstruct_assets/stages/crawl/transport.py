"""How bytes of a crawl come here: from a folder, over HTTP(S), or from S3, behind one interface.

Servers are asked with the manners that ``CrawlConfig`` sets: ``Server`` limits, repeats and gives up. What a server
cannot answer now is Unavailable, which says nothing about the file; what it answers for good is MissingInput or
BadInput.

Sources: RFC 9110 sections 10.2.3 (Retry-After), 14 (Range) and 15.4 (redirects); the back-off is exponential with
"equal jitter" (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
"""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from webinstruct_assets.core.config import CrawlConfig
from webinstruct_assets.core.errors import BadInput, ConfigError, MissingInput, Unavailable

if TYPE_CHECKING:
    import httpx
    from obstore.store import S3Config

T = TypeVar("T")
PIECE = 8 << 20  # bytes asked for at a time where a file is not streamed
SLOWEST = 1024  # bytes per second below which a transfer counts as stalled
PROGRESS = 64 << 10  # bytes that make a transfer, though broken off, no failure
REDIRECTS = 5
# Common Crawl's data host answers 403 to clients that ask too often, see its status page.
RETRIED = frozenset({403, 408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class Transport(Protocol):
    """Read access to the files below a root. Raises MissingInput, BadInput and Unavailable."""

    def size(self, path: str) -> int:
        """Bytes of the file."""

    def read(self, path: str, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on; fewer where the file ends before."""

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """The file from ``offset`` on, in pieces of any size."""


def transport(root: str, config: CrawlConfig, sleep: Callable[[float], None] = time.sleep) -> Transport:
    """The transport for ``root``, one per process: its connections, pace and breaker are the server's.

    Raises ConfigError for a scheme that there is none for.
    """
    if sleep is not time.sleep:
        return _made(root, config, sleep)
    key = (root, config.model_dump_json())
    with _LOCK:
        if key not in _TRANSPORTS:
            _TRANSPORTS[key] = _made(root, config, sleep)
        return _TRANSPORTS[key]


_LOCK = threading.Lock()
_TRANSPORTS: dict[tuple[str, str], Transport] = {}


def _made(root: str, config: CrawlConfig, sleep: Callable[[float], None]) -> Transport:
    scheme = urlsplit(root).scheme
    if scheme in ("http", "https"):
        return Http(root, config, sleep)
    if scheme == "s3":
        return S3(root, config, sleep)
    if scheme == "file":
        return Folder(Path(unquote(urlsplit(root).path)))
    if "://" in root:
        raise ConfigError(f"crawl source {root!r}: unknown scheme {scheme!r}", "use a folder, http(s) or s3")
    return Folder(Path(root))


class Folder:
    """A folder on this machine."""

    def __init__(self, folder: Path):
        self.folder = folder

    def file(self, path: str) -> Path:
        """The file of that path; MissingInput where there is none, BadInput where it leads out of the folder."""
        file = self.folder / path
        if not file.resolve().is_relative_to(self.folder.resolve()):
            raise BadInput(f"{path}: leads out of {self.folder}", "fetch the list of paths again")
        if not file.is_file():
            raise MissingInput(f"{file} does not exist", "check the crawl source's root, or fetch the file")
        return file

    def size(self, path: str) -> int:
        return self.file(path).stat().st_size

    def read(self, path: str, offset: int, length: int) -> bytes:
        with self.file(path).open("rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        with self.file(path).open("rb") as stream:
            stream.seek(offset)
            while chunk := stream.read(PIECE):
                yield chunk


class TryAgain(Exception):
    """An attempt that failed in a way that may pass. ``wait``: seconds the server asks for, None where it does not."""

    def __init__(self, problem: str, wait: float | None = None):
        super().__init__(problem)
        self.wait = wait


class Server:
    """One server as this process deals with it: how many requests at a time, how often, and when to stop."""

    def __init__(self, name: str, config: CrawlConfig, sleep: Callable[[float], None]):
        self.name = name
        self._config = config
        self._sleep = sleep
        self._slots = threading.BoundedSemaphore(config.connections)
        self._lock = threading.Lock()
        self._next = 0.0  # when the next request may start
        self._failures = 0  # requests given up in a row
        self._closed_until = 0.0

    def attempt(self, send: Callable[[], T], slot: AbstractContextManager[Any] | None = None) -> T:
        """``send()``, repeated while it raises TryAgain. Raises Unavailable where that does not help.

        A server that is left alone is not asked: where there is a mirror, that is Unavailable at once; else this waits
        and asks once, so that an outage costs the units that met it, and not all that come after. ``slot``: the caller
        holds one of the server's connections already.
        """
        left, tries = self._closed_until - time.monotonic(), self._config.attempts
        if left > 0:
            if self._config.mirrors:
                problem = f"{self.name}: left alone for another {left:.0f} s after {self._failures} failed requests"
                raise Unavailable(problem, "run it again later")
            self._sleep(left)
            tries = 1
        problem = ""
        for attempt in range(tries):
            try:
                with slot or self._slots:
                    self._pace()
                    answer = send()
            except TryAgain as again:
                problem = str(again)
                if attempt + 1 < tries:
                    self.wait(attempt, again.wait)
            else:
                self._failures = 0
                return answer
        raise self.given_up(f"no answer after {tries} attempts ({problem})")

    def given_up(self, problem: str) -> Unavailable:
        """The error for a request that failed for good; enough of them in a row close the server for a while."""
        self._failures += 1
        if self._failures >= self._config.breaker_failures:
            self._closed_until = time.monotonic() + self._config.breaker_seconds
        return Unavailable(f"{self.name}: {problem}", "run it again later, or name a mirror in crawl.mirrors")

    def wait(self, attempt: int, asked: float | None = None) -> None:
        """Sleeps before the attempt after number ``attempt`` (from 0): as asked, or 2^attempt seconds with jitter."""
        usual = min(2.0**attempt, self._config.longest_wait) * random.uniform(0.5, 1.0)
        self._sleep(usual if asked is None else min(asked, self._config.longest_wait))

    def connection(self) -> AbstractContextManager[Any]:
        """One of the connections that this process may have to the server."""
        return self._slots

    def _pace(self) -> None:
        with self._lock:
            now = time.monotonic()
            start = max(now, self._next)
            self._next = start + 1 / self._config.requests_per_second
        if start > now:
            time.sleep(start - now)


class Http:
    """A web server that supports Range."""

    def __init__(self, root: str, config: CrawlConfig, sleep: Callable[[float], None]):
        from httpx import Client, Timeout

        self._root = root.rstrip("/")
        self._config = config
        self._server = Server(urlsplit(root).netloc, config, sleep)
        self._hosts = {urlsplit(root).netloc, *config.redirect_hosts}
        # identity: a server that compresses on the fly would change offsets and lengths.
        headers = {"User-Agent": config.user_agent, "Accept-Encoding": "identity"}
        self._client = Client(headers=headers, timeout=Timeout(config.stall_seconds), follow_redirects=False)

    def size(self, path: str) -> int:
        """From Content-Range: there are servers and proxies whose Content-Length is wrong."""

        def send() -> int:
            with self._request(self._url(path), {"Range": "bytes=0-0"}) as response:
                if response.status_code == 416:  # a file of no bytes has no first one
                    return 0
                total = self._range(response)[2]
                for _ in self._body(response):
                    pass
            if total is None:
                raise BadInput(f"{self._url(path)}: the server does not tell its size", "use another server")
            return total

        return self._server.attempt(send)

    def read(self, path: str, offset: int, length: int) -> bytes:
        if not length:
            return b""

        def send() -> bytes:
            headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
            with self._request(self._url(path), headers) as response:
                if response.status_code == 416:
                    return b""
                first, end, _ = self._range(response)
                if first != offset or end > offset + length:
                    raise TryAgain(f"asked for byte {offset}, got {response.headers.get('content-range')}")
                data = b"".join(self._body(response))
            if len(data) != end - first:
                raise TryAgain(f"{len(data)} of {end - first} bytes arrived")
            return data

        return self._server.attempt(send)

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """As Transport's; a lost, stalled or cut transfer is taken up at the byte where it broke."""
        at, fruitless, version = offset, 0, None
        while True:
            begun = at
            try:
                with self._open(path, at) as response:
                    if response is None:
                        return
                    found = response.headers.get("etag") or response.headers.get("last-modified")
                    if version not in (None, found):
                        raise BadInput(f"{self._url(path)}: changed while it was read", "run it again")
                    version = found
                    total = self._range(response)[2]
                    for chunk in self._body(response):
                        at += len(chunk)
                        yield chunk
                    if total is None or at >= total:
                        return
                    raise TryAgain(f"the transfer ended {total - at} bytes early")
            except TryAgain as again:
                fruitless = 0 if at - begun >= PROGRESS else fruitless + 1
                if fruitless >= self._config.attempts:
                    raise self._server.given_up(f"{path} broke off at byte {at} ({again})") from again
                self._server.wait(fruitless)

    @contextmanager
    def _open(self, path: str, offset: int) -> "Iterator[httpx.Response | None]":
        """The answer to a request for everything from ``offset`` on; None where the file ends there."""
        holders: list[Any] = []

        def send() -> "httpx.Response":
            holder = self._request(self._url(path), {"Range": f"bytes={offset}-"})
            response = holder.__enter__()
            holders.append(holder)
            return response

        with self._server.connection():  # until the body is read: a stream holds its connection
            response = self._server.attempt(send, slot=nullcontext())
            try:
                if response.status_code == 416:
                    yield None
                else:
                    first = self._range(response)[0]
                    if first != offset:
                        raise TryAgain(f"asked for byte {offset}, got {response.headers.get('content-range')}")
                    yield response
            finally:
                holders.pop().__exit__(None, None, None)

    @contextmanager
    def _request(self, url: str, headers: dict[str, str]) -> "Iterator[httpx.Response]":
        import httpx

        target = url
        for _ in range(REDIRECTS):
            try:
                response = self._client.send(self._client.build_request("GET", target, headers=headers), stream=True)
            except httpx.TransportError as error:
                raise TryAgain(f"{type(error).__name__}: {error}") from error
            except httpx.InvalidURL as error:
                raise BadInput(f"{target}: redirects to no address ({error})", "use another server") from error
            try:
                if not response.has_redirect_location:
                    self._check(response)
                    yield response
                    return
            finally:
                response.close()
            target = self._redirected(target, response.headers["location"])
        raise BadInput(f"{url}: more than {REDIRECTS} redirects", "name the place that they lead to as crawl.source")

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if urlsplit(target).scheme != urlsplit(url).scheme or urlsplit(target).netloc not in self._hosts:
            fix = "name that host in crawl.redirect_hosts if you trust it, or use its address as crawl.source"
            raise BadInput(f"{url}: redirects to {target[:200]}", fix)
        return target

    def _check(self, response: "httpx.Response") -> None:
        status, url = response.status_code, response.url
        if status in RETRIED:
            raise TryAgain(f"HTTP {status}", _retry_after(response))
        if status in (404, 410):
            raise MissingInput(f"{url} does not exist", "check the crawl source's root")
        if status not in (200, 206, 416):
            raise BadInput(f"{url}: HTTP {status}", "check the crawl source's root")

    def _range(self, response: "httpx.Response") -> tuple[int, int, int | None]:
        """First byte and end of what the answer holds, and the file's size where it says so."""
        if response.status_code == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
            if match and match[1]:
                return int(match[1]), int(match[2]) + 1, None if match[3] == "*" else int(match[3])
            raise TryAgain(f"Content-Range {response.headers.get('content-range')!r}")
        if response.request.headers["range"] != "bytes=0-":
            raise BadInput(
                f"{response.url}: the server ignores Range", "serve the crawl with a server that supports it"
            )
        length = response.headers.get("content-length")
        return 0, int(length or 0), int(length) if length else None

    def _body(self, response: "httpx.Response") -> Iterator[bytes]:
        import httpx

        started, size = time.monotonic(), 0
        try:
            for chunk in response.iter_raw():
                yield chunk
                size += len(chunk)
                passed = time.monotonic() - started
                if passed >= self._config.stall_seconds:
                    if size < SLOWEST * passed:
                        raise TryAgain(f"only {size} bytes in {passed:.0f} s")
                    started, size = time.monotonic(), 0
        except httpx.TransportError as error:
            raise TryAgain(f"{type(error).__name__}: {error}") from error

    def _url(self, path: str) -> str:
        return f"{self._root}/{path}"


def _retry_after(response: "httpx.Response") -> float | None:
    """Seconds that the server asks to wait (sent as a number or as a date), None where it does not ask."""
    value = response.headers.get("retry-after", "")
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


class S3:
    """A bucket, or a folder in one, read piece by piece."""

    def __init__(self, root: str, config: CrawlConfig, sleep: Callable[[float], None]):
        from obstore.store import S3Store

        parts = urlsplit(root)
        self._root = root.rstrip("/")
        self._sizes: dict[str, int] = {}
        self._server = Server(config.s3_endpoint or f"s3://{parts.netloc}", config, sleep)
        options: S3Config = {"region": config.s3_region, "skip_signature": config.s3_anonymous}
        if config.s3_endpoint:
            options["endpoint"] = config.s3_endpoint
        self._store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config=options,
            client_options={
                "user_agent": config.user_agent,
                "timeout": f"{config.stall_seconds:g}s",
                "allow_http": (config.s3_endpoint or "").startswith("http://"),
            },
            retry_config={"max_retries": 0},  # Server does that, with everything else it minds
        )

    def size(self, path: str) -> int:
        import obstore

        if path not in self._sizes:  # every read needs it, and files of a crawl do not change
            self._sizes[path] = int(self._ask(path, lambda: obstore.head(self._store, path)["size"]))
        return self._sizes[path]

    def read(self, path: str, offset: int, length: int) -> bytes:
        import obstore

        end = min(offset + length, self.size(path))  # a range behind the end is an error like any other
        if end <= offset:
            return b""
        return self._ask(path, lambda: bytes(obstore.get_range(self._store, path, start=offset, end=end)))

    def chunks(self, path: str, offset: int = 0) -> Iterator[bytes]:
        import obstore

        total = self.size(path)
        while offset < total:
            end = min(offset + PIECE, total)
            start = offset
            yield self._ask(path, lambda a=start, b=end: bytes(obstore.get_range(self._store, path, start=a, end=b)))  # type: ignore[misc]
            offset = end

    def _ask(self, path: str, call: Callable[[], T]) -> T:
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        def send() -> T:
            try:
                return call()
            except FileNotFoundError as error:
                problem = f"{self._root}/{path} does not exist"
                raise MissingInput(problem, "check the crawl source's root") from error
            except (PermissionDeniedError, UnauthenticatedError) as error:
                fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and crawl.s3_anonymous: false"
                raise BadInput(f"{self._root}/{path}: access denied", fix) from error
            except BaseError as error:
                raise TryAgain(str(error).splitlines()[0][:300]) from error

        return self._server.attempt(send)
