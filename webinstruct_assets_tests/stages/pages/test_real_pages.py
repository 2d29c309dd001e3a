"""Main text of 588 real pages against their gold snippets."""

import json
import time
from pathlib import Path

import pytest

from webinstruct_assets.stages.pages import reader
from webinstruct_assets.stages.pages.html import extract_page


def test_real_pages_main_text(shared_real: Path) -> None:
    """F1 of main text as ../shared/real/README.md defines it; also: every line and span adds up on real pages."""
    from fastwarc.warc import ArchiveIterator

    gold = {}
    for line in (shared_real / "pages/web_pages_dev.gold.jsonl").read_text().splitlines():
        entry = json.loads(line)
        gold[entry["url"]] = entry
    right = missing = wrong = pages = 0
    seconds = 0.0
    with (shared_real / "pages/web_pages_dev.warc.gz").open("rb") as stream:
        for record in ArchiveIterator(stream, parse_http=True):
            url = record.headers.get("WARC-Target-URI") or ""
            if url not in gold:
                continue
            payload = record.reader.read()
            started = time.process_time()
            page = extract_page(payload, url=url, content_type=record.http_headers.get("Content-Type"))
            seconds += time.process_time() - started
            pages += 1
            assert [page.text[line.start : line.end] for line in page.lines] == (
                page.text.split("\n") if page.lines else []
            )
            for pair in page.markup_pairs:
                assert pair.question == "\n".join(page.text[start:end] for start, end in pair.question_spans)
                assert pair.answer == "\n".join(page.text[start:end] for start, end in pair.answer_spans)
            text = " ".join(page.text.split())
            hits = [" ".join(snippet.split()) in text for snippet in gold[url]["must_contain"]]
            right += sum(hits)
            missing += len(hits) - sum(hits)
            wrong += sum(" ".join(snippet.split()) in text for snippet in gold[url]["must_not_contain"])
    precision, recall = right / (right + wrong), right / (right + missing)
    f1 = 2 * precision * recall / (precision + recall)
    print(
        f"{pages} real pages: precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}, {pages / seconds:.0f} pages/s"
    )
    assert f1 >= 0.93  # trafilatura 2.3.1's best mode has 0.919 on these pages


def test_slimming_changes_no_real_page(shared_real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out before parsing is what nothing reads: the page is the same without it."""
    from fastwarc.warc import ArchiveIterator

    slimmed, whole = reader._slimmed, (lambda source: source)
    shorter = 0
    with (shared_real / "pages/web_pages_dev.warc.gz").open("rb") as stream:
        for record in ArchiveIterator(stream, parse_http=True):
            if record.http_headers is None:
                continue
            payload = record.reader.read()
            pages = []
            for read in (slimmed, whole):
                monkeypatch.setattr(reader, "_slimmed", read)
                pages.append(
                    extract_page(
                        payload, url="https://a.example/", content_type=record.http_headers.get("Content-Type")
                    )
                )
            assert pages[0] == pages[1]
            shorter += len(slimmed(payload)) < 0.9 * len(payload)
    assert shorter > 300
