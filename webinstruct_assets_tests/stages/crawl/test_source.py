"""Reading a crawl from a folder and from web servers: a real nginx, and one that fails in every way."""

import http.server
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.errors import BadInput, BadKey, ConfigError, MissingInput
from webinstruct_assets.core.warc import iter_records, payload_digest, read_record
from webinstruct_assets.stages.crawl.index import FOUND_SCHEMA, lookup
from webinstruct_assets.stages.crawl.source import CrawlSource

NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@pytest.fixture(scope="session")
def nginx(demo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo crawl behind a real web server."""
    if not NGINX:
        pytest.skip("no nginx")
    folder = tmp_path_factory.mktemp("nginx")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary = "\n".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        + ("user root;\n" if demo_root.owner() == "root" else "")
        + f"events {{}}\nhttp {{ access_log off; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port}; location /mirror/ {{ alias {demo_root}/; }} }} }}\n"
    )
    server = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/mirror"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["folder", "file://", "nginx"])
def source(request: pytest.FixtureRequest, demo_root: Path) -> CrawlSource:
    roots = {"folder": str(demo_root), "file://": demo_root.as_uri()}
    return CrawlSource(roots.get(request.param) or request.getfixturevalue("nginx"))


def test_round_trip_from_wet_text_to_the_very_bytes(source: CrawlSource) -> None:
    """A page is found through its WET text, looked up in the index, and read by range: the same page."""
    (wet_file, *_), (warc_file, *_) = (source.file_list("local-demo", kind) for kind in ("wet", "warc"))
    with source.open(wet_file) as stream:
        texts = [item for item in iter_records(stream, wet_file, on_reject=pytest.fail) if item.type == "conversion"]
    with source.open(warc_file) as stream:
        pages = {item.url: item for item in iter_records(stream, warc_file, on_reject=pytest.fail, types=("response",))}
    assert {item.url for item in texts} == pages.keys()
    wanted = pl.DataFrame(
        {
            "warc_filename": [warc_file] * len(texts),
            "url": [item.url for item in texts],
            "fetch_time": [item.date for item in texts],
        }
    )
    found = lookup(source, "local-demo", wanted)
    assert found.schema == pl.Schema(FOUND_SCHEMA)
    assert found.height == len(texts)
    for row in found.iter_rows(named=True):
        data = source.read_range(warc_file, row["warc_record_offset"], row["warc_record_length"])
        page = read_record(data, warc_file, row["warc_record_offset"])
        assert page == pages[row["url"]]
        assert payload_digest(page.payload) == page.payload_digest == f"sha1:{row['content_digest']}"
        assert page.date == row["fetch_time"]
        assert row["url_host_registered_domain"] == page.url.split("/")[2]


def test_lookup_leaves_out_what_the_index_lacks(source: CrawlSource) -> None:
    (warc_file, *_) = source.file_list("local-demo", "warc")
    wanted = pl.DataFrame({"warc_filename": [warc_file, "other"], "url": ["https://no.example/", "https://a.example/"]})
    assert lookup(source, "local-demo", wanted).is_empty()
    assert lookup(source, "local-demo", wanted.clear()).schema == pl.Schema(FOUND_SCHEMA)


def test_lookup_tells_captures_of_one_url_apart_by_time(source: CrawlSource) -> None:
    (warc_file, *_) = source.file_list("local-demo", "warc")
    with source.open(warc_file) as stream:
        page = next(iter_records(stream, warc_file, on_reject=pytest.fail, types=("response",)))
    for date, height in ((page.date, 1), ("2001-01-01T00:00:00Z", 0)):
        wanted = pl.DataFrame({"warc_filename": [warc_file], "url": [page.url], "fetch_time": [date]})
        assert lookup(source, "local-demo", wanted).height == height


def test_snapshots_and_sizes(source: CrawlSource, demo_root: Path) -> None:
    assert [entry["id"] for entry in source.snapshots()] == ["local-demo"]
    for path in source.file_list("local-demo", "warc"):
        assert source.size(path) == (demo_root / path).stat().st_size


def test_unknown_snapshot_lists_the_known_ones(source: CrawlSource) -> None:
    with pytest.raises(MissingInput, match="use one of: local-demo"):
        source.file_list("CC-MAIN-2024-22", "warc")
    with pytest.raises(BadKey):
        source.file_list("../etc", "warc")


def test_missing_files_and_ranges_past_the_end(source: CrawlSource) -> None:
    with pytest.raises(MissingInput, match=r"nothing\.gz"):
        source.open("crawl-data/nothing.gz")
    with pytest.raises(MissingInput, match=r"nothing\.gz"):
        source.read_range("crawl-data/nothing.gz", 0, 10)
    (path, *_) = source.file_list("local-demo", "warc")
    with pytest.raises(BadInput):
        source.read_range(path, source.size(path) - 5, 10)


def test_paths_cannot_leave_a_folder(demo_root: Path) -> None:
    with pytest.raises(BadInput, match="leads out"):
        CrawlSource(str(demo_root / "crawl-data")).open("../collinfo.json")


def test_roots_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ftp"):
        CrawlSource("ftp://a.example/")
    with pytest.raises(MissingInput, match=r"collinfo\.json"):
        CrawlSource(str(tmp_path)).snapshots()
    (tmp_path / "collinfo.json").write_text("{}x")
    with pytest.raises(BadInput, match=r"collinfo\.json"):
        CrawlSource(str(tmp_path)).snapshots()


class Failing(http.server.BaseHTTPRequestHandler):
    """Answers as ``plan`` says: a status, or how many bytes of the body to send before hanging up."""

    protocol_version = "HTTP/1.1"
    body = bytes(range(256)) * 4000
    plan: list[Any]
    seen: list[str | None]

    def do_GET(self) -> None:
        type(self).seen.append(self.headers["Range"])
        step = type(self).plan.pop(0) if type(self).plan else None
        if isinstance(step, tuple):
            self.send_response(step[0])
            for name, value in step[1].items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int((self.headers["Range"] or "bytes=0-")[6:].split("-")[0])
        part = self.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part if step is None else part[:step])
        self.close_connection = step is not None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def failing() -> Iterator[tuple[str, type[Failing]]]:
    handler = type("Handler", (Failing,), {"plan": [], "seen": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_retries_wait_as_long_as_the_server_asks(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    handler.plan = [(503, {"Retry-After": "7"}), (429, {}), (403, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})]
    waits: list[float] = []
    with CrawlSource(root, sleep=waits.append).open("f") as stream:
        assert stream.read() == handler.body
    assert waits == [7.0, 2.0, 0.0]


def test_a_lost_connection_is_taken_up_where_it_broke(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    handler.plan = [300_000, 100, 500_000]
    with CrawlSource(root, sleep=lambda _: None).open("f") as stream:
        assert stream.read() == handler.body
    assert handler.seen[0] is None
    starts = [int((entry or "")[6:-1]) for entry in handler.seen[1:]]
    assert starts == sorted(starts)
    assert 0 < starts[0] <= 300_000


def test_a_server_that_never_recovers(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    handler.plan = [(500, {})] * 20
    with pytest.raises(BadInput, match=r"after 6 attempts \(HTTP 500\)"):
        CrawlSource(root, sleep=lambda _: None).read_range("f", 0, 5)
    assert len(handler.seen) == 6


def test_a_server_without_ranges_is_named(failing: tuple[str, type[Failing]]) -> None:
    root, _ = failing
    with pytest.raises(BadInput, match="ignores Range"):
        CrawlSource(root).read_range("f", 0, 5)


def test_nobody_answers() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(BadInput, match="ConnectError"):
            CrawlSource(f"http://127.0.0.1:{probe.getsockname()[1]}", sleep=lambda _: None).snapshots()
