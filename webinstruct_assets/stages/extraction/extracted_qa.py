"""Asset ``extracted_qa``: natural question-answer pairs found in the pages, each a verbatim part of its page.

In: ``pages``. Pairs of the pages' rules come first. Pages whose rules explain every question-like line, and pages
with no question-like line, never reach the LLM; for the others it points at line ranges (see ``pointing``).
Out: one row per pair. Conservation is over pages: kept are those with at least one pair. Rejects: ``void`` (no
pair; the detail says which step decided), ``llm_invalid_range``, ``llm_truncated``, ``llm_error``.

Columns: ``id``; ``parent_id`` (row of ``pages``); ``url``; ``domain``; ``title``; ``question``; ``answer``; ``rule``
(name of the rule, or ``llm``); ``kind`` (solution | final_answer | discussion | unknown); ``question_spans`` and
``answer_spans`` (character offsets into the page's ``text``, end exclusive; joined by line breaks they are the
question and the answer); ``model`` (identity, "" for rules); ``prompt_hash`` ("" for rules).
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.stages.extraction.lines import Cut, cuts, line_spans
from webinstruct_assets.stages.extraction.pointing import Prompt, Reading, load_prompt, messages_for, read_reply
from webinstruct_assets.stages.extraction.quality import measure, read_gold
from webinstruct_assets.stages.pages.document import Span, joined
from webinstruct_assets.stages.pages.pages import SPANS, span_rows
from webinstruct_assets.stages.pages.questions import asks, open_question

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.client import LlmClient
    from webinstruct_assets.core.workspace import Workspace

PREFIX = "qa"
UNIT_PAGES = 512  # large, so that one unit's requests keep the server full; answered ones survive a kill in the ledger
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "title": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "rule": pl.String(),
    "kind": pl.String(),
    "question_spans": SPANS,
    "answer_spans": SPANS,
    "model": pl.String(),
    "prompt_hash": pl.String(),
}
FINAL_ANSWER_WORDS = 8
PROBLEMS = ("llm_error", "llm_truncated", "llm_invalid_range")  # worst first: a page is rejected for its worst


@dataclass
class _Page:
    """A page on its way: the rules' pairs, whether the LLM is asked, and what it said."""

    row: dict[str, Any]
    pairs: list[dict[str, Any]]
    lines: list[Span]
    step: str  # which step decides when there is no pair: one of STEPS, or llm_budget
    cuts: list[Cut] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)


class _Llm:
    """The configured model, started when the first request needs it."""

    def __init__(self, job: Job, stack: ExitStack):
        self._job, self._stack = job, stack
        self._client: LlmClient | None = None

    @property
    def client(self) -> "LlmClient":
        if self._client is None:
            self._client = self._stack.enter_context(
                self._job.ws.llm(self._job.ws.config.extraction.model, self._job.log)
            )
        return self._client


def page_budget(ws: "Workspace", prompt: Prompt) -> int:
    """Tokens that a page's lines may take: the configured limit, or what the model's context leaves."""
    config = ws.config.extraction
    context = ws.config.models[config.model].max_model_len if config.model in ws.config.models else 0
    return min(config.max_page_tokens, max(context - prompt.tokens - config.max_output_tokens, 200))


def run(job: Job) -> None:
    """Rules, then the LLM for the pages they leave."""
    pages = job.read("pages").sort("id")
    job.progress.start(pages.height, "pages")
    with ExitStack() as stack:
        llm = _Llm(job, stack)
        for number, start in enumerate(range(0, pages.height, UNIT_PAGES)):
            chunk = pages.slice(start, UNIT_PAGES).to_dicts()
            job.unit(f"{number:05d}", partial(_unit, job, llm, chunk, _share(job, len(chunk), pages.height)))
    for name in (
        "pages",
        "pages_with_pairs",
        "pages_to_llm",
        "rule_pairs",
        "llm_pairs",
        "llm_requests",
        "llm_duplicates",
        "llm_not_asking",
        "tokens_in",
        "tokens_out",
    ):
        job.metrics[name] = int(job.count(name))
    job.metrics["void_by_step"] = {step: count for step in STEPS if (count := int(job.count(f"void_{step}")))}
    _measure(job, pages)


STEPS = ("rules_only", "no_question", "llm", "llm_off")


def _share(job: Job, chunk: int, pages: int) -> int | None:
    """How many of a unit's pages the LLM may see, by the unit's share of the budget."""
    budget = job.ws.config.extraction.max_llm_pages
    return None if budget is None else max(1, round(budget * chunk / pages))


def _within_budget(pages: list[_Page], share: int | None) -> None:
    """Takes the LLM's cuts from pages beyond ``share``; pages that have no pair yet come first, then page order."""
    open_pages = sorted((page for page in pages if page.cuts), key=lambda page: bool(page.pairs))
    for page in open_pages[share:] if share is not None else []:
        page.step, page.cuts = "llm_budget", []


def _unit(job: Job, llm: _Llm, chunk: list[dict[str, Any]], share: int | None) -> Unit:
    config, prompt = job.ws.config.extraction, load_prompt()
    budget = page_budget(job.ws, prompt)
    counts: Counter[str] = Counter(pages=len(chunk))
    pages = [_plan(row, rules=config.rules, llm=config.llm, budget=budget) for row in chunk]
    _within_budget(pages, share)
    asked = [(page, cut) for page in pages for cut in page.cuts]
    job.progress.advance(sum(1 for page in pages if not page.cuts))
    if asked:
        _ask(job, llm, asked, prompt, counts)
    model = job.settings.get("model_identity", "") if asked else ""
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for page in pages:
        own = _rows(page, model, prompt.hash, counts)
        rows += own
        counts.update(pages_with_pairs=bool(own), pages_to_llm=bool(page.cuts))
        if not own:
            reject = _reject(page)
            rejects.append(reject)
            if reject.reason == "void":
                counts[f"void_{page.step}"] += 1
    return Unit(rows=rows, rows_in=len(chunk), rejects=rejects, rows_kept=len(chunk) - len(rejects), counts=counts)


def _plan(row: dict[str, Any], *, rules: bool, llm: bool, budget: int) -> _Page:
    """The rules' pairs of a page, and the cuts that the LLM has to see (none when everything is explained)."""
    pairs = [
        {
            "rule": pair["rule"], "kind": kind_of(pair["rule"], pair["answer"]),
            "question_spans": [Span(**span) for span in pair["question_spans"]],
            "answer_spans": [Span(**span) for span in pair["answer_spans"]],
        }
        for pair in (row["markup_pairs"] if rules else [])
    ]  # fmt: skip
    lines = line_spans(row["text"])
    open_lines = unexplained(row["text"], lines, pairs)
    if not open_lines:
        return _Page(row, pairs, lines, "rules_only" if pairs else "no_question")
    if not llm:
        return _Page(row, pairs, lines, "llm_off")
    return _Page(row, pairs, lines, "llm", cuts(row["text"], lines, budget, open_lines))


def unexplained(text: str, lines: Sequence[Span], pairs: Sequence[dict[str, Any]]) -> list[int]:
    """Numbers of lines that ask and that no pair covers.

    A thread whose accepted answer was found counts as explained: what else is asked in it is talk about the same.
    So does the page's main heading once the page has pairs.
    """
    if any(pair["rule"] == "forum_accepted" for pair in pairs):
        return []
    covered = [span for pair in pairs for name in ("question_spans", "answer_spans") for span in pair[name]]
    found, fenced = [], False
    for number, line in enumerate(lines, 1):
        content = text[line.start : line.end]
        if content.startswith("```"):
            fenced = not fenced
        named = content.startswith("#") and not asks(content)  # "## Question 1 [4 marks]" names what comes below
        if fenced or named or not open_question(content) or (pairs and content.startswith("# ")):
            continue
        if not any(span.start < line.end and line.start < span.end for span in covered):
            found.append(number)
    return found


def kind_of(rule: str, answer: str) -> str:
    """Kind of a rule's pair, as far as rule and length tell."""
    if rule == "forum_accepted":
        return "discussion"
    return "final_answer" if len(answer.split()) <= FINAL_ANSWER_WORDS else "solution"


def _ask(job: Job, llm: _Llm, asked: list[tuple[_Page, Cut]], prompt: Prompt, counts: Counter[str]) -> None:
    """Sends all cuts in one batch and reads the replies."""
    from webinstruct_assets.core.llm.client import LlmReply, LlmRequest

    config = job.ws.config.extraction
    requests = [
        LlmRequest(messages=messages_for(prompt, page.row["text"], page.lines, cut), max_tokens=config.max_output_tokens,
                   json_schema=prompt.schema, tag=f"extraction {page.row['id']} {cut.first}-{cut.last}")
        for page, cut in asked
    ]  # fmt: skip
    waiting = Counter(page.row["id"] for page, _ in asked)

    def progress(index: int, reply: LlmReply) -> None:
        identity = asked[index][0].row["id"]
        waiting[identity] -= 1
        if not waiting[identity]:
            job.progress.advance(1)

    replies = llm.client.complete(requests, on_reply=progress)
    for (page, cut), reply in zip(asked, replies, strict=True):
        reading = read_reply(
            page.row["text"], page.lines, cut, reply.text, finish_reason=reply.finish_reason, error=reply.error
        )
        page.readings.append(reading)
        counts.update(
            llm_requests=1, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out, llm_not_asking=reading.not_asking
        )


def _rows(page: _Page, model: str, prompt_hash: str, counts: Counter[str]) -> list[dict[str, Any]]:
    """Rows of a page: the rules' pairs, then the LLM's that repeat none of them."""
    rows = [
        _row(page.row, pair["rule"], pair["kind"], pair["question_spans"], pair["answer_spans"], "", "")
        for pair in page.pairs
    ]
    counts["rule_pairs"] += len(rows)
    used = [span for pair in page.pairs for name in ("question_spans", "answer_spans") for span in pair[name]]
    for reading in page.readings:
        for pair in reading.pairs:
            spans = (*pair.question_spans, *pair.answer_spans)
            if any(span.start < other.end and other.start < span.end for span in spans for other in used):
                counts["llm_duplicates"] += 1
                continue
            rows.append(_row(page.row, "llm", pair.kind, pair.question_spans, pair.answer_spans, model, prompt_hash))
            counts["llm_pairs"] += 1
    return rows


def _row(
    page: dict[str, Any],
    rule: str,
    kind: str,
    question: Sequence[Span],
    answer: Sequence[Span],
    model: str,
    prompt_hash: str,
) -> dict[str, Any]:
    return {
        "id": row_id(PREFIX, page["id"], *question, "answer", *answer), "parent_id": page["id"], "url": page["url"],
        "domain": page["domain"], "title": page["title"], "question": joined(page["text"], question),
        "answer": joined(page["text"], answer), "rule": rule, "kind": kind, "question_spans": span_rows(question),
        "answer_spans": span_rows(answer), "model": model, "prompt_hash": prompt_hash,
    }  # fmt: skip


def _reject(page: _Page) -> Reject:
    """Why a page gave no pair: the worst problem of its replies, else void."""
    identity = row_id(PREFIX, page.row["id"], "page")
    for problem in PROBLEMS:
        for reading in page.readings:
            if reading.problem == problem:
                return Reject(identity, page.row["id"], problem, f"{reading.detail} ({page.row['url']})")
    if page.step == "llm_budget":
        return Reject(identity, page.row["id"], "llm_budget", f"beyond extraction.max_llm_pages ({page.row['url']})")
    detail = {
        "no_question": "no question-like line",
        "llm_off": "question-like lines, but the LLM is switched off",
    }.get(page.step)
    if detail is None:
        not_asking = sum(reading.not_asking for reading in page.readings)
        detail = f"the LLM found no pair{f' ({not_asking} whose question does not ask)' if not_asking else ''}"
    return Reject(identity, page.row["id"], "void", f"{page.step}: {detail} ({page.row['url']})")


def _measure(job: Job, pages: pl.DataFrame) -> None:
    """Accuracy on gold, where the crawl's sources come with gold for pages of this snapshot."""
    path = job.ws.path(job.ws.config.crawl.demo_sources) / "gold.jsonl"
    if not path.exists():
        return
    gold, urls = read_gold(path), set(pages["url"])
    if not any(entry["url"] in urls for entry in gold):
        return
    parts = sorted(job.folder.glob("part-*.parquet"))
    pairs = pl.concat([pl.read_parquet(part) for part in parts]).select("url", "question", "answer", "rule").to_dicts()
    job.metrics["gold"] = measure(pairs, gold, urls)


def settings(ws: "Workspace", key: PartitionKey) -> dict[str, Any]:
    """What bears on the result; the model by its identity, so that a renamed entry changes nothing."""
    config, prompt = ws.config.extraction, load_prompt()
    result: dict[str, Any] = {"rules": config.rules, "llm": config.llm, "max_llm_pages": config.max_llm_pages}
    if config.llm:
        result |= {
            "model_identity": ws.model_identity(config.model), "max_output_tokens": config.max_output_tokens,
            "page_budget": page_budget(ws, prompt), "prompt_hash": prompt.hash,
        }  # fmt: skip
    return result


EXTRACTED_QA = Stage(
    asset="extracted_qa",
    dimensions=("snapshot",),
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("pages", key)],
    settings=settings,
    sources=("stages/extraction/*.py", "stages/extraction/prompts/*", "stages/pages/questions.py"),
)
