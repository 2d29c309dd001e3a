"""A page as a crawler fetched it, and what its bytes tell: media type, encoding, digest, text."""

import re
from dataclasses import dataclass

from webinstruct_assets.core.warc import payload_digest
from webinstruct_assets.stages.crawl.plain_text import decode_text, visible_text


@dataclass(frozen=True, slots=True)
class Capture:
    """A page as fetched with status 200.

    ``date``: ``YYYY-MM-DDTHH:MM:SSZ``. ``headers``: the response's HTTP headers. ``payload``: the body
    without transfer and content encoding. ``record_id``: ``<urn:uuid:…>`` of the response record, "" to have
    one made. ``languages``: ISO 639-3, comma-separated, "" where not identified. ``request``: whether to
    write a request record too (with a crawler's usual headers). ``truncated``: the original's WARC-Truncated.
    """

    url: str
    date: str
    headers: tuple[tuple[str, str], ...]
    payload: bytes
    record_id: str = ""
    languages: str = ""
    request: bool = False
    truncated: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """What is found out about a capture's content; empty strings where nothing is."""

    digest: str
    mime: str
    detected: str
    charset: str
    text: str

    @property
    def is_text(self) -> bool:
        return self.detected in ("text/html", "application/xhtml+xml", "text/plain")

    @classmethod
    def of(cls, capture: Capture) -> "Page":
        content_type = next((value for name, value in capture.headers if name.lower() == "content-type"), "")
        mime = content_type.partition(";")[0].strip().lower()
        page = cls(payload_digest(capture.payload), mime, detect_mime(capture.payload, mime), "", "")
        if not page.is_text:
            return page
        text, charset = decode_text(capture.payload, content_type)
        if page.detected != "text/plain":
            text = visible_text(text)
        return cls(page.digest, mime, page.detected, charset, text)


_MAGIC = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"PK\x03\x04", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
)
_HTML = re.compile(
    rb"\s*(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body|title|meta|h1|div|p|table)\b",
    re.IGNORECASE | re.DOTALL,
)


def detect_mime(payload: bytes, declared: str) -> str:
    """Media type by content where it shows there, else as declared, else ``application/octet-stream``."""
    head = payload[:4096].removeprefix(b"\xef\xbb\xbf")
    for magic, mime in _MAGIC:
        if head.startswith(magic):
            return mime
    if declared in ("text/html", "application/xhtml+xml"):
        return declared
    # Only where a server is vague: XML and JSON documents may hold markup too.
    if declared in ("", "text/plain", "application/octet-stream") and _HTML.match(head):
        return "text/html"
    return declared or "application/octet-stream"
