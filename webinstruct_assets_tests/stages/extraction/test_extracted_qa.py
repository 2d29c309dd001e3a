"""The asset ``extracted_qa``: which pages the LLM sees, conservation over pages, and a run on the real model."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.checks import not_verbatim
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.batches import answered
from webinstruct_assets.core.llm.client import LlmClient
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.extracted_qa import (
    EXTRACTED_QA,
    _Extracting,
    _Page,
    _plan,
    _rows,
    page_budget,
    unexplained,
)
from webinstruct_assets.stages.extraction.lines import Cut, line_spans
from webinstruct_assets.stages.extraction.prompt import load_prompt
from webinstruct_assets.stages.extraction.reading import LlmPair, Reading
from webinstruct_assets.stages.pages.document import Span
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.pages.schema import span_rows

PAIR = '{"pairs":[{"question":"2","answer":"3","kind":"solution"}]}'
KEY = PartitionKey.of({"snapshot": "local-test"})
SOURCES = {
    "faq": "<h2>What is a prime number?</h2><p>One with two divisors.</p><h2>Is one a prime number?</h2><p>No.</p>",
    "news": "<h1>Frost</h1><p>The orchards of the valley were hit by frost last night, say the farmers.</p>",
    "open": "<h1>Kettle</h1><p>How long does a kettle of 2 kW need to boil one litre?</p><p>About three minutes, as you can work out.</p>",
}


def publish_pages(workspace: Workspace) -> None:
    rows = []
    for name, html in SOURCES.items():
        url = f"https://{name}.example/"
        page = extract_page(html.encode(), url=url)
        rows.append({
            "id": row_id("pg", name), "parent_id": "ur-x", "url": url, "domain": f"{name}.example", "title": page.title,
            "language": page.language, "charset": page.charset, "text": page.text, "n_lines": len(page.lines), "n_words": page.n_words,
            "markup_pairs": [
                {"question": pair.question, "answer": pair.answer, "rule": pair.rule,
                 "question_spans": span_rows(pair.question_spans), "answer_spans": span_rows(pair.answer_spans)}
                for pair in page.markup_pairs
            ],
        })  # fmt: skip

    def run(job: Job) -> None:
        job.unit("rows", lambda: Unit(rows=rows, rows_in=len(rows)))

    execute(replace(PAGES, run=run, inputs=lambda ws, key: []), KEY, workspace, log=lambda line: None, run_id="test")


def with_extraction(home: Path, **changes: object) -> Workspace:
    """The demo environment with changed extraction settings."""
    path = home / "config/environments/demo.yaml"
    inner = ", ".join(f"{name}: {str(value).lower()}" for name, value in {"model": "smollm2-135m", **changes}.items())
    lines = [line for line in path.read_text().splitlines() if not line.startswith("extraction:")]
    path.write_text("\n".join([*lines, f"extraction: {{{inner}}}", ""]))
    return Workspace.open(home)


def check_rows(workspace: Workspace, manifest: Manifest) -> list[dict[str, object]]:
    texts = {
        row["id"]: row["text"] for row in workspace.lake.read(workspace.lake.require(PAGES.ref(KEY), "test")).to_dicts()
    }
    rows = workspace.lake.read(manifest).to_dicts()
    for row in rows:
        for name in ("question", "answer"):
            assert row[name] == "\n".join(
                texts[row["parent_id"]][span["start"] : span["end"]] for span in row[f"{name}_spans"]
            )
    assert len({row["id"] for row in rows}) == len(rows)
    return rows


def test_without_the_llm(home: Path) -> None:
    workspace = with_extraction(home, llm=False)
    publish_pages(workspace)
    manifest = execute(EXTRACTED_QA, KEY, workspace, log=print, run_id="test")
    rows = check_rows(workspace, manifest)
    assert [(row["rule"], row["kind"], row["model"]) for row in rows] == [("heading_question", "final_answer", "")] * 2
    assert (manifest.rows_in, manifest.rejected) == (3, {"void": 2})
    details = pl.read_parquet(workspace.lake.reject_paths(manifest))["detail"].to_list()
    assert sorted(detail.split(":")[0] for detail in details) == ["llm_off", "no_question"]
    assert manifest.metrics["pages_with_pairs"] == 1


def test_pairs_that_are_not_verbatim_are_counted(home: Path, tmp_path: Path) -> None:
    workspace = with_extraction(home, llm=False)
    publish_pages(workspace)
    manifest = execute(EXTRACTED_QA, KEY, workspace, log=print, run_id="test")
    pages = workspace.lake.part_paths(workspace.lake.require(PAGES.ref(KEY), "test"))
    pairs = workspace.lake.part_paths(manifest)
    assert not_verbatim(pages, pairs) == (Counter(), [])
    frame = pl.read_parquet(pairs[0])
    changed = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("No!")).otherwise(pl.col("answer")).alias("answer")
    )
    changed.write_parquet(tmp_path / "part.parquet")
    assert not_verbatim(pages, [tmp_path / "part.parquet"]) == (Counter(heading_question=1), [frame["id"][0]])


def whole(text: str, lines: Sequence[Span], asking: Sequence[int]) -> list[Cut]:
    """The page in one part."""
    return [Cut(1, len(lines))]


def four_characters(texts: Sequence[str]) -> list[int]:
    """A token is four characters."""
    return [len(text) // 4 + 1 for text in texts]


def test_explained_pages_are_skipped_unless_told_otherwise(home: Path) -> None:
    for skip, asked in (("true", 1), ("false", 2)):
        workspace = with_extraction(home, skip_explained=skip)
        publish_pages(workspace)
        config = workspace.config.extraction
        rows = workspace.lake.read(workspace.lake.require(PAGES.ref(KEY), "test")).to_dicts()
        assert sum(bool(_plan(row, config, whole).cuts) for row in rows) == asked


@pytest.mark.parametrize(
    ("answers", "problem", "pairs", "requests"),
    [
        ([("{", "length"), (PAIR, "stop")], "", 1, 2),
        ([("", "content_filter"), ("", "stop"), (PAIR, "stop")], "", 1, 3),
        ([("{", "length"), ("{", "length"), ("{", "length")], "llm_truncated", 0, 3),
        ([(PAIR.replace("3", "9"), "stop")], "llm_invalid_range", 0, 1),  # an answer, if a wrong one
    ],
)
def test_failures_are_asked_again_within_the_budget(
    home: Path, tmp_path: Path, answers: list[tuple[str, str]], problem: str, pairs: int, requests: int
) -> None:
    """On replies as recorded: which end a model's answer takes cannot be ordered from a real one."""
    workspace = with_extraction(home, retries=2, max_output_tokens=100)
    row = {
        "id": "pg-1",
        "url": "u",
        "domain": "d",
        "title": "t",
        "text": "# Sums\nWhat is 1 + 1?\nTwo.",
        "markup_pairs": [],
    }
    job: Any = SimpleNamespace(ws=workspace, progress=SimpleNamespace(advance=lambda number: None), settings={})
    llm: Any = SimpleNamespace(cuts=whole, tokens=four_characters)
    unit = _Extracting(job, llm, [row], None)
    unit.name = "00000"
    ledger = Ledger(tmp_path / "ledger.sqlite")
    request = unit.requests[0]
    for attempt, (text, finish) in enumerate(answers, 1):
        ledger.put(request.key("m"), "m", {"text": text, "finish_reason": finish, "tokens_in": 10, "tokens_out": 5})
        room = {"max_tokens": 2 * request.max_tokens} if finish == "length" else {"temperature": 0.3, "seed": attempt}
        request = replace(request, **room)
    # Nobody serves the endpoint: what is asked, and not in the ledger, would be an error.
    ((_, replies),) = answered(LlmClient(("http://127.0.0.1:9/v1", "m"), "m", ledger, max_retries=0), [unit])
    made = unit.made_of(replies)
    assert ([reject.reason for reject in made.rejects], len(made.rows)) == ([problem] if problem else [], pairs)
    assert (made.counts["llm_requests"], made.counts["llm_retries"]) == (requests, requests - 1)


def test_page_budget_is_what_the_context_leaves(home: Path) -> None:
    workspace = with_extraction(home, max_page_tokens=2000, max_output_tokens=300)
    prompt, count = load_prompt("point"), workspace.token_counts("smollm2-135m", print)
    budget = page_budget(workspace, prompt, count)
    contents = sum(count([message["content"] for message in prompt.messages]))
    assert 2048 - 300 - contents - 120 < budget < 2048 - 300 - contents
    assert page_budget(with_extraction(home, max_page_tokens=256), prompt, count) == 256
    with pytest.raises(ConfigError, match=r"max_output_tokens 1900(?s:.*)raise max_model_len"):
        page_budget(with_extraction(home, max_output_tokens=1900), prompt, count)


def test_duplicates_across_cuts_are_merged(home: Path) -> None:
    lines = line_spans("What is a?\nThis.\nAnd that.")
    found = [LlmPair("solution", "What is a?", answer, (lines[0],), spans)
             for answer, spans in (("This.", (lines[1],)), ("This.\nAnd that.", (Span(11, 26),)))]  # fmt: skip
    row = {"id": "pg-1", "url": "u", "domain": "d", "title": "t", "text": "What is a?\nThis.\nAnd that."}
    counts: Counter[str] = Counter()
    page = _Page(row, [], lines, "llm", readings=[Reading([found[0]]), Reading([found[1]])])
    rows = _rows(page, load_prompt("point"), "m", counts)
    assert [entry["answer"] for entry in rows] == ["This.\nAnd that."] and counts["llm_duplicates"] == 1


def test_unexplained_lines() -> None:
    text = "# Why is it so?\nWhat is a?\nThis.\nFind b.\n```\nif x ? y\n```\n## Question 3"
    lines = line_spans(text)
    assert unexplained(text, lines, []) == [1, 2, 4]
    pair = {"rule": "marked", "question_spans": [lines[1]], "answer_spans": [lines[2]]}
    assert unexplained(text, lines, [pair]) == [4]
    assert unexplained(text, lines, [{**pair, "rule": "forum_accepted"}]) == []


@pytest.mark.llm
@pytest.mark.slow  # the demo asks the same server in the normal tier
@pytest.mark.timeout(300)
def test_with_the_real_model(home: Path) -> None:
    """The model's judgement is its own; what it points at must be checked, verbatim and counted."""
    workspace = with_extraction(home, max_output_tokens=200)
    publish_pages(workspace)
    manifest = execute(EXTRACTED_QA, KEY, workspace, log=print, run_id="test")
    rows = check_rows(workspace, manifest)
    assert manifest.metrics["llm_requests"] == 1
    assert manifest.metrics["tokens_out"] > 0
    assert manifest.rows_in == 3 == manifest.rows_kept + sum(manifest.rejected.values())
    assert {row["rule"] for row in rows} <= {"heading_question", "llm"}
    for row in rows:
        assert bool(row["model"]) == (row["rule"] == "llm")
