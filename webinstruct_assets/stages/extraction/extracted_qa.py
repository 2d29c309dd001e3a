"""Asset ``extracted_qa``: natural question-answer pairs found in the pages, each a verbatim part of its page.

In: ``pages``. Pairs of the pages' rules come first. Pages whose rules explain every question-like line, and pages
with no question-like line, never reach the LLM; for the others it points at line ranges (see ``reading``), or retypes
pairs as the paper's did (``mode: rewrite``): a pair that then is not on its page has no spans.
Out: one row per pair. Conservation is over pages: kept are those with at least one pair. Rejects: ``void`` (no pair;
the detail says which step decided), ``llm_invalid_range``, ``llm_truncated``, ``llm_refused``, ``llm_error`` (after
``extraction.retries``), ``llm_budget``.

Columns: ``id``; ``parent_id`` (row of ``pages``); ``url``; ``domain``; ``title``; ``question``; ``answer``; ``rule``
(name of the rule, ``llm``, or ``llm_rewrite``); ``kind`` (solution | final_answer | discussion | unknown); ``question_spans`` and
``answer_spans`` (character offsets into the page's ``text``, end exclusive; joined by line breaks they are the
question and the answer); ``model`` (identity, "" for rules); ``prompt_hash`` ("" for rules).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import polars as pl

from webinstruct_assets.core.config import ExtractionConfig
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.batches import Wanted
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.llm.tokens import chat_tokens
from webinstruct_assets.core.stage import AskedUnit, Job, Reject, Stage, Unit
from webinstruct_assets.stages.extraction.lines import Cut, cuts, line_spans
from webinstruct_assets.stages.extraction.prompt import Prompt, line_costs, load_prompt, messages_for
from webinstruct_assets.stages.extraction.quality import measure, read_gold, site_kinds, skipped
from webinstruct_assets.stages.extraction.reading import RETRIED, LlmPair, Reading, read_reply
from webinstruct_assets.stages.extraction.schema import SCHEMA
from webinstruct_assets.stages.pages.document import Span, joined
from webinstruct_assets.stages.pages.questions import asks, open_question
from webinstruct_assets.stages.pages.rules.spans import overlap
from webinstruct_assets.stages.pages.schema import span_rows

if TYPE_CHECKING:
    from webinstruct_assets.core.llm.tokens import TokenCounts
    from webinstruct_assets.core.workspace import Workspace

PREFIX = "qa"
UNIT_PAGES = 512  # at least; answered requests of a unit that is killed are in the ledger
# steps-*.parquet: which step decided over each page (STEPS, or llm_budget)
STEPS_SCHEMA: dict[str, pl.DataType] = {"url": pl.String(), "step": pl.String()}
FINAL_ANSWER_WORDS = 8
LEAST_PAGE_TOKENS = 100  # with less of a page in sight there is nothing to read
Cutting = Callable[[str, Sequence[Span], Sequence[int]], list[Cut]]
PROBLEMS = (
    "llm_error",
    "llm_refused",
    "llm_truncated",
    "llm_invalid_range",
)  # worst first: a page is rejected for its worst


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
    """The configured model's view of a page, loaded when the first page needs it."""

    def __init__(self, job: Job):
        self._job = job

    def tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens as the model counts them."""
        return self._counts(texts)

    @cached_property
    def _budget(self) -> int:
        return page_budget(self._job.ws, self._prompt, self.tokens)

    @property
    def _prompt(self) -> Prompt:
        return load_prompt(self._job.ws.config.extraction.mode)

    def cuts(self, text: str, lines: Sequence[Span], asking: Sequence[int]) -> list[Cut]:
        """The parts of a page that are shown."""
        return cuts(text, lines, line_costs(self._prompt, text, lines, self.tokens), self._budget, asking)

    @cached_property
    def _counts(self) -> "TokenCounts":
        return self._job.ws.token_counts(self._job.ws.config.extraction.model, self._job.log)


def page_budget(ws: "Workspace", prompt: Prompt, count: "TokenCounts") -> int:
    """Tokens that a page's lines may take: the configured limit, or what the model's context leaves.

    Raises ConfigError when it leaves next to nothing.
    """
    config = ws.config.extraction
    context = ws.model_spec(config.model).max_model_len
    shared = chat_tokens(count, [*prompt.messages, {"content": ""}])
    left = context - shared - config.max_output_tokens
    if left < LEAST_PAGE_TOKENS:
        raise ConfigError(
            f"extraction: of the {context} tokens of model {config.model!r} (max_model_len) the prompt takes {shared} and "
            f"max_output_tokens {config.max_output_tokens}: {left} are left for a page, {LEAST_PAGE_TOKENS} are needed",
            "raise max_model_len of the model, or lower extraction.max_output_tokens",
        )
    return min(config.max_page_tokens, left)


def run(job: Job) -> None:
    """Rules, then the LLM for the pages they leave."""
    config, (manifest,), llm = job.ws.config.extraction, job.manifests("pages"), _Llm(job)
    job.progress.start(manifest.rows, "pages")
    units = (
        partial(_Extracting, job, llm, part.sort("id").to_dicts(), _share(job, part.height, manifest.rows))
        for part in job.parts("pages", UNIT_PAGES)
    )
    if config.llm:
        with job.ws.llm(config.model, job.log) as client:
            job.ask(client, units)
    else:
        job.ask(None, units)
    for name in (
        "pages",
        "pages_with_pairs",
        "pages_to_llm",
        "rule_pairs",
        "llm_pairs",
        "llm_requests",
        "llm_retries",
        "llm_duplicates",
        "llm_not_on_page",
        "llm_not_asking",
        "tokens_in",
        "tokens_out",
    ):
        job.metrics[name] = int(job.count(name))
    job.metrics["void_by_step"] = {step: count for step in STEPS if (count := int(job.count(f"void_{step}")))}
    _measure(job)


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


class _Extracting(AskedUnit):
    """Some pages on their way; the cuts that the LLM has to see are the requests."""

    def __init__(self, job: Job, llm: _Llm, rows: Sequence[dict[str, Any]], share: int | None):
        self._job, self._llm = job, llm
        self._config = config = job.ws.config.extraction
        self._prompt = prompt = load_prompt(config.mode)
        self._pages = [_plan(row, config, llm.cuts) for row in rows]
        _within_budget(self._pages, share)
        self._asked = [(page, cut) for page in self._pages for cut in page.cuts]
        self._waiting = Counter(page.row["id"] for page, _ in self._asked)
        self._counts: Counter[str] = Counter(pages=len(rows))
        self.retries = config.retries
        self.requests = [
            LlmRequest(
                messages=messages_for(prompt, page.row["text"], page.lines, cut),
                max_tokens=config.max_output_tokens,
                json_schema=prompt.schema,
                tag=f"extraction {page.row['id']} {cut.first}-{cut.last}",
            )
            for page, cut in self._asked
        ]
        job.progress.advance(len(rows) - len(self._waiting))

    def _read(self, index: int, reply: LlmReply) -> Reading:
        page, cut = self._asked[index]
        return read_reply(
            self._prompt.mode,
            page.row["text"],
            page.lines,
            cut,
            reply.text,
            finish_reason=reply.finish_reason,
            error=reply.error,
        )

    def wanted(self, index: int, reply: LlmReply) -> Wanted:
        problem = self._read(index, reply).problem
        return "more_tokens" if problem == "llm_truncated" else "another" if problem in RETRIED else ""

    def room(self, index: int) -> int:
        context = self._job.ws.model_spec(self._config.model).max_model_len
        return context - chat_tokens(self._llm.tokens, self.requests[index].messages or ())

    def heard(self, index: int, attempt: int, reply: LlmReply) -> None:
        self._counts.update(
            llm_requests=1, llm_retries=attempt > 0, tokens_in=reply.tokens_in, tokens_out=reply.tokens_out
        )
        if attempt == 0:
            identity = self._asked[index][0].row["id"]
            self._waiting[identity] -= 1
            if not self._waiting[identity]:
                self._job.progress.advance(1)

    def made_of(self, replies: Sequence[LlmReply]) -> Unit:
        counts = self._counts
        for index, reply in enumerate(replies):
            reading = self._read(index, reply)
            self._asked[index][0].readings.append(reading)
            counts.update(llm_not_asking=reading.not_asking)
        model = self._job.settings.get("model_identity", "") if replies else ""
        rows: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        for page in self._pages:
            own = _rows(page, self._prompt, model, counts)
            rows += own
            counts.update(pages_with_pairs=bool(own), pages_to_llm=bool(page.cuts))
            if not own:
                reject = _reject(page)
                rejects.append(reject)
                if reject.reason == "void":
                    counts[f"void_{page.step}"] += 1
        kept = len(self._pages) - len(rejects)
        steps = pl.DataFrame([(page.row["url"], page.step) for page in self._pages], schema=STEPS_SCHEMA, orient="row")
        files = {f"steps-{self.name}.parquet": steps}
        return Unit(rows=rows, rows_in=len(self._pages), rejects=rejects, rows_kept=kept, counts=counts, files=files)


def _plan(row: dict[str, Any], config: ExtractionConfig, cutting: Cutting) -> _Page:
    """The rules' pairs of a page, and the cuts that the LLM has to see (none when everything is explained)."""
    pairs = [
        {
            "rule": pair["rule"], "kind": kind_of(pair["rule"], pair["answer"]),
            "question_spans": [Span(**span) for span in pair["question_spans"]],
            "answer_spans": [Span(**span) for span in pair["answer_spans"]],
        }
        for pair in (row["markup_pairs"] if config.rules else [])
    ]  # fmt: skip
    lines = line_spans(row["text"])
    open_lines = unexplained(row["text"], lines, pairs if config.skip_explained else [])
    if not open_lines:
        return _Page(row, pairs, lines, "rules_only" if pairs else "no_question")
    if not config.llm:
        return _Page(row, pairs, lines, "llm_off")
    return _Page(row, pairs, lines, "llm", cutting(row["text"], lines, open_lines))


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


def _rows(page: _Page, prompt: Prompt, model: str, counts: Counter[str]) -> list[dict[str, Any]]:
    """Rows of a page: the rules' pairs, then the LLM's that repeat none of them, those of overlapping cuts merged."""
    rows = [
        _row(page.row, pair["rule"], pair["kind"], None, pair["question_spans"], pair["answer_spans"], "", "")
        for pair in page.pairs
    ]
    counts["rule_pairs"] += len(rows)
    ruled = [span for pair in page.pairs for name in ("question_spans", "answer_spans") for span in pair[name]]
    merged: list[LlmPair] = []
    for pair in (pair for reading in page.readings for pair in reading.pairs):
        if overlap((*pair.question_spans, *pair.answer_spans), ruled):
            counts["llm_duplicates"] += 1
            continue
        same = next((place for place, other in enumerate(merged) if _same(pair, other)), -1)
        if same < 0:
            merged.append(pair)
            continue
        counts["llm_duplicates"] += 1
        if len(pair.answer) > len(merged[same].answer):  # the other cut ended inside it
            merged[same] = pair
    rule = "llm" if prompt.mode == "point" else "llm_rewrite"
    for pair in merged:
        text = None if prompt.mode == "point" else (pair.question, pair.answer)
        rows.append(_row(page.row, rule, pair.kind, text, pair.question_spans, pair.answer_spans, model, prompt.hash))
        counts.update(llm_pairs=1, llm_not_on_page=not pair.answer_spans)
    return rows


def _same(pair: LlmPair, other: LlmPair) -> bool:
    """Whether two pairs share answer text, or are retyped alike."""
    if pair.answer_spans and other.answer_spans:
        return overlap(pair.answer_spans, other.answer_spans)
    return (pair.question, pair.answer) == (other.question, other.answer)


def _row(
    page: dict[str, Any],
    rule: str,
    kind: str,
    retyped: tuple[str, str] | None,
    question: Sequence[Span],
    answer: Sequence[Span],
    model: str,
    prompt_hash: str,
) -> dict[str, Any]:
    text = retyped or (joined(page["text"], question), joined(page["text"], answer))
    position = (*question, "answer", *answer) if answer else text
    return {
        "id": row_id(PREFIX, page["id"], *position), "parent_id": page["id"], "url": page["url"],
        "domain": page["domain"], "title": page["title"], "question": text[0], "answer": text[1], "rule": rule, "kind": kind, "question_spans": span_rows(question),
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


def _measure(job: Job) -> None:
    """Accuracy on gold, where the crawl's sources come with gold for pages of this snapshot."""
    sources = job.ws.path(job.ws.config.crawl.demo_sources)
    if not (sources / "gold.jsonl").exists():
        return
    gold, pages = read_gold(sources / "gold.jsonl"), job.scan("pages").select("url", "text")
    if pages.filter(pl.col("url").is_in({entry["url"] for entry in gold})).head(1).collect().is_empty():
        return
    texts = dict(pages.collect().iter_rows())
    columns = ("url", "question", "answer", "rule", "question_spans", "answer_spans")
    pairs = pl.read_parquet(job.folder / "part-*.parquet", columns=list(columns)).to_dicts()
    steps = pl.read_parquet(job.folder / "steps-*.parquet")
    decided = {step: set(steps.filter(step=step)["url"]) for step in ("no_question", "rules_only")}
    job.metrics["gold"] = {
        **measure(pairs, gold, texts, site_kinds(sources / "domains.jsonl")),
        "skipped_without_llm": skipped(pairs, gold, texts, decided["no_question"], decided["rules_only"]),
    }


def settings(ws: "Workspace", key: PartitionKey) -> dict[str, Any]:
    """What bears on the result; the model by its identity, so that a renamed entry changes nothing."""
    config = ws.config.extraction
    result: dict[str, Any] = {"rules": config.rules, "llm": config.llm, "max_llm_pages": config.max_llm_pages}
    if config.llm:
        prompt = load_prompt(config.mode)
        result |= {
            "model_identity": ws.model_identity(config.model), "max_output_tokens": config.max_output_tokens,
            "max_page_tokens": config.max_page_tokens, "max_model_len": ws.model_spec(config.model).max_model_len,
            "tokenizer": ws.tokenizer_identity(config.model), "prompt_hash": prompt.hash, "mode": config.mode,
            "skip_explained": config.skip_explained, "retries": config.retries,
        }  # fmt: skip
    return result


EXTRACTED_QA = Stage(
    asset="extracted_qa",
    dimensions=("snapshot",),
    begins_pairs=True,
    by_profile=True,
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=lambda ws, key: [Ref("pages", key)],
    settings=settings,
    sources=(
        "stages/extraction/*.py",
        "stages/extraction/prompts/*/*",
        "stages/pages/questions.py",
        "stages/pages/markup.py",
        "stages/pages/document.py",
        "stages/pages/rules/spans.py",
        "stages/pages/schema.py",
        "core/llm/batches.py",
    ),
)
