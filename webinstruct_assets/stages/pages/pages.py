"""Asset ``pages``: cleaned text of the recalled pages, with the pairs that need no model.

In: ``recalled_urls``; each record is read from its WARC file by offset and length. Out: one row per page.
Rejects: ``fetch_failed`` (not readable at that offset), ``digest_mismatch`` (not the page that was recalled),
``not_html``, ``too_large``, ``empty_page`` (no text left), ``too_few_words``, ``unknown_charset``, ``undecodable``.

Markup that could not be used (``markup_not_on_page``, ``markup_unreadable``) concerns a pair, not a page, so it
takes no part in the conservation of pages: it is a row of ``markup_rejects.parquet`` beside the parts (``page_id``,
``url``, ``rule``, ``reason``, ``detail``), and counted in the metrics.

Columns: ``id``; ``parent_id`` (row of ``recalled_urls``); ``url``; ``domain`` (registrable); ``title``;
``language`` (ISO 639-1); ``charset`` (codec used); ``text`` (Markdown-like lines); ``n_lines``; ``n_words``;
``markup_pairs`` (question, answer, rule, and their spans: character offsets into ``text``, end exclusive).
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.errors import WebInstructError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.warc import WarcRecord, payload_digest, read_record
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.pages import rules
from webinstruct_assets.stages.pages.document import Page, PageRejected, Span
from webinstruct_assets.stages.pages.html import extract_page

PREFIX = "pg"
UNIT_PAGES = 64
SPANS = pl.List(pl.Struct({"start": pl.Int64(), "end": pl.Int64()}))
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "title": pl.String(),
    "language": pl.String(),
    "charset": pl.String(),
    "text": pl.String(),
    "n_lines": pl.Int32(),
    "n_words": pl.Int32(),
    "markup_pairs": pl.List(pl.Struct({
        "question": pl.String(), "answer": pl.String(), "rule": pl.String(), "question_spans": SPANS, "answer_spans": SPANS,
    })),
}  # fmt: skip
MARKUP_REJECTS: dict[str, pl.DataType] = {name: pl.String() for name in ("page_id", "url", "rule", "reason", "detail")}
HTML_TYPES = ("text/html", "application/xhtml+xml")


def run(job: Job) -> None:
    """Reads and cleans the recalled pages, a few dozen per unit."""
    recalled = job.read("recalled_urls").sort("warc_filename", "warc_record_offset", "id")
    source = CrawlSource(job.ws.crawl_root(job.key["snapshot"]))
    job.progress.start(recalled.height, "pages")
    for number, start in enumerate(range(0, recalled.height, UNIT_PAGES)):
        name = f"{number:05d}"
        chunk = recalled.slice(start, UNIT_PAGES).to_dicts()
        job.unit(name, partial(_unit, job, source, name, chunk))
        job.progress.advance(len(chunk))
    rejects = _collect_markup_rejects(job)
    counts = ("words", "math", "dropped_blocks", "pages_with_pairs")
    job.metrics |= {name: int(job.count(name)) for name in counts}
    job.metrics["markup_pairs"] = _by_name(job, "rule_", rules.NAMES)
    job.metrics["markup_rejected"] = {
        str(reason): count for reason, count in rejects["reason"].value_counts(sort=True).iter_rows()
    }
    job.metrics["dropped_by_reason"] = _by_name(job, "drop_", DROP_REASONS)


DROP_REASONS = ("navigation", "frame", "ad", "cookie", "share", "related", "prompt", "comment", "meta", "caption", "hidden", "aside",
                "legal", "links", "outside", "empty_section", "pruned")  # fmt: skip


def _by_name(job: Job, prefix: str, names: Sequence[str]) -> dict[str, int]:
    return {name: count for name in names if (count := int(job.count(prefix + name)))}


def _unit(job: Job, source: CrawlSource, name: str, chunk: list[dict[str, Any]]) -> Unit:
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    unused: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    config = job.ws.config.pages
    for recalled in chunk:
        identity = row_id(PREFIX, recalled["id"])
        try:
            page = _clean(source, recalled, config.max_bytes, config.min_words)
        except PageRejected as rejected:
            rejects.append(Reject(identity, recalled["id"], rejected.reason, f"{rejected.detail} ({recalled['url']})"))
            continue
        rows.append(_row(identity, recalled, page))
        unused += [{"page_id": identity, "url": page.url, "rule": rule, "reason": reason, "detail": detail}
                   for rule, reason, detail in page.markup_rejects]  # fmt: skip
        counts.update(
            words=page.n_words,
            math=page.math,
            dropped_blocks=sum(page.dropped.values()),
            pages_with_pairs=bool(page.markup_pairs),
        )
        counts.update(f"rule_{pair.rule}" for pair in page.markup_pairs)
        counts.update({f"drop_{reason}": count for reason, count in page.dropped.items()})
    pl.DataFrame(unused, schema=MARKUP_REJECTS).write_parquet(_scratch(job) / f"markup-{name}.parquet")
    return Unit(rows=rows, rows_in=len(chunk), rejects=rejects, counts=counts)


def _scratch(job: Job) -> Path:
    folder = job.folder / "scratch"
    folder.mkdir(exist_ok=True)
    return folder


def _collect_markup_rejects(job: Job) -> pl.DataFrame:
    """One file of the units' unusable markup; written last, so a resumed run has all of it."""
    paths = sorted(_scratch(job).glob("markup-*.parquet"))
    rejects = pl.concat([pl.DataFrame(schema=MARKUP_REJECTS), *(pl.read_parquet(path) for path in paths)])
    rejects.write_parquet(job.folder / "markup_rejects.parquet")
    return rejects


def _clean(source: CrawlSource, recalled: dict[str, Any], max_bytes: int, min_words: int) -> Page:
    """The cleaned page of a recalled record. Raises PageRejected."""
    file, offset, length = (recalled[name] for name in ("warc_filename", "warc_record_offset", "warc_record_length"))
    try:
        record = read_record(source.read_range(file, offset, length), file, offset)
    except WebInstructError as error:
        raise PageRejected("fetch_failed", error.problem) from error
    if not _is_recalled(record, recalled["content_digest"]):
        raise PageRejected(
            "digest_mismatch", f"{file} at {offset}: not the payload {recalled['content_digest']} of the index"
        )
    return clean_record(record, recalled["url"], max_bytes=max_bytes, min_words=min_words)


def _is_recalled(record: WarcRecord, digest: str) -> bool:
    """Whether the record is the capture that the index describes.

    The digest covers what the crawler hashed: mostly the decoded payload, which is then verified byte by byte;
    for payloads stored encoded or cut, the record's own header has to do.
    """
    expected = digest.removeprefix("sha1:")
    if not expected or payload_digest(record.payload).removeprefix("sha1:") == expected:
        return True
    stored_otherwise = (
        any(record.http_header(name) for name in ("content-encoding", "transfer-encoding"))
        or "warc-truncated" in record.warc_headers
    )
    return stored_otherwise and record.payload_digest.removeprefix("sha1:") == expected


def clean_record(record: WarcRecord, url: str, *, max_bytes: int, min_words: int) -> Page:
    """The cleaned page of a WARC record. Raises PageRejected."""
    kind = record.content_type.partition(";")[0].strip().lower()
    looks = record.payload[:1024].lstrip(b"\xef\xbb\xbf \t\r\n\x00")[:15].lower()
    if kind and kind not in HTML_TYPES and not looks.startswith((b"<!doctype html", b"<html")):
        raise PageRejected("not_html", f"Content-Type {kind}")
    if looks.startswith((b"%pdf", b"\x89png", b"gif8", b"\xff\xd8\xff", b"pk\x03\x04", b"\x1f\x8b")):
        raise PageRejected("not_html", f"starts with {looks[:8]!r}")
    if len(record.payload) > max_bytes:
        raise PageRejected("too_large", f"{len(record.payload):,} bytes, limit {max_bytes:,}")
    page = extract_page(record.payload, url=url, content_type=record.content_type)
    if not page.text.strip():
        raise PageRejected("empty_page", "no text left")
    if page.n_words < min_words:
        raise PageRejected("too_few_words", f"{page.n_words} words, at least {min_words} needed")
    return page


def _row(identity: str, recalled: dict[str, Any], page: Page) -> dict[str, Any]:
    return {
        "id": identity, "parent_id": recalled["id"], "url": recalled["url"], "domain": recalled["domain"], "title": page.title,
        "language": page.language, "charset": page.charset, "text": page.text, "n_lines": len(page.lines),
        "n_words": page.n_words,
        "markup_pairs": [
            {
                "question": pair.question, "answer": pair.answer, "rule": pair.rule,
                "question_spans": span_rows(pair.question_spans), "answer_spans": span_rows(pair.answer_spans),
            }
            for pair in page.markup_pairs
        ],
    }  # fmt: skip


def span_rows(spans: Sequence[Span]) -> list[dict[str, int]]:
    """Spans as they are stored."""
    return [{"start": span.start, "end": span.end} for span in spans]


PAGES = Stage(
    asset="pages",
    dimensions=("snapshot",),
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("recalled_urls", key)],
    settings=lambda ws, key: ws.config.pages.model_dump(),
    sources=("stages/pages/*.py", "stages/pages/rules/*.py", "core/warc.py"),
)
