"""Reading a crawl from a folder and from web servers: a real nginx, and one that fails in every way."""

import http.server
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from webinstruct_assets.core.config import CrawlConfig
from webinstruct_assets.core.errors import BadInput, BadKey, ConfigError, MissingInput, Unavailable
from webinstruct_assets.core.warc import iter_records, payload_digest, read_record
from webinstruct_assets.stages.crawl.index import FOUND_SCHEMA, lookup
from webinstruct_assets.stages.crawl.source import CrawlSource, coalesced
from webinstruct_assets.stages.crawl.wet import iter_wet_batches

access_log: dict[str, Path] = {}
QUICK = CrawlConfig(requests_per_second=1e4, stall_seconds=5)


def wait_for(port: int, seconds: float) -> None:
    for _ in range(int(seconds * 20)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nobody listens at port {port}")


NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@pytest.fixture(scope="session")
def nginx(demo_root: Path, demo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
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
        + f"events {{}}\nhttp {{ {temporary}\n"
        f"log_format sent '$uri $body_bytes_sent'; access_log {folder}/access.log sent;\n"
        f"server {{ listen 127.0.0.1:{port}; location /mirror/ {{ alias {demo_root}/; }}\n"
        f"location /zipped/ {{ alias {demo_dir}/web/; gzip on; gzip_min_length 1; }} }} }}\n"
    )
    server = subprocess.Popen([NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, 10)
        access_log[f"http://127.0.0.1:{port}/mirror"] = folder / "access.log"
        yield f"http://127.0.0.1:{port}/mirror"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(scope="session")
def s3(demo_root: Path) -> Iterator[CrawlConfig]:
    """The demo crawl in a bucket of a real server that speaks S3."""
    import boto3

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, 60)
        endpoint = f"http://127.0.0.1:{port}"
        client = boto3.client(
            "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        client.create_bucket(Bucket="crawl", ACL="public-read")
        for file in demo_root.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), "crawl", f"mirror/{file.relative_to(demo_root)}")
        yield QUICK.model_copy(update={"s3_endpoint": endpoint})
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture(params=["folder", "file://", "nginx", "s3://"])
def source(request: pytest.FixtureRequest, demo_root: Path) -> CrawlSource:
    if request.param == "s3://":
        return CrawlSource("s3://crawl/mirror", request.getfixturevalue("s3"))
    roots = {"folder": str(demo_root), "file://": demo_root.as_uri()}
    return CrawlSource(roots.get(request.param) or request.getfixturevalue("nginx"), QUICK)


def index_file(source: CrawlSource) -> str:
    (path,) = (path for path in source.file_list("local-demo", "cc-index-table") if "/subset=warc/" in path)
    return path


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
    found = lookup(source, index_file(source), wanted)
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
    assert lookup(source, index_file(source), wanted).is_empty()
    assert lookup(source, index_file(source), wanted.clear()).schema == pl.Schema(FOUND_SCHEMA)


def test_lookup_tells_captures_of_one_url_apart_by_time(source: CrawlSource) -> None:
    (warc_file, *_) = source.file_list("local-demo", "warc")
    with source.open(warc_file) as stream:
        page = next(iter_records(stream, warc_file, on_reject=pytest.fail, types=("response",)))
    for date, height in ((page.date, 1), ("2001-01-01T00:00:00Z", 0)):
        wanted = pl.DataFrame({"warc_filename": [warc_file], "url": [page.url], "fetch_time": [date]})
        assert lookup(source, index_file(source), wanted).height == height


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
    agents: list[str]

    def do_GET(self) -> None:
        type(self).seen.append(self.headers["Range"])
        type(self).agents.append(self.headers["User-Agent"])
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
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.body) - 1}/{len(self.body)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part if step is None else part[:step])
        self.close_connection = step is not None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def failing() -> Iterator[tuple[str, type[Failing]]]:
    handler = type("Handler", (Failing,), {"plan": [], "seen": [], "agents": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_retries_wait_as_long_as_the_server_asks(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    handler.plan = [(503, {"Retry-After": "7"}), (429, {}), (403, {"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"})]
    handler.plan += [(503, {"Retry-After": "86400"})]
    waits: list[float] = []
    with CrawlSource(root, QUICK, sleep=waits.append).open("f") as stream:
        assert stream.read() == handler.body
    assert waits[0] == 7.0
    assert 1.0 <= waits[1] <= 2.0  # 2 s with jitter
    assert waits[2:] == [0.0, QUICK.longest_wait]  # capped


def test_a_lost_connection_is_taken_up_where_it_broke(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    handler.plan = [300_000, 100, 500_000]
    with CrawlSource(root, QUICK, sleep=lambda _: None).open("f") as stream:
        assert stream.read() == handler.body
    starts = [int((entry or "")[6:-1]) for entry in handler.seen]
    assert starts == sorted(starts)
    assert starts[0] == 0 < starts[1] <= 300_000
    assert set(handler.agents) == {QUICK.user_agent}


def test_a_server_that_never_recovers_is_left_alone(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    handler.plan = [(500, {})] * 100
    waits: list[float] = []
    source = CrawlSource(root, QUICK, sleep=waits.append)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"after 6 attempts \(HTTP 500\)"):
            source.read_range("f", 0, 5)
    assert len(handler.seen) == 18
    with pytest.raises(Unavailable, match=r"after 1 attempts"):
        source.read_range("f", 0, 5)
    assert len(handler.seen) == 19 and waits[-1] > 200  # asked once, after the time it was left alone
    handler.plan = []
    assert source.read("f") == handler.body  # it is back, and so is the unit that asks next
    mirrored = CrawlSource(root, QUICK.model_copy(update={"mirrors": ("file:///nowhere",)}), sleep=waits.append)
    handler.plan = [(500, {})] * 100
    for _ in range(3):
        with pytest.raises(Unavailable):
            mirrored.read_range("f", 0, 5)
    asked = len(handler.seen)
    with pytest.raises(Unavailable, match="left alone for another"):
        mirrored.read_range("f", 0, 5)
    assert len(handler.seen) == asked  # nobody was asked: there is a mirror
    handler.plan = []
    patient = CrawlSource(root, QUICK.model_copy(update={"breaker_seconds": 0.0}), sleep=lambda _: None)
    with patient.open("f") as stream:
        assert stream.read() == handler.body


def test_a_server_without_ranges_is_named(failing: tuple[str, type[Failing]]) -> None:
    root, _ = failing
    with pytest.raises(BadInput, match="ignores Range"):
        CrawlSource(root, QUICK).read_range("f", 0, 5)


def test_no_path_of_a_list_leads_out_of_its_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "crawl", tmp_path / "secret"
    root.mkdir()
    outside.write_text("s")
    (root / "link").symlink_to(outside)
    for path in ("../secret", "a/../../secret", str(outside), "link", "../crawl/../secret"):
        source = CrawlSource(str(root), QUICK)
        for read in (source.read, source.size, source.open, partial(source.read_range, offset=0, length=1)):
            with pytest.raises(BadInput, match="leads out of"):
                read(path)


def test_redirects_stay_on_the_server(failing: tuple[str, type[Failing]], nginx: str) -> None:
    root, handler = failing
    handler.plan = [(302, {"Location": "/g"})]
    assert CrawlSource(root, QUICK).read("f") == handler.body
    port, host = urlsplit(nginx).port, root.removeprefix("http://")
    inside = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "127.1",
        "0",
        "127.0.0.1.nip.io",
    ]
    for place in (
        f"{nginx}/collinfo.json", "https://a.example/f", root.replace("http", "file"), "http://169.254.169.254/latest/meta-data/",
        f"http://{host}@127.0.0.1:{port}/f", f"http://127.0.0.1:{port}#@{host}/f", f"//127.0.0.1:{port}/f", f"http://a@{host}/f",
        "gopher://127.0.0.1:25/f", "ftp://a.example/f", *(f"http://{name}:{port}/mirror/collinfo.json" for name in inside),
    ):  # fmt: skip
        handler.plan = [(302, {"Location": place})]
        with pytest.raises(BadInput, match="redirects to"):
            CrawlSource(root, QUICK).read("f")
    # What is no address, or one of its own after all: refused, or asked of the server itself once more.
    for place in (
        f"http://{host}\\@127.0.0.1:{port}/f",
        f"http:\\\\127.0.0.1:{port}/f",
        f"http:///127.0.0.1:{port}/f",
        "http://[::1",
    ):
        handler.plan = [(302, {"Location": place})]
        try:
            assert CrawlSource(root, QUICK).read("f") == handler.body
        except BadInput as error:
            assert "redirects to" in error.problem
    handler.plan = []
    handler.plan = [(302, {"Location": f"{nginx}/collinfo.json"})]
    trusting = QUICK.model_copy(update={"redirect_hosts": (nginx.split("/")[2],)})
    assert CrawlSource(root, trusting).read("f").startswith(b"[")
    handler.plan = [(302, {"Location": "/f"})] * 9
    with pytest.raises(BadInput, match="more than 5 redirects"):
        CrawlSource(root, QUICK).read("f")


def nobody() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_nobody_answers() -> None:
    with pytest.raises(Unavailable, match="ConnectError"):
        CrawlSource(nobody(), QUICK, sleep=lambda _: None).snapshots()


def test_a_mirror_steps_in(nginx: str, failing: tuple[str, type[Failing]], demo_root: Path) -> None:
    root = nobody()
    config = QUICK.model_copy(update={"source": root, "mirrors": (nginx,)})
    source = CrawlSource(root, config, sleep=lambda _: None)
    assert whole_way(source) == whole_way(CrawlSource(str(demo_root)))
    # A source that dies in the middle of a file: the mirror goes on at that byte.
    broken, handler = failing
    (demo_file, *_) = source.file_list("local-demo", "warc")
    body = (demo_root / demo_file).read_bytes()
    handler.body, handler.plan = body, [len(body) // 2, *[(503, {})] * 100]
    config = QUICK.model_copy(update={"source": broken, "mirrors": (nginx,)})
    assert CrawlSource(broken, config, sleep=lambda _: None).read(demo_file) == body


def test_requests_keep_their_distance(failing: tuple[str, type[Failing]]) -> None:
    root, handler = failing
    source = CrawlSource(root, QUICK.model_copy(update={"requests_per_second": 20.0}))
    started = time.monotonic()
    for _ in range(5):
        source.read("f")
    assert time.monotonic() - started >= 4 / 20
    assert len(handler.seen) == 5


def test_sources_travel(source: CrawlSource) -> None:
    assert pickle.loads(pickle.dumps(source)).snapshots() == source.snapshots()


# --- ranges


def test_neighbours_are_coalesced() -> None:
    ranges = [(0, 10), (10, 10), (25, 5), (100, 10), (40, 5), (45, 100), (50, 5)]
    assert list(coalesced(ranges, 5, 1000)) == [ranges[:3], ranges[3:4], ranges[4:]]
    assert list(coalesced(ranges[:3], 5, 20)) == [ranges[:2], ranges[2:3]]
    assert list(coalesced([], 5, 20)) == []


def test_ranges_are_read_in_order_and_together(source: CrawlSource, demo_root: Path) -> None:
    (path, *_) = source.file_list("local-demo", "warc")
    data = (demo_root / path).read_bytes()
    ranges = [(at, 700) for at in range(0, len(data), 1500)] + [(len(data) + 50, 10)]
    assert list(source.read_ranges(path, ranges)) == [data[at : at + size] for at, size in ranges]
    narrow = CrawlSource(source.root, source.config.model_copy(update={"coalesce_gap": 0, "coalesce_bytes": 1000}))
    assert list(narrow.read_ranges(path, ranges[:40])) == [data[at : at + size] for at, size in ranges[:40]]


def test_coalescing_saves_requests(nginx: str) -> None:
    source = CrawlSource(nginx, QUICK)
    (path, *_) = source.file_list("local-demo", "warc")
    before = len(sent(nginx, path))
    assert len(list(source.read_ranges(path, [(at, 500) for at in range(0, 20_000, 1000)]))) == 20
    assert len(sent(nginx, path)) == before + 1


def sent(nginx: str, path: str) -> list[int]:
    """Bytes of each answer about ``path`` so far."""
    time.sleep(0.2)  # the log line follows the answer
    lines = [line.split() for line in access_log[nginx].read_text().splitlines()]
    return [int(size) for name, size in lines if name.endswith(path)]


def test_of_the_index_only_the_needed_columns_and_row_groups_are_read(nginx: str, demo_root: Path) -> None:
    path = index_file(CrawlSource(str(demo_root)))
    rows = pl.read_parquet(demo_root / path, hive_partitioning=False)
    # As in a real index, most rows are of other WARC files.
    many = pl.concat([rows.with_columns(warc_filename=pl.lit(f"warc-{number:05d}"), url=pl.col("url") + f"?{number}")
                      for number in range(200)])  # fmt: skip
    large = path.replace("part-00000", "part-00001")
    many.write_parquet(demo_root / large, compression="gzip", row_group_size=rows.height * 20)
    try:
        wanted = many.filter(warc_filename="warc-00033").select("warc_filename", "url").head(5)
        assert lookup(CrawlSource(nginx, QUICK), large, wanted).height == 5
        read, size = sum(sent(nginx, large)), (demo_root / large).stat().st_size
        # The footer is 5 % of this file (of a real one, a thousandth); 1 of 10 row groups, 10 of 30 columns are needed.
        assert 0 < read < size / 5, f"{read} of {size} bytes"
    finally:
        (demo_root / large).unlink()


# --- faults


def whole_way(source: CrawlSource) -> list[Any]:
    """What a run reads: texts, their places in the index, their records."""
    result: list[Any] = []
    for wet_file, warc_file in zip(*(source.file_list("local-demo", kind) for kind in ("wet", "warc")), strict=True):
        rejects: list[Any] = []
        with source.open(wet_file) as stream:
            batches = list(iter_wet_batches(stream, wet_file, on_reject=rejects.append, batch_bytes=1 << 16))
        urls = [url for batch in batches for url in batch.urls.to_pylist()]
        wanted = pl.DataFrame({"warc_filename": [warc_file] * len(urls), "url": urls})
        found = lookup(source, index_file(source), wanted)
        ranges = found.select("warc_record_offset", "warc_record_length").rows()
        texts = [text for batch in batches for text in batch.texts.to_pylist()]
        result.append((rejects, urls, texts, found.rows(), list(source.read_ranges(warc_file, ranges))))
    return result


@pytest.mark.parametrize(
    "faults",
    [
        "503,503,503",
        "503/1,429/0,403",
        "reset,reset",
        "truncated,truncated",
        "length_too_long,length_too_short",
        "trickle",
        "503,reset,truncated,length_too_short,500",
    ],
)
def test_transient_faults_change_nothing(nginx: str, demo_root: Path, faults: str) -> None:
    port = nginx.split(":")[2].split("/")[0]
    command = [sys.executable, str(Path(__file__).with_name("fault_proxy.py")), port, faults]
    proxy = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert proxy.stdout
        root = f"http://127.0.0.1:{proxy.stdout.readline().strip()}/mirror"
        config = QUICK.model_copy(update={"stall_seconds": 0.5, "attempts": 10})  # a busy machine stalls by itself
        assert whole_way(CrawlSource(root, config, sleep=lambda _: None)) == whole_way(CrawlSource(str(demo_root)))
    finally:
        proxy.kill()
        proxy.wait()


# --- a WARC made by another's tool


@pytest.mark.skipif(not shutil.which("wget"), reason="no wget")
def test_a_wget_warc_of_chunked_gzip_bodies(nginx: str, demo_dir: Path, tmp_path: Path) -> None:
    """Every body is read and is the page; FastWARC's own decoding stops on such files."""
    pages = sorted((demo_dir / "web").glob("*.example/**/*.html"))
    root = nginx.replace("/mirror", "/zipped")
    urls = {f"{root}/{page.relative_to(demo_dir / 'web')}": page.read_bytes() for page in pages}
    (tmp_path / "urls").write_text("\n".join(urls))
    command = ["wget", "-q", "-i", "urls", "--warc-file=pages", "--header=Accept-Encoding: gzip", "-O", "out"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    with (tmp_path / "pages.warc.gz").open("rb") as stream:
        records = list(iter_records(stream, "pages.warc.gz", on_reject=pytest.fail, types=("response",)))
    assert {item.url: item.payload for item in records} == urls
    for name, value in (("transfer-encoding", "chunked"), ("content-encoding", "gzip")):
        assert {item.http_header(name) for item in records} == {value}
