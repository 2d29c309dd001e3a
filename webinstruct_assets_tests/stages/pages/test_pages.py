"""The asset ``pages`` on a WARC written here: rows, every reject reason, conservation."""

import io
from dataclasses import replace
from pathlib import Path

import polars as pl
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.warc import payload_digest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS

KEY = PartitionKey.of({"snapshot": "local-test"})
FILE = "crawl-data/local-test/segments/1/warc/CC-MAIN-1.warc.gz"
GOOD = (
    b"<html lang=en><title>Good</title><body><h2>What is a prime number?</h2><p>One with exactly two divisors.</p>"
    b"<h2>Is one a prime number?</h2><p>No, it has only one divisor.</p></body></html>"
)
UNUSED = b'<script type=\'application/ld+json\'>{"@type":"Question","name":"Gone?","acceptedAnswer":{"text":"Gone."}}</script>'
NOISE = b"<p>" + bytes((index * 37 + 11) % 256 for index in range(4096))
RECORDS: dict[str, tuple[str, bytes]] = {
    "good": ("text/html; charset=utf-8", GOOD),
    "markup": ("text/html", UNUSED + GOOD),
    "pdf": ("application/pdf", b"%PDF-1.7 and more"),
    "disguised": ("text/html", b"%PDF-1.7 and more"),
    "empty": ("text/html", b"<html><body><script>x()</script></body></html>"),
    "no-bytes": ("text/html", b" "),
    "short": ("text/html", b"<p>Only four words here</p>"),
    "large": ("text/html", b"<p>" + b"x " * 3_000_000),
    "noise": ("text/html", NOISE),
    "digest": ("text/html", GOOD + b"<!-- digest -->"),
    "offset": ("text/html", GOOD + b"<!-- offset -->"),
    "length": ("text/html", GOOD + b"<!-- length -->"),
}


def write_warc(path: Path) -> list[dict[str, object]]:
    """One response record per entry of RECORDS; rows of ``recalled_urls`` that point at them."""
    path.parent.mkdir(parents=True)
    rows = []
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        for name, (content_type, payload) in RECORDS.items():
            url, offset = f"https://{name}.example/", stream.tell()
            headers = StatusAndHeaders("200 OK", [("Content-Type", content_type)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(url, "response", payload=io.BytesIO(payload), http_headers=headers)
            )
            digest = payload_digest(payload if name != "digest" else b"another").removeprefix("sha1:")
            rows.append({
                "id": row_id("ur", name), "parent_id": "r2-x", "url": url, "domain": f"{name}.example", "score": 0.9,
                "warc_filename": FILE, "warc_record_offset": offset + (name == "offset"),
                "warc_record_length": stream.tell() - offset + (10**9 if name == "length" else 0), "content_digest": digest,
                "fetch_time": "2024-01-01T00:00:00Z",
            })  # fmt: skip
    return rows


def publish_recalled(workspace: Workspace, rows: list[dict[str, object]]) -> None:
    def run(job: Job) -> None:
        job.unit("rows", lambda: Unit(rows=rows, rows_in=len(rows)))

    stage = replace(RECALLED_URLS, run=run, inputs=lambda ws, key: [])
    execute(stage, KEY, workspace, log=lambda line: None, run_id="test")


def test_pages_and_every_reject(workspace: Workspace) -> None:
    publish_recalled(workspace, write_warc(Path(workspace.crawl_root("local-test")) / FILE))
    manifest = execute(PAGES, KEY, workspace, log=print, run_id="test")
    rejects = pl.read_parquet(workspace.lake.reject_paths(manifest))
    by_host = {
        detail.split("https://")[1].split(".")[0]: reason
        for reason, detail in rejects.select("reason", "detail").iter_rows()
    }
    assert by_host == {
        "pdf": "not_html", "disguised": "not_html", "empty": "empty_page", "no-bytes": "empty_page", "short": "too_few_words",
        "large": "too_large", "noise": by_host["noise"], "digest": "digest_mismatch", "offset": "fetch_failed",
        "length": "fetch_failed",
    }  # fmt: skip
    assert by_host["noise"] in ("unknown_charset", "undecodable")
    rows = {row["domain"]: row for row in workspace.lake.read(manifest).to_dicts()}
    assert set(rows) == {"good.example", "markup.example"}
    page = rows["good.example"]
    assert (page["title"], page["language"], page["charset"], page["n_lines"]) == ("Good", "en", "utf-8", 4)
    assert page["parent_id"] == row_id("ur", "good")
    assert [(pair["rule"], pair["question"]) for pair in page["markup_pairs"]] == [
        ("heading_question", "What is a prime number?"), ("heading_question", "Is one a prime number?"),
    ]  # fmt: skip
    for pair in page["markup_pairs"]:
        spans = [page["text"][span["start"] : span["end"]] for span in pair["answer_spans"]]
        assert "\n".join(spans) == pair["answer"]
    assert manifest.metrics["markup_rejected"] == {"markup_not_on_page": 1}
    unused = pl.read_parquet(workspace.lake.file(manifest, "markup_rejects-00000.parquet"))
    assert unused["page_id"].to_list() == [rows["markup.example"]["id"]]
