"""Asset ``refined_qa``: pairs as one refiner rewrote them, those whose question and final answer survived it.

Partitioned by refiner and snapshot (paper §2.3: two refiners, both over all pairs); reads ``deduplicated_qa`` and, for a
refiner with ``give_context``, the pages that they come from. Every pair either leads to a refined row or to a reject with
one of the reasons of ``checks.py``, or was not asked about: ``not_sampled`` (beyond ``max_pairs``), ``too_long`` (it does
not fit the refiner's or the model's limit), or a ``defect_…`` that it had on its page already (``defects.page_defect``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl

from webinstruct_assets.core.config import RefinerConfig, settings_of
from webinstruct_assets.core.errors import ConfigError
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lineage import Chain, with_ancestors
from webinstruct_assets.core.llm.batches import Wanted
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.stage import AskedUnit, Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.extraction.quality import read_gold
from webinstruct_assets.stages.refinement.checks import check_reply, retry_of
from webinstruct_assets.stages.refinement.defects import page_defect
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
# From deduplicated_qa up to the page.
TO_PAGE: Chain = {"decontaminated_qa": {}, "extracted_qa": {}, "pages": {"text": "page_text"}}


def refiner_config(ws: Workspace, name: str) -> RefinerConfig:
    """The refiner's file. Raises ConfigError naming the known ones."""
    if name not in ws.files.refiners:
        raise ConfigError(
            f"no refiner {name!r}", f"add config/refiners/{name}.yaml, or use one of: {', '.join(ws.files.refiners)}"
        )
    return ws.files.refiners[name]


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Pairs, and what they descend from where the refiner is shown their pages."""
    snapshot = PartitionKey.of({"snapshot": key["snapshot"]})
    above = TO_PAGE if refiner_config(ws, key["refiner"]).give_context else ()
    return [Ref("deduplicated_qa", snapshot), *(Ref(asset, snapshot) for asset in above)]


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
    """Asks for the sampled pairs, part by part of the input, and commits some dozens at a time."""
    refiner = refiner_config(job.ws, job.key["refiner"])
    count = job.ws.token_counts(refiner.model, job.log)
    requests = Requests(load_prompt(refiner.prompt), refiner, count, job.settings["max_model_len"])
    every, last = job.scan("deduplicated_qa"), _last_sampled(job, requests)
    sampled = pl.lit(True) if last is None else pl.col("id") <= last
    left_out = every.filter(~sampled).select("id", "parent_id", "url").collect()
    if left_out.height:
        job.unit("not-sampled", lambda: _not_sampled(left_out))
    pairs = int(every.filter(sampled).select(pl.len()).collect().item())
    parts = (part.filter(sampled) for part in job.parts("deduplicated_qa"))
    if refiner.give_context:
        parts = (_with_context(job, part) for part in parts)
    chunks = (chunk for part in parts for chunk in part.iter_slices(PAIRS_PER_UNIT))
    job.progress.start(pairs, "pairs")
    with job.ws.llm(refiner.model, job.log) as client:
        job.ask(client, (partial(_Refining, job, requests, chunk.to_dicts()) for chunk in chunks))
    statuses = {name: int(job.count(name)) for name in ("refined", "unchanged", "corrected")}
    job.metrics |= {
        "pairs": pairs, "by_status": statuses, **statuses, "reasoning_added": int(job.count("reasoning_added")), "asked": int(job.count("asked")),
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


def _last_sampled(job: Job, requests: Requests) -> str | None:
    """The last of the first pairs, by id, that hold ``max_pairs`` which can be asked for; None: no pair is beyond them."""
    budget = requests.refiner.max_pairs
    if budget is None:
        return None
    every, fitting, last = job.scan("deduplicated_qa"), 0, ""
    ids = every.select("id").collect()["id"].sort()  # ids are digests: their order is a fixed random one
    for start in range(0, len(ids), max(budget, PAIRS_PER_UNIT)):
        block = ids[start : start + max(budget, PAIRS_PER_UNIT)]
        pairs = every.filter(pl.col("id").is_between(pl.lit(block[0]), pl.lit(block[-1]))).select(
            "id", "question", "answer"
        )
        for pair in pairs.collect().sort("id").iter_rows(named=True):
            if fitting == budget:
                return last
            fitting, last = fitting + isinstance(_request(requests, pair, ""), LlmRequest), pair["id"]
    return None


def _request(requests: Requests, pair: Mapping[str, Any], context: str) -> LlmRequest | tuple[str, str]:
    """The request for a pair, or (reason, detail) of the one that is not asked about: no refiner can help it."""
    if found := page_defect(pair["question"], pair["answer"], completed=requests.refiner.give_context):
        return found
    built = requests.build(pair, context)
    return built if isinstance(built, LlmRequest) else ("too_long", built)


def _not_sampled(pairs: pl.DataFrame) -> Unit:
    """Pairs beyond the refiner's budget."""
    rejects = [Reject(row["id"], row["parent_id"], "not_sampled", row["url"]) for row in pairs.iter_rows(named=True)]
    return Unit(rows=[], rows_in=pairs.height, rejects=rejects)


def _with_context(job: Job, pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs with a column ``context``: the page's text around each."""
    found = with_ancestors(job, pairs, TO_PAGE).select("page_text", "question_spans", "answer_spans")
    contexts = [
        page_context(text, [*(question or ()), *(answer or ())]) for text, question, answer in found.iter_rows()
    ]
    return pairs.with_columns(pl.Series("context", contexts, pl.String))


class _Refining(AskedUnit):
    """Some pairs on their way through the refiner."""

    def __init__(self, job: Job, requests: Requests, pairs: Sequence[dict[str, Any]]):
        self._job, self._sized, self._pairs = job, requests, pairs
        self._built = [_request(requests, pair, pair.get("context", "")) for pair in pairs]
        self.requests = [request for request in self._built if isinstance(request, LlmRequest)]
        self.retries = requests.refiner.retries
        self._counts: Counter[str] = Counter()
        job.progress.advance(len(pairs) - len(self.requests))

    def wanted(self, index: int, reply: LlmReply) -> Wanted:
        return retry_of(reply)

    def room(self, index: int) -> int:
        return self._sized.longest(self.requests[index])

    def heard(self, index: int, attempt: int, reply: LlmReply) -> None:
        self._counts.update(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out, retries=attempt > 0)
        self._job.progress.advance(int(attempt == 0))

    def made_of(self, replies: Sequence[LlmReply]) -> Unit:
        prompt, settings, counts = self._sized.prompt, self._job.settings, self._counts
        shown = [f"{example.refined_question}\n{example.refined_answer}" for example in prompt.examples]
        rows: list[dict[str, Any]] = []
        rejects: list[Reject] = []
        counts["asked"] += len(replies)
        left = iter(replies)
        for pair, built in zip(self._pairs, self._built, strict=True):
            if not isinstance(built, LlmRequest):
                rejects.append(Reject(pair["id"], pair["parent_id"], *built))
                continue
            outcome = check_reply(
                pair["question"],
                pair["answer"],
                next(left),
                context=pair.get("context", ""),
                prompt_text="\n".join([prompt.system, *shown]),
                corrections=prompt.corrections,
            )
            if not outcome.status:
                rejects.append(Reject(pair["id"], pair["parent_id"], outcome.reason, outcome.detail))
                continue
            assert outcome.finals is not None
            before, after = outcome.finals
            counts.update({outcome.status: 1, "reasoning_added": outcome.reasoning_added})
            rows.append({
                "id": row_id("rq", pair["id"], self._job.key["refiner"]), "parent_id": pair["id"], "url": pair["url"], "domain": pair["domain"],
                "question": outcome.question, "answer": outcome.answer, "original_question": pair["question"], "original_answer": pair["answer"],
                "status": outcome.status, "final_before": str(before), "final_after": str(after), "answer_type": after.kind,
                "correction": outcome.correction, "reasoning_added": outcome.reasoning_added, "model": settings["model"], "prompt_hash": settings["prompt_hash"],
            })  # fmt: skip
        return Unit(rows=rows, rows_in=len(self._pairs), rejects=rejects, counts=counts)


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
        "stages/extraction/quality.py",
        "stages/pages/document.py",
        "stages/pages/markup.py",
        "core/llm/batches.py",
        "core/lineage.py",
    ),
)
