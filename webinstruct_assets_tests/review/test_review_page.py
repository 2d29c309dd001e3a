"""The review page: a real server and a real browser on a small published sample, then the asset reads the verdicts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.review.difference import difference, marked
from webinstruct_assets.review.server import review_app
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA
from webinstruct_assets.stages.review import reviews
from webinstruct_assets.stages.review.quality_review import QUALITY_REVIEW
from webinstruct_assets_tests.partitions import filled, publish
from webinstruct_assets_tests.services import chromium, serving

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
TOKEN = "the-token"
HOSTILE = "What is <img src=x onerror=alert(1)> 2 + 2?</script><script>document.title='owned'</script>"


def publish_pairs(ws: Workspace) -> None:
    text = f"Menu\n{HOSTILE}\nIt is 4.\nNext"
    question = [{"start": text.index(HOSTILE), "end": text.index(HOSTILE) + len(HOSTILE)}]
    answer = [{"start": text.index("It is"), "end": text.index("It is") + 8}]
    spans = {"question_spans": question, "answer_spans": answer}
    publish(ws, PAGES, SNAPSHOT, [filled(PAGES, id="pg-1", text=text)])
    extracted = [filled(EXTRACTED_QA, id=f"qa-{n}", parent_id="pg-1", **spans) for n in range(3)]
    publish(ws, EXTRACTED_QA, SNAPSHOT, extracted)
    clean = [filled(DECONTAMINATED_QA, id=f"dq-{n}", parent_id=f"qa-{n}", **spans) for n in range(3)]
    publish(ws, DECONTAMINATED_QA, SNAPSHOT, clean)
    single = [filled(DEDUPLICATED_QA, id=f"dd-{n}", parent_id=f"dq-{n}", **spans) for n in range(3)]
    publish(ws, DEDUPLICATED_QA, SNAPSHOT, single)
    for refiner in ws.config.refiners:
        rows = [
            filled(REFINED_QA, id=f"rq-{refiner}-{n}", parent_id=f"dd-{n}", url="https://x.example/", status="refined",
                   question=f"{HOSTILE} ({n})", answer="It is $4$.", original_question=HOSTILE, original_answer="It is 4.")
            for n in range(3)
        ]  # fmt: skip
        publish(ws, REFINED_QA, PartitionKey.of({"refiner": refiner, "snapshot": "local-demo"}), rows)


def build(ws: Workspace) -> Manifest:
    return execute(QUALITY_REVIEW, SNAPSHOT, ws, log=print, run_id="test")


@pytest.fixture
def page(workspace: Workspace) -> Iterator[str]:
    publish_pairs(workspace)
    assert build(workspace).metrics["note"].startswith("nobody has reviewed")
    with serving(review_app(workspace, "local-demo", "ada", TOKEN)) as url:
        yield url


def verdicts(ws: Workspace) -> list[reviews.Review]:
    return [
        item for path in reviews.files(ws.path(ws.config.review.folder), "local-demo") for item in reviews.read(path)
    ]


@pytest.mark.browser
def test_reviewing_with_clicks_and_keys(page: str, workspace: Workspace, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    with chromium() as browser:
        tab = browser.new_page(viewport={"width": 1500, "height": 900})
        problems: list[str] = []
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("dialog", lambda dialog: problems.append(dialog.message))
        tab.goto(f"{page}/?token={TOKEN}")
        state = tab.locator("#state")
        assert state.text_content() == "0 of 6 reviewed"
        assert tab.title() == "Review local-demo"
        here = tab.locator("section.here")
        assert here.locator(".excerpt .q").text_content() == HOSTILE
        assert here.locator(".excerpt .a").text_content() == "It is 4."
        assert here.locator(".diff ins").first.text_content() is not None
        here.get_by_role("button", name="wrong answer").click()
        expect(state).to_have_text("1 of 6 reviewed")
        tab.keyboard.press("n")
        tab.keyboard.type("1 looks fine")  # a digit inside a note is no verdict
        tab.keyboard.press("Escape")
        tab.keyboard.press("1")
        expect(state).to_have_text("2 of 6 reviewed")
        tab.keyboard.press("ArrowLeft")
        tab.keyboard.press("2")  # a changed mind
        expect(tab.locator("section").nth(1)).to_have_attribute("data-given", "correct_unchanged")
        tab.screenshot(path=tmp_path / "review.png")
        tab.reload()
        assert state.text_content() == "2 of 6 reviewed"
        assert tab.locator("section.here").get_attribute("aria-label") == "pair 3"  # the first without a verdict
    assert problems == []
    given = verdicts(workspace)
    assert [item.category for item in given] == ["wrong_answer", "correct_enhanced", "correct_unchanged"]
    assert given[1].note == given[2].note == "1 looks fine"

    manifest = build(workspace)
    assert manifest.metrics["reviewed"] == 2 and manifest.metrics["reviewers"] == {"ada": 2}
    shares = manifest.metrics["shares"]
    assert shares["wrong_answer"]["share"] == shares["correct_unchanged"]["share"] == 0.5
    assert 0.09 < shares["wrong_answer"]["low"] < shares["wrong_answer"]["high"] < 0.91
    assert manifest.metrics["note"] == ""


def test_two_reviewers_and_a_pair_that_was_refined_anew(page: str, workspace: Workspace) -> None:
    folder = workspace.path(workspace.config.review.folder)
    rows = workspace.lake.read(build(workspace)).to_dicts()
    for reviewer, categories in (("ada", "abc"), ("bob", "abd")):
        names = dict(zip("abcd", reviews.CATEGORIES, strict=False))
        for row, letter in zip(rows, categories, strict=False):
            content = reviews.content_digest(row["question"], row["answer"])
            reviews.append(folder, "local-demo", reviews.Review.model_validate({
                "pair": row["parent_id"], "content": content, "category": names[letter], "reviewer": reviewer, "at": reviews.now(),
            }))  # fmt: skip
    stale = reviews.Review(
        pair=rows[5]["parent_id"], content="older text", category="wrong_answer", reviewer="ada", at=reviews.now()
    )
    reviews.append(folder, "local-demo", stale)
    metrics = build(workspace).metrics
    assert metrics["reviewed"] == 3 and metrics["disputed"] == 1
    assert metrics["agreement"] == [{"reviewers": ["ada", "bob"], "kappa": pytest.approx(4 / 7, abs=1e-3), "pairs": 3}]


def post(page: str, **changes: Any) -> httpx.Response:
    request: dict[str, Any] = {
        "headers": {"X-Review-Token": TOKEN},
        "json": {"pair": "rq-smollm2-format-0", "category": "wrong_answer"},
    }
    return httpx.post(f"{page}/reviews", **{**request, **changes})


def test_only_the_page_itself_can_write(page: str, workspace: Workspace) -> None:
    assert post(page, headers={}).status_code == 403
    assert post(page, headers={"X-Review-Token": "guess"}).status_code == 403
    assert post(page, headers={"X-Review-Token": TOKEN, "Host": "evil.example"}).status_code == 400
    assert httpx.get(f"{page}/").status_code == 403
    assert httpx.get(f"{page}/reviews?token={TOKEN}").status_code == 405
    answer = post(page, json={"pair": "rq-none", "category": "wrong_answer"})
    assert answer.status_code == 422 and "rq-none" in answer.json()["problem"]
    answer = post(page, json={"pair": "rq-smollm2-format-0", "category": "fine"})
    assert answer.status_code == 422 and "category" in answer.json()["problem"]
    assert (
        post(page, json={"pair": "rq-smollm2-format-0", "category": "wrong_answer", "note": "x" * 3000}).status_code
        == 422
    )
    assert post(page, json=None, content=b"[" * 200_000).status_code == 413
    assert post(page, json=[1]).status_code == 422
    assert verdicts(workspace) == []
    assert post(page).status_code == 201
    assert len(verdicts(workspace)) == 1


def test_difference_gives_both_texts_back() -> None:
    before, after = "How many  legs has it ?", "How many legs does it have?"
    pieces = difference(before, after)
    assert "".join(text for kind, text in pieces if kind != "added") == before
    assert "".join(text for kind, text in pieces if kind != "removed") == after
    assert {kind for kind, _ in pieces} == {"same", "added", "removed"}


def test_marked_covers_the_text_once() -> None:
    spans = {"q": [{"start": 1, "end": 3}], "a": [{"start": 2, "end": 5}]}
    assert marked("abcdef", spans) == [("", "a"), ("q", "b"), ("q a", "c"), ("a", "de"), ("", "f")]
