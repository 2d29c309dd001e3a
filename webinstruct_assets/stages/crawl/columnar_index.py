"""Rows of the columnar index that Common Crawl keeps beside its WARC files, for snapshots of our own.

In: captures and where their records lie. Out: one Parquet file, sorted by URL; ``index`` looks pages up in it.

Source: https://github.com/commoncrawl/cc-index-table (schema).
"""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from webinstruct_assets.core.urls import host_of, public_suffixes
from webinstruct_assets.stages.crawl.capture import Capture, Page

INDEX_BATCH = 10_000  # index rows held as Python objects before they become columns

# The flat schema of the columnar index; ``crawl`` and ``subset`` are folders.
INDEX_SCHEMA: dict[str, pl.DataType] = {
    "url_surtkey": pl.String(),
    "url": pl.String(),
    "url_host_name": pl.String(),
    "url_host_tld": pl.String(),
    "url_host_2nd_last_part": pl.String(),
    "url_host_3rd_last_part": pl.String(),
    "url_host_4th_last_part": pl.String(),
    "url_host_5th_last_part": pl.String(),
    "url_host_registry_suffix": pl.String(),
    "url_host_registered_domain": pl.String(),
    "url_host_private_suffix": pl.String(),
    "url_host_private_domain": pl.String(),
    "url_host_name_reversed": pl.String(),
    "url_protocol": pl.String(),
    "url_port": pl.Int32(),
    "url_path": pl.String(),
    "url_query": pl.String(),
    "fetch_time": pl.Datetime("ms", "UTC"),
    "fetch_status": pl.Int16(),
    "fetch_redirect": pl.String(),
    "content_digest": pl.String(),
    "content_mime_type": pl.String(),
    "content_mime_detected": pl.String(),
    "content_charset": pl.String(),
    "content_languages": pl.String(),
    "content_truncated": pl.String(),
    "warc_filename": pl.String(),
    "warc_record_offset": pl.Int32(),
    "warc_record_length": pl.Int32(),
    "warc_segment": pl.String(),
}


class ColumnarIndex:
    """The index of a snapshot in the making: a row per response record, kept as columns until all are written."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._frames = [pl.DataFrame(schema=INDEX_SCHEMA)]

    def add(self, capture: Capture, page: Page, path: str, segment: str, offset: int, length: int) -> None:
        """A capture whose response record is the ``length`` bytes at ``offset`` of the WARC file ``path``."""
        self._rows.append(_row(capture, page, path, segment, offset, length))
        if len(self._rows) >= INDEX_BATCH:
            self._pack()

    def _pack(self) -> None:
        self._frames.append(pl.DataFrame(self._rows, schema=INDEX_SCHEMA))
        self._rows = []

    def save(self, path: Path) -> None:
        """Writes the rows in the index's order."""
        self._pack()
        path.parent.mkdir(parents=True, exist_ok=True)
        keys = ["url_surtkey", "fetch_time", "warc_filename", "warc_record_offset"]
        frame = pl.concat(self._frames).sort(keys)
        frame.write_parquet(path, compression="gzip")


def surt_key(url: str) -> str:
    """The URL with its host turned round, for sorting: ``https://www.a.org/B?c=D`` -> ``org,a)/b?c=d``.

    The everyday part of the canonicalization that the Internet Archive's index keys use: lower case, without
    scheme, ``www.``, default port and fragment, query parameters sorted.
    """
    parts = urlsplit(url)
    host = re.sub(r"^www\d*\.", "", host_of(url))
    turned = host if _is_ip(host) else ",".join(reversed(host.split(".")))
    port = _port(url)
    if port is not None and port != {"http": 80, "https": 443}.get(parts.scheme):
        turned += f":{port}"
    query = "&".join(sorted(parts.query.lower().split("&"))) if parts.query else ""
    path = parts.path.lower() or "/"
    if len(path) > 1:
        path = path.removesuffix("/")
    return f"{turned}){path}" + (f"?{query}" if query else "")


def _is_ip(host: str) -> bool:
    return ":" in host or bool(re.fullmatch(r"\d+(\.\d+){3}", host))


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        return None


def _row(capture: Capture, page: Page, path: str, segment: str, offset: int, length: int) -> dict[str, Any]:
    parts = urlsplit(capture.url)
    host = host_of(capture.url)
    labels = [] if _is_ip(host) else host.split(".")[::-1]
    return {
        "url_surtkey": surt_key(capture.url),
        "url": capture.url,
        "url_host_name": host,
        "url_host_tld": labels[0] if labels else None,
        **{
            f"url_host_{name}_last_part": labels[place] if place < len(labels) else None
            for place, name in enumerate(("2nd", "3rd", "4th", "5th"), start=1)
        },
        **_domains(host),
        "url_host_name_reversed": ".".join(labels) or None,
        "url_protocol": parts.scheme,
        "url_port": _port(capture.url),
        "url_path": parts.path,
        "url_query": parts.query or None,
        "fetch_time": datetime.fromisoformat(capture.date).astimezone(UTC),
        "fetch_status": 200,
        "fetch_redirect": None,
        "content_digest": page.digest.removeprefix("sha1:"),
        "content_mime_type": page.mime or None,
        "content_mime_detected": page.detected,
        "content_charset": page.charset or None,
        "content_languages": capture.languages or None,
        "content_truncated": capture.truncated or None,
        "warc_filename": path,
        "warc_record_offset": offset,
        "warc_record_length": length,
        "warc_segment": segment,
    }


def _domains(host: str) -> dict[str, str | None]:
    """Suffixes and domains by the public-suffix list, without and with its private part."""
    found: dict[str, str | None] = {}
    for name, private in (("registry", False), ("private", True)):
        suffix, domain = _suffix_and_domain(host, private)
        found[f"url_host_{name}_suffix"] = suffix
        found["url_host_registered_domain" if name == "registry" else "url_host_private_domain"] = domain
    return found


def _suffix_and_domain(host: str, private: bool) -> tuple[str | None, str | None]:
    if _is_ip(host) or "." not in host:
        return None, None
    parts = public_suffixes()(host, include_psl_private_domains=private)
    if parts.suffix:
        return parts.suffix, f"{parts.domain}.{parts.suffix}" if parts.domain else None
    # A top-level domain that is on no list (.example): the list's own rule is to take the last label.
    labels = host.split(".")
    return labels[-1], ".".join(labels[-2:])
