"""``webinstruct report``: what it shows, and that hostile pages stay text, over HTTP and in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.report import Report, highlighted, report_app
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets_tests.conftest import webinstruct
from webinstruct_assets_tests.partitions import filled, publish
from webinstruct_assets_tests.services import chromium, serving

KEY = PartitionKey.of({"snapshot": "local-test"})
HOSTILE = "What is 1 < 2?\n<script>document.title = 'owned'</script>\n<img src=x onerror=\"document.title='owned'\">"


@pytest.fixture
def workspace_with_pairs(workspace: Workspace) -> Workspace:
    address = "https://a.example/<script>alert(1)</script>"
    place = {"warc_filename": "none.warc.gz", "warc_record_length": 10}
    publish(workspace, RECALLED_URLS, KEY, [filled(RECALLED_URLS, id="ru-1", url=address, **place)])
    publish(workspace, PAGES, KEY, [
        filled(PAGES, id="pg-00", parent_id="ru-1", url=address, domain="a.example", title="<b>Bold & title</b>", text=HOSTILE),
        filled(PAGES, id="pg-01", parent_id="ru-1", url="https://b.example/", domain="b.example", title="Quiet", text="Nothing."),
    ])  # fmt: skip
    spans = {"question_spans": [{"start": 0, "end": 14}], "answer_spans": [{"start": 15, "end": len(HOSTILE)}]}
    quoted = {"question": HOSTILE[:14], "answer": HOSTILE[15:], "rule": "marked", **spans}
    retyped = {"question": "Invented?", "answer": "<i>Yes</i>", "rule": "llm_rewrite"}
    publish(workspace, EXTRACTED_QA, KEY, [
        filled(EXTRACTED_QA, id="qa-1", parent_id="pg-00", kind="solution", **quoted),
        filled(EXTRACTED_QA, id="qa-2", parent_id="pg-00", kind="solution", **retyped),
    ])  # fmt: skip
    return workspace


@pytest.fixture
def served(workspace_with_pairs: Workspace) -> Iterator[str]:
    with serving(report_app(Report(workspace_with_pairs, KEY))) as url:
        yield url


def test_pages_of_the_report(served: str) -> None:
    index = httpx.get(served)
    assert "&lt;b&gt;Bold &amp; title&lt;/b&gt;" in index.text and 'href="/page/pg-00"' in index.text
    assert "pg-01" not in httpx.get(f"{served}/?rule=marked").text
    assert "pg-00" not in httpx.get(f"{served}/?rule=none").text
    page = httpx.get(f"{served}/page/pg-00")
    for answer in (index, page):
        assert not re.search(r"<(?:script|img|iframe|b|i)\b", answer.text)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src" not in policy and "frame-ancestors 'none'" in policy
    assert '<mark class="q" title="question 1">What is 1 &lt; 2?</mark>' in page.text
    assert "not readable" in page.text and page.text.count("not on the page") == 1
    assert httpx.get(f"{served}/page/pg-ff").status_code == 404
    assert httpx.get(f"{served}/../../etc/passwd").status_code == 404


def test_other_host_names_are_refused(served: str) -> None:
    assert httpx.get(served, headers={"Host": "evil.example:80"}).status_code == 400


def test_nothing_is_written(served: str) -> None:
    assert httpx.post(served).status_code == httpx.post(f"{served}/page/pg-00").status_code == 405


def test_spans_of_several_pairs_may_overlap() -> None:
    stem, first, second = {"start": 0, "end": 4}, {"start": 5, "end": 6}, {"start": 7, "end": 8}
    pairs = [{"question_spans": [stem, part], "answer_spans": []} for part in (first, second)]
    shown = highlighted("stem a b <", pairs)
    assert '<mark class="q" title="question 1, question 2">stem</mark>' in shown
    assert re.sub(r"<[^>]+>", "", shown) == "stem a b &lt;"


@pytest.mark.browser
def test_hostile_pages_stay_text_in_a_browser(served: str) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(served)
        page.get_by_role("link", name="<b>Bold & title</b>").click()
        page.get_by_text("document.title = 'owned'").first.wait_for()
        assert page.title() == "<b>Bold & title</b>"
        assert page.locator("script, img, iframe").count() == 0
        assert (
            page.locator("mark.a").first.evaluate("mark => getComputedStyle(mark).backgroundColor")
            == "rgb(211, 242, 207)"
        )
        assert all(url.startswith(served) for url in asked), asked


def test_a_snapshot_that_is_not_there_is_named_with_a_fix(home: Path) -> None:
    answer = webinstruct(home, "report", "local-test", check=False)
    assert answer.returncode == 1 and "extracted_qa" in answer.stderr and "fix:" in answer.stderr
