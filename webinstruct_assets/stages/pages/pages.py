"""Asset ``pages``: cleaned text of the recalled pages, with the pairs that need no model.

In: ``recalled_urls``; each record is read from its WARC file by offset and length. Out: one row per page.
Rejects: ``fetch_failed`` (not readable at that offset), ``digest_mismatch`` (not the page that was recalled),
``not_html``, ``too_large``, ``empty_page`` (no text left), ``too_few_words``, ``unknown_charset``, ``undecodable``,
``too_slow``.

Markup that could not be used (``markup_not_on_page``, ``markup_unreadable``) concerns a pair, not a page, so it
takes no part in the conservation of pages: it is a row of ``markup_rejects-<unit>.parquet`` beside the parts
(``page_id``, ``url``, ``rule``, ``reason``, ``detail``), and counted in the metrics.

Columns: ``id``; ``parent_id`` (row of ``recalled_urls``); ``url``; ``domain`` (registrable); ``title``;
``language`` (ISO 639-1); ``charset`` (codec used); ``text`` (Markdown-like lines); ``n_lines``; ``n_words``;
``markup_pairs`` (question, answer, rule, and their spans: character offsets into ``text``, end exclusive);
``posts`` of a thread (author, time as shown, votes, accepted, spans; empty for other pages).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import polars as pl

from webinstruct_assets.core.config import PagesConfig
from webinstruct_assets.core.errors import BadInput, MissingInput, WebInstructError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.warc import WarcRecord, payload_digest, read_record
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.pages.document import Page, PageRejected
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets.stages.pages.schema import SPANS, span_rows

PREFIX = "pg"
UNIT_PAGES = 64
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
    "posts": pl.List(pl.Struct({
        "author": pl.String(), "time": pl.String(), "votes": pl.Int64(), "accepted": pl.Boolean(), "spans": SPANS,
    })),
}  # fmt: skip
MARKUP_REJECTS: dict[str, pl.DataType] = {name: pl.String() for name in ("page_id", "url", "rule", "reason", "detail")}
HTML_TYPES = ("text/html", "application/xhtml+xml")


def run(job: Job) -> None:
    """Reads and cleans the recalled pages, a few dozen per unit."""
    recalled = job.read("recalled_urls").sort("warc_filename", "warc_record_offset", "id")
    starts = range(0, recalled.height, UNIT_PAGES)
    units = {f"{number:05d}": recalled.slice(start, UNIT_PAGES) for number, start in enumerate(starts)}
    job.map(
        partial(_unit, CrawlSource.of(job.ws, job.key["snapshot"]), job.ws.config.pages),
        {name: (name, chunk.to_dicts()) for name, chunk in units.items()},
        noun="pages",
        sizes={name: chunk.height for name, chunk in units.items()},
    )
    counts = ("words", "math", "dropped_blocks", "pages_with_pairs")
    job.metrics |= {name: int(job.count(name)) for name in counts}
    by_name = {"markup_pairs": "rule_", "markup_rejected": "unused_", "dropped_by_reason": "drop_"}
    job.metrics |= {metric: _by_name(job, prefix) for metric, prefix in by_name.items()}


def _by_name(job: Job, prefix: str) -> dict[str, int]:
    """The counts ``<prefix><name>`` that are not 0, by name."""
    return {
        name.removeprefix(prefix): int(count) for name, count in job.counts.items() if name.startswith(prefix) and count
    }


def _unit(source: CrawlSource, config: PagesConfig, argument: tuple[str, list[dict[str, Any]]]) -> Unit:
    name, chunk = argument
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    unused: list[dict[str, str]] = []
    counts: Counter[str] = Counter()
    for recalled, data in records_of(source, chunk):
        identity = row_id(PREFIX, recalled["id"])
        try:
            page = _clean(data, recalled, config.max_bytes, config.min_words)
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
        counts.update(f"unused_{reason}" for _, reason, _ in page.markup_rejects)
    return Unit(
        rows=rows,
        rows_in=len(chunk),
        rejects=rejects,
        counts=counts,
        files={f"markup_rejects-{name}.parquet": pl.DataFrame(unused, schema=MARKUP_REJECTS)} if unused else {},
    )


Fetched = bytes | WebInstructError


def records_of(source: CrawlSource, chunk: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Fetched]]:
    """Recalled rows, sorted by file and offset, each with the bytes at its place or the reason why there are none.

    Raises Unavailable where the server does not answer: that is no fault of the pages.
    """
    for file, group in groupby(chunk, key=itemgetter("warc_filename")):
        rows = list(group)
        places = [(row["warc_record_offset"], row["warc_record_length"]) for row in rows]
        done = 0
        try:
            for data in source.read_ranges(file, places):
                missing = places[done][1] - len(data)
                cut = BadInput(f"{file}: ends {missing} bytes before the end of this record", "fetch it again")
                yield rows[done], cut if missing else data
                done += 1
        except (BadInput, MissingInput) as error:
            yield from ((row, error) for row in rows[done:])


def _clean(data: Fetched, recalled: dict[str, Any], max_bytes: int, min_words: int) -> Page:
    """The cleaned page of a recalled record. Raises PageRejected."""
    file, offset = recalled["warc_filename"], recalled["warc_record_offset"]
    try:
        if isinstance(data, WebInstructError):
            raise data
        record = read_record(data, file, offset)
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
        "posts": [
            {
                "author": post.author, "time": post.time, "votes": post.votes, "accepted": post.accepted,
                "spans": span_rows(post.spans),
            }
            for post in page.posts
        ],
    }  # fmt: skip


PAGES = Stage(
    asset="pages",
    dimensions=("snapshot",),
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("recalled_urls", key)],
    settings=lambda ws, key: ws.config.pages.model_dump(),
    sources=(
        "stages/pages/*.py",
        "stages/pages/rules/*.py",
        "stages/crawl/source.py",
        "stages/crawl/transport.py",
        "core/warc.py",
    ),
)
