"""Asset ``refined_qa``: pairs as one refiner rewrote them, those whose question and final answer survived it.

Partitioned by refiner and snapshot (paper §2.3: two refiners, both over all pairs); reads ``deduplicated_qa`` and,
for a refiner with ``give_context``, ``pages``. Every pair either leads to a refined row or to a reject with one of
the reasons of ``checks.py``, or ``too_long`` (the pair does not fit the refiner's or the model's limit; not asked).
Replies that are no answer are asked for again first (``RETRIED``, ``retries`` of the refiner).
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
from webinstruct_assets.core.llm.client import LlmClient, LlmReply, LlmRequest
from webinstruct_assets.core.llm.retry import Verdict, complete_with_retries
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.quality import read_gold
from webinstruct_assets.stages.refinement.checks import Outcome, check_reply
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
# A reply that is a refined pair, if a bad one, is the refiner's answer: asking until the checks pass would only
# find the replies that slip through them.
RETRIED = frozenset({"llm_error", "defect_invalid", "defect_empty", "defect_refusal"})


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
    count = job.ws.tokenizer(refiner.model, job.log)
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
    with job.ws.llm(refiner.model, job.log) as client:
        for first in range(0, len(units), UNITS_PER_WINDOW):
            window = _Window(job, client, requests, units[first : first + UNITS_PER_WINDOW], contexts)
            for offset in range(len(window.units)):
                job.unit(f"{first + offset:05}", partial(window.compute, offset))
    statuses = {name: int(job.count(name)) for name in ("refined", "unchanged", "corrected")}
    job.metrics |= {
        "pairs": pairs.height, "by_status": statuses, **statuses, "reasoning_added": int(job.count("reasoning_added")), "asked": int(job.count("asked")),
        "llm_requests": int(job.count("llm_requests")), "llm_retries": int(job.count("llm_retries")),
        "kept_of_asked": round(sum(statuses.values()) / job.count("asked"), 3) if job.count("asked") else 0.0,
        "tokens_in": int(job.count("tokens_in")), "tokens_out": int(job.count("tokens_out")),
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
        client: LlmClient,
        requests: Requests,
        units: list[list[dict[str, Any]]],
        contexts: dict[str, str],
    ):
        self.job, self.client, self.requests, self.units, self.contexts = job, client, requests, units, contexts
        prompt = requests.prompt
        self._shown = "\n".join(
            [prompt.system, *(f"{example.refined_question}\n{example.refined_answer}" for example in prompt.examples)]
        )
        self._requests: dict[str, LlmRequest | str] = {}
        self._tries: dict[str, list[LlmReply]] = {}

    def compute(self, offset: int) -> Unit:
        """The unit at ``offset``."""
        if not self._requests:
            self._ask(offset)
        rows: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        counts: Counter[str] = Counter()
        for pair in self.units[offset]:
            tries = self._tries.get(pair["id"])
            if tries is None:
                rejects.append(Reject(pair["id"], pair["parent_id"], "too_long", str(self._requests[pair["id"]])))
                continue
            counts.update(
                asked=1,
                llm_requests=len(tries),
                llm_retries=len(tries) - 1,
                tokens_in=sum(reply.tokens_in for reply in tries),
                tokens_out=sum(reply.tokens_out for reply in tries),
            )
            outcome = self._checked(pair, tries[-1])
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

    def _checked(self, pair: dict[str, Any], reply: LlmReply) -> Outcome:
        return check_reply(
            pair["question"],
            pair["answer"],
            reply,
            context=self.contexts.get(pair["id"], ""),
            prompt_text=self._shown,
            corrections=self.requests.prompt.corrections,
        )

    def _ask(self, offset: int) -> None:
        """Sends the requests of this and the later units, longest replies first so that none straggles at the end."""
        pairs = {pair["id"]: pair for unit in self.units[offset:] for pair in unit}
        self._requests = {
            identity: self.requests.build(pair, self.contexts.get(identity, "")) for identity, pair in pairs.items()
        }
        asked = {identity: request for identity, request in self._requests.items() if isinstance(request, LlmRequest)}
        order = sorted(asked, key=lambda identity: (-asked[identity].max_tokens, identity))
        self.job.progress.advance(len(self._requests) - len(asked))

        def judge(index: int, reply: LlmReply) -> Verdict:
            reason = self._checked(pairs[order[index]], reply).reason
            return "truncated" if reason == "defect_truncated" else "failed" if reason in RETRIED else ""

        tries = complete_with_retries(
            self.client,
            [asked[identity] for identity in order],
            judge,
            retries=self.requests.refiner.retries,
            longest=lambda index: self.requests.room(asked[order[index]]),
            on_reply=lambda index, reply: self.job.progress.advance(1),
        )
        self._tries = dict(zip(order, tries, strict=True))


REFINED_QA = Stage(
    asset="refined_qa",
    dimensions=("refiner", "snapshot"),
    prefix="rq",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/refinement/*.py", "stages/refinement/prompts/*", "stages/decontamination/words.py"),
)
