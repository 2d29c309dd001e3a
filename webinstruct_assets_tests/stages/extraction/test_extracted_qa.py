"""The asset ``extracted_qa``: which pages the LLM sees, conservation over pages, and a run on the real model."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA, unexplained
from webinstruct_assets.stages.extraction.lines import line_spans
from webinstruct_assets.stages.pages.html import extract_page
from webinstruct_assets.stages.pages.pages import PAGES, span_rows

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
