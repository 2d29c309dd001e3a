"""One WET file through the scan: the same as page by page, and nothing lost."""

import gzip
import random
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core.config import FastTextConfig
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.stage import Reject
from webinstruct_assets.core.unit import Ledger
from webinstruct_assets.core.urls import registrable_domain
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import WetFile, read_wet
from webinstruct_assets.stages.recall.classifier import POSITIVE, train
from webinstruct_assets.stages.recall.scan import SCHEMA, score_file
from webinstruct_assets.stages.recall.scorer import FastTextScorer

FILE = WetFile("ci-1", "a.warc.wet.gz", "a.warc.gz")
WORDS = {"positive": ["question", "answer", "solve", "exam"], "negative": ["news", "sale", "weather", "match"]}
COMMON = ["the", "of", "and", "a"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    chooser = random.Random(0)
    pages = [(label, " ".join(chooser.choices(WORDS[label] + COMMON, k=30))) for label in WORDS for _ in range(60)]
    config = FastTextConfig(dim=16, epochs=10, lr=0.5, word_ngrams=2, min_count=1, buckets=5000)
    train(pages, folder / "model.bin", config, folder / "scratch")
    return folder / "model.bin"


def member(url: str, body: bytes, declared: int | None = None) -> bytes:
    head = (
        f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2026-01-02T03:04:05Z\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(body) if declared is None else declared}\r\n\r\n"
    )
    return gzip.compress(head.encode() + body + b"\r\n\r\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A crawl of one file: 400 pages, some odd, one of them unreadable."""
    chooser = random.Random(1)
    parts = []
    for number in range(400):
        words = chooser.choices([*WORDS["positive"], *WORDS["negative"], *COMMON, "naïve", "\u3000", "漢字"], k=12)
        text = "".join(word + chooser.choice([" ", "\n", "\t", "\n\n"]) for word in words)
        body = text.encode()
        if number % 50 == 0:
            body = b"question \xff\xfe answer solve\nexam \xc3"
        if number % 70 == 3:
            body = chooser.choice([b"", b"\n", b" \n "])
        parts.append(member(f"http://www.h{number % 90}.example.co.uk/{number}?x=é", body))
    parts.insert(200, member("http://bad.example/", b"too short", declared=99))
    (tmp_path / FILE.path).write_bytes(b"".join(parts))
    return tmp_path


def test_it_is_what_page_by_page_gives(model: Path, root: Path) -> None:
    scorer = FastTextScorer.load(model, POSITIVE)
    unreadable: list[Reject] = []
    pages = list(read_wet(CrawlSource(str(root)), FILE, "r1", unreadable))
    scores = scorer.score([page.text for page in pages])
    threshold = float(sorted(scores)[250])
    unit = score_file(CrawlSource(str(root)), model, threshold, "r1", FILE)
    rows = unit.rows if isinstance(unit.rows, pl.DataFrame) else pl.DataFrame()
    rejects = unit.rejects if isinstance(unit.rejects, pl.DataFrame) else pl.DataFrame()

    assert len(unreadable) == 1 and unit.counts["pages"] == 400 and unit.rows_in == 401
    assert rows.schema == pl.Schema(SCHEMA)
    kept = {page.offset: (page, score) for page, score in zip(pages, scores, strict=True) if score >= threshold}
    assert rows["offset"].to_list() == sorted(kept) and 100 < len(kept) < 200
    for row in rows.iter_rows(named=True):
        page, score = kept[row["offset"]]
        assert row == {
            "id": row_id("r1", FILE.id, page.offset),
            "parent_id": FILE.id,
            "url": page.url,
            "domain": registrable_domain(page.url),
            "title": page.text.strip().partition("\n")[0][:120],
            "score": pytest.approx(score, abs=1e-6),
            "offset": page.offset,
            "date": "2026-01-02T03:04:05Z",
            "warc_path": "a.warc.gz",
            "text": page.text.replace("\n", " "),
        }
    below = {
        row_id("r1", FILE.id, page.offset): f"{score:.4f} @{page.offset}"
        for page, score in zip(pages, scores, strict=True)
        if score < threshold
    }
    by_reason = rejects.partition_by("reason", as_dict=True)
    found = by_reason[("below_threshold",)]
    assert found["id"].to_list() == list(below) and set(found["parent_id"]) == {FILE.id}
    for row in found.iter_rows(named=True):
        score, offset = row["detail"].split(" @")
        assert offset == below[row["id"]].split(" @")[1]
        assert float(score) == pytest.approx(float(below[row["id"]].split(" @")[0]), abs=2e-4)
    others = rejects.filter(pl.col("reason") != "below_threshold")
    assert others.to_dicts() == [vars(reject) for reject in unreadable]
    domains = unit.files[f"domains-{FILE.unit}.parquet"]
    assert isinstance(domains, pl.DataFrame) and domains["pages"].sum() == 400
    assert dict(domains.iter_rows()) == {f"h{number}.example.co.uk".partition(".")[2]: 400 for number in (0,)}


def test_the_same_bytes_every_time(model: Path, root: Path, tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ledger = Ledger(tmp_path / name, "recall", SCHEMA, Lake(tmp_path), None)
        entry = ledger.compute(FILE.unit, partial(score_file, CrawlSource(str(root)), model, 0.5, "r1", FILE))
        digests.append([part.sha256 for part in entry.all_files])
    assert digests[0] == digests[1] and len(digests[0]) == 3


def test_a_file_without_pages(model: Path, tmp_path: Path) -> None:
    (tmp_path / FILE.path).write_bytes(
        gzip.compress(b"WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 0\r\n\r\n\r\n\r\n")
    )
    unit = score_file(CrawlSource(str(tmp_path)), model, 0.5, "r1", FILE)
    assert unit.rows_in == 0 and unit.counts["pages"] == 0
    Ledger(tmp_path, "recall", SCHEMA, Lake(tmp_path), None).compute(FILE.unit, lambda: unit)
