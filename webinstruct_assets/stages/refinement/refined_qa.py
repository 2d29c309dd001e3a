"""Asset ``refined_qa``: pairs as one refiner rewrote them, those whose question and final answer survived it.

Partitioned by refiner and snapshot (paper §2.3: two refiners, both over all pairs); reads ``deduplicated_qa`` and,
for a refiner with ``give_context``, ``pages``. Every pair either leads to a refined row or to a reject with one of
the reasons of ``checks.py``, or ``too_long`` (the pair does not fit the refiner's or the model's limit; not asked).
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl

from webinstruct_assets.core.config import RefinerConfig, settings_of
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.llm.retries import complete_with_retries
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.quality import read_gold
from webinstruct_assets.stages.refinement.checks import check_reply, retry_of
from webinstruct_assets.stages.refinement.prompt import Requests, load_prompt, page_context
from webinstruct_assets.stages.refinement.quality import accuracy

# id: rq-…      parent_id: dd-…      question, answer: refined      original_*: as extracted
# status: refined, unchanged (the text as it was), or corrected (another final answer, see correction: the refiner's reason)
# final_before, final_after: the final answers as they were compared; answer_type: of the latter (answers.Final)
# reasoning_added: a bare result got reasoning
# model: identity of the refiner's LLM
# prompt_hash: digest of the prompt file's content
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "original_question": pl.String(),
    "original_answer": pl.String(),
    "status": pl.String(),
    "final_before": pl.String(),
    "final_after": pl.String(),
    "answer_type": pl.String(),
    "correction": pl.String(),
    "reasoning_added": pl.Boolean(),
    "model": pl.String(),
    "prompt_hash": pl.String(),
}
PAIRS_PER_UNIT = 64
# Units asked for together: a server is full only while more requests wait than it runs at once.
UNITS_PER_WINDOW = 8


def refiner_config(ws: Workspace, name: str) -> RefinerConfig:
    """The refiner's file. Raises ConfigError naming the known ones."""
    if name not in ws.files.refiners:
        raise ConfigError(
            f"no refiner {name!r}", f"add config/refiners/{name}.yaml, or use one of: {', '.join(ws.files.refiners)}"
        )
    return ws.files.refiners[name]


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Pairs, and the pages where the refiner is shown them."""
    snapshot = PartitionKey.of({"snapshot": key["snapshot"]})
    pages = [Ref("pages", snapshot)] if refiner_config(ws, key["refiner"]).give_context else []
    return [Ref("deduplicated_qa", snapshot), *pages]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The refiner with its model's identity and prompt; its description says nothing about the result."""
    refiner = refiner_config(ws, key["refiner"])
    prompt = load_prompt(refiner.prompt)
    settings = {name: value for name, value in settings_of(refiner).items() if name != "description"}
    spec = ws.model_spec(refiner.model)
    return {
        **settings,
        "model": ws.model_identity(refiner.model),
        "prompt_hash": prompt.hash(),
        "max_model_len": spec.max_model_len,
        "tokenizer": ws.tokenizer_identity(refiner.model),
    }


def run(job: Job) -> None:
    """Asks for windows of units at a time and commits unit by unit."""
    refiner = refiner_config(job.ws, job.key["refiner"])
    count = job.ws.token_counts(refiner.model, job.log)
    requests = Requests(load_prompt(refiner.prompt), refiner, count, job.settings["max_model_len"])
    everything = job.read("deduplicated_qa").sort("id")  # ids are digests: their order is a fixed random one
    contexts = _contexts(job, everything) if refiner.give_context else {}
    pairs = everything.head(_within_budget(requests, everything, contexts))
    if left_out := everything.height - pairs.height:
        job.unit("not-sampled", lambda: _not_sampled(everything.tail(left_out)))
    units = [
        list(pairs[start : start + PAIRS_PER_UNIT].iter_rows(named=True))
        for start in range(0, pairs.height, PAIRS_PER_UNIT)
    ]
    job.progress.start(pairs.height, "pairs")
    for first in range(0, len(units), UNITS_PER_WINDOW):
        window = _Window(job, requests, units[first : first + UNITS_PER_WINDOW], contexts)
        for offset in range(len(window.units)):
            job.unit(f"{first + offset:05}", partial(window.compute, offset))
    statuses = {name: int(job.count(name)) for name in ("refined", "unchanged", "corrected")}
    job.metrics |= {
        "pairs": pairs.height, "by_status": statuses, **statuses, "reasoning_added": int(job.count("reasoning_added")), "asked": int(job.count("asked")),
        "kept_of_asked": round(sum(statuses.values()) / job.count("asked"), 3) if job.count("asked") else 0.0,
        "retries": int(job.count("retries")), "tokens_in": int(job.count("tokens_in")), "tokens_out": int(job.count("tokens_out")),
        "prompt": refiner.prompt, "model": job.settings["model"],
    }  # fmt: skip
    gold = job.ws.path(job.ws.config.crawl.demo_sources) / "gold.jsonl"
    if gold.exists():
        kept_rows = [
            row for part in sorted(job.folder.glob("part-*.parquet")) for row in pl.read_parquet(part).to_dicts()
        ]
        if measured := accuracy(kept_rows, read_gold(gold)):
            job.metrics["gold"] = measured


def _within_budget(requests: Requests, pairs: pl.DataFrame, contexts: dict[str, str]) -> int:
    """How many pairs, from the first, hold ``max_pairs`` that can be asked for (all without a budget)."""
    budget = requests.refiner.max_pairs
    if budget is None:
        return pairs.height
    fitting = 0
    for number, pair in enumerate(pairs.iter_rows(named=True)):
        if fitting == budget:
            return number
        fitting += isinstance(requests.build(pair, contexts.get(pair["id"], "")), LlmRequest)
    return pairs.height


def _not_sampled(pairs: pl.DataFrame) -> Unit:
    """Pairs beyond the refiner's budget."""
    rejects = [Reject(row["id"], row["parent_id"], "not_sampled", row["url"]) for row in pairs.iter_rows(named=True)]
    return Unit(rows=[], rows_in=pairs.height, rejects=rejects)


def _contexts(job: Job, pairs: pl.DataFrame) -> dict[str, str]:
    """Pair id -> page text around it. A URL captured twice has no context: spans are offsets into one capture."""
    texts = dict(job.read("pages").unique("url", keep="none").select("url", "text").iter_rows())
    return {
        row["id"]: page_context(
            texts.get(row["url"], ""), [*(row["question_spans"] or ()), *(row["answer_spans"] or ())]
        )
        for row in pairs.select("id", "url", "question_spans", "answer_spans").iter_rows(named=True)
    }


class _Window:
    """Some units whose requests are in flight together; asked when the first of them is computed."""

    def __init__(
        self,
        job: Job,
        requests: Requests,
        units: list[list[dict[str, Any]]],
        contexts: dict[str, str],
    ):
        self.job, self.requests, self.units, self.contexts = job, requests, units, contexts
        prompt = requests.prompt
        self._shown = "\n".join(
            [prompt.system, *(f"{example.refined_question}\n{example.refined_answer}" for example in prompt.examples)]
        )
        self._requests: dict[str, LlmRequest | str] = {}
        self._replies: dict[str, LlmReply] = {}
        self._spent: dict[str, Counter[str]] = {}

    def compute(self, offset: int) -> Unit:
        """The unit at ``offset``."""
        if not self._requests:
            self._ask(offset)
        rows: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        counts: Counter[str] = Counter()
        for pair in self.units[offset]:
            reply = self._replies.get(pair["id"])
            if reply is None:
                rejects.append(Reject(pair["id"], pair["parent_id"], "too_long", str(self._requests[pair["id"]])))
                continue
            counts.update({"asked": 1, **self._spent[pair["id"]]})
            context = self.contexts.get(pair["id"], "")
            outcome = check_reply(
                pair["question"],
                pair["answer"],
                reply,
                context=context,
                prompt_text=self._shown,
                corrections=self.requests.prompt.corrections,
            )
            if not outcome.status:
                rejects.append(Reject(pair["id"], pair["parent_id"], outcome.reason, outcome.detail))
                continue
            assert outcome.finals is not None
            before, after = outcome.finals
            counts.update({outcome.status: 1, "reasoning_added": outcome.reasoning_added})
            rows.append({
                "id": row_id("rq", pair["id"], self.job.key["refiner"]), "parent_id": pair["id"], "url": pair["url"], "domain": pair["domain"],
                "question": outcome.question, "answer": outcome.answer, "original_question": pair["question"], "original_answer": pair["answer"],
                "status": outcome.status, "final_before": str(before), "final_after": str(after), "answer_type": after.kind,
                "correction": outcome.correction, "reasoning_added": outcome.reasoning_added, "model": self.job.settings["model"], "prompt_hash": self.job.settings["prompt_hash"],
            })  # fmt: skip
        self.job.progress.advance(0, Counter(reject.reason for reject in rejects))
        return Unit(rows=rows, rows_in=len(self.units[offset]), rejects=rejects, counts=counts)

    def _ask(self, offset: int) -> None:
        """Sends the requests of this and the later units, longest replies first so that none straggles at the end."""
        for pair in (pair for unit in self.units[offset:] for pair in unit):
            context = self.contexts.get(pair["id"], "")
            self._requests[pair["id"]] = self.requests.build(pair, context)
        asked = {identity: request for identity, request in self._requests.items() if isinstance(request, LlmRequest)}
        order = sorted(asked, key=lambda identity: (-asked[identity].max_tokens, identity))
        self.job.progress.advance(len(self._requests) - len(asked))
        if not order:
            return

        def heard(index: int, attempt: int, reply: LlmReply) -> None:
            spent = self._spent.setdefault(order[index], Counter())
            spent.update(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out, retries=attempt > 0)
            self.job.progress.advance(int(attempt == 0))

        with self.job.ws.llm(self.requests.refiner.model, self.job.log) as client:
            replies = complete_with_retries(
                client,
                [asked[identity] for identity in order],
                lambda index, reply: retry_of(reply),
                retries=self.requests.refiner.retries,
                room=lambda index: self.requests.longest(asked[order[index]]),
                on_reply=heard,
            )
        self._replies = dict(zip(order, replies, strict=True))


REFINED_QA = Stage(
    asset="refined_qa",
    dimensions=("refiner", "snapshot"),
    by_profile=True,
    prefix="rq",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=(
        "stages/refinement/*.py",
        "stages/refinement/prompts/*",
        "stages/decontamination/words.py",
        "core/llm/retries.py",
    ),
)
