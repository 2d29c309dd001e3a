"""The user's own positive pages: JSONL and Parquet with ``text`` (and optionally ``url``), WARC and WET files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.core.json_lines import json_lines
from webinstruct_assets.core.warc import RecordReject, iter_records
from webinstruct_assets.stages.crawl.plain_text import decode_text, visible_text


@dataclass(frozen=True)
class UserPage:
    """A record: ``number`` is its line or row (from 0), in a WARC its offset (bytes)."""

    number: int
    url: str
    text: str


def read_user_pages(path: Path, on_reject: Callable[[int, str, str], None]) -> Iterator[UserPage]:
    """Pages of a file in its order; ``on_reject(number, reason, detail)`` hears of WARC records that hold none.

    Reasons: those of ``core.warc``, ``status`` (not 200), ``not_text`` (an image, a PDF and the like). Requests,
    metadata and other records that are no page are passed over. Raises MissingInput for a missing file, BadInput
    naming file, record and field for anything else.
    """
    if not path.exists():
        raise MissingInput(f"seed file {path}: no such file", "correct `seeds.user_files`, or create the file")
    if path.name.endswith(".jsonl"):
        yield from _jsonl(path)
    elif path.name.endswith(".parquet"):
        yield from _parquet(path)
    elif path.name.endswith((".warc", ".warc.gz", ".wet", ".wet.gz")):
        yield from _warc(path, on_reject)
    else:
        raise BadInput(
            f"seed file {path}: unknown format {path.suffix!r}",
            "use .jsonl, .parquet, .warc(.gz) or .wet(.gz)",
        )


def _jsonl(path: Path) -> Iterator[UserPage]:
    for line, record in json_lines(path):
        where = f"seed file {path}, line {line}"
        if isinstance(record, ValueError):
            raise BadInput(f"{where}: not JSON: {record}", "correct that line")
        if not isinstance(record, dict) or not isinstance(record.get("text"), str):
            found = ", ".join(record) if isinstance(record, dict) else type(record).__name__
            raise BadInput(f"{where}: no string field 'text' (found: {found})", "name the page's text `text`")
        url = record.get("url")
        if not isinstance(url, str | None):
            raise BadInput(f"{where}: field 'url' is no string", "give a URL, or leave it out")
        yield UserPage(line - 1, url or "", record["text"])


def _parquet(path: Path) -> Iterator[UserPage]:
    try:
        schema = pl.read_parquet_schema(path)
        if schema.get("text") != pl.String():
            raise BadInput(
                f"seed file {path}: no string field 'text' (fields: {', '.join(schema)})",
                "name the page's text `text`",
            )
        names = [name for name in ("url", "text") if schema.get(name) == pl.String()]
        frame = pl.read_parquet(path, columns=names)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"seed file {path}: {error}", "correct the file") from error
    for number, row in enumerate(frame.iter_rows(named=True)):
        yield UserPage(number, row.get("url") or "", row["text"] or "")


def _warc(path: Path, on_reject: Callable[[int, str, str], None]) -> Iterator[UserPage]:
    def unreadable(reject: RecordReject) -> None:
        on_reject(reject.offset, reject.reason, f"{path.name}@{reject.offset}: {reject.detail}")

    with path.open("rb") as stream:
        for record in iter_records(
            stream, str(path), on_reject=unreadable, types=("response", "resource", "conversion")
        ):
            if record.type == "conversion":
                yield UserPage(record.offset, record.url, record.payload.decode("utf-8", "replace"))
                continue
            if record.type == "response" and record.http_status != 200:
                on_reject(record.offset, "status", f"{record.http_status} {record.url}")
                continue
            kind = (record.http_header("content-type") or record.content_type).partition(";")[0].strip().lower()
            if kind not in ("", "text/html", "application/xhtml+xml", "text/plain"):
                on_reject(record.offset, "not_text", f"{kind} {record.url}")
                continue
            text, _ = decode_text(record.payload, record.http_header("content-type") or record.content_type)
            yield UserPage(record.offset, record.url, text if kind == "text/plain" else visible_text(text))
