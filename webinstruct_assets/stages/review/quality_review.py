"""Asset ``quality_review``: a random sample of a snapshot's refined pairs, with what people said of it.

In: ``refined_qa`` of every refiner of the environment, the lineage of the sampled pairs down to ``pages``, and the
review files (``review.folder``). Out: one row per sampled pair; the records read are the sampled pairs, none is
rejected. Without a single verdict the metrics say so (``reviewed`` 0 and no shares): an empty review is no good review.

Columns: ``id``; ``parent_id`` (row of ``refined_qa``); ``url``; ``refiner``; ``status`` (of the refinement);
``question``, ``answer``; ``original_question``, ``original_answer``; ``excerpt`` (the page's text around the pair);
``question_spans``, ``answer_spans`` (character offsets into ``excerpt``, end exclusive); ``judge_category``,
``judge_reason`` (an LLM's, "" without one); ``reviews`` (reviewer, category, note, at; the last of each reviewer);
``verdict`` (what most reviewers said, ``disputed`` at a tie, "" without a review).

Source: paper §5.4 (50 refined pairs judged by people, five categories); Wilson 95 % intervals; Cohen's κ.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.intervals import wilson
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lineage import Chain, with_ancestors
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.pages.schema import SPANS
from webinstruct_assets.stages.review import reviews as records
from webinstruct_assets.stages.review.agreement import consensus, kappa
from webinstruct_assets.stages.review.judge import judge_request, prompt_hash, read_judgement
from webinstruct_assets.stages.review.reviews import CATEGORIES, Review
from webinstruct_assets.stages.review.sample import draw

PREFIX = "qr"
CHAIN: Chain = {
    "deduplicated_qa": {name: name for name in ("question_spans", "answer_spans")},
    "decontaminated_qa": {},
    "extracted_qa": {},
    "pages": {"text": "page_text"},
}
MARGIN = 400  # characters of page text shown on each side of a pair
SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "refiner": pl.String(),
    "status": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "original_question": pl.String(),
    "original_answer": pl.String(),
    "excerpt": pl.String(),
    "question_spans": SPANS,
    "answer_spans": SPANS,
    "judge_category": pl.String(),
    "judge_reason": pl.String(),
    "reviews": pl.List(
        pl.Struct({"reviewer": pl.String(), "category": pl.String(), "note": pl.String(), "at": pl.String()})
    ),
    "verdict": pl.String(),
}


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Refined pairs of every refiner, and the rows they came from."""
    refined = [
        Ref("refined_qa", PartitionKey.of({"refiner": name, "snapshot": key["snapshot"]}))
        for name in sorted(set(ws.config.refiners))
    ]
    return [*refined, *(Ref(asset, key) for asset in CHAIN)]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The sample's size, seed and strata, the judge, and the review files by digest."""
    review = ws.config.review
    judge = (
        {"judge": ws.model_identity(review.judge_model), "judge_prompt": prompt_hash()} if review.judge_model else {}
    )
    found = records.files(ws.path(review.folder), key["snapshot"])
    return {
        "sample": review.sample,
        "seed": review.seed,
        "stratify_by": review.stratify_by,
        "reviews": {path.stem: digest_file(path) for path in found},
        **judge,
    }


def run(job: Job) -> None:
    """Draws, judges where a judge is configured, and joins the verdicts."""
    frames = [
        job.ws.lake.read(manifest).with_columns(pl.lit(manifest.keys["refiner"]).alias("refiner"))
        for manifest in job.manifests("refined_qa")
        if manifest.rows
    ]
    if not frames:
        raise QualityGate(f"quality_review {job.key}: no refined pair to review", "look at the rejects of refined_qa")
    pairs = pl.concat(frames)
    sampled = draw(pairs, job.settings["sample"], job.settings["seed"], job.settings["stratify_by"])
    found = _reviews(job)
    job.progress.start(sampled.height, "pairs")
    job.unit("sample", lambda: _unit(job, sampled, found))
    rows = pl.read_parquet(job.folder / "part-sample.parquet").to_dicts()
    tokens = {name: int(job.count(name)) for name in ("tokens_in", "tokens_out")}
    job.metrics |= {"refined_pairs": pairs.height, "sampled": sampled.height, **tokens, **summary(rows)}


def _reviews(job: Job) -> list[Review]:
    paths = records.files(job.ws.path(job.ws.config.review.folder), job.key["snapshot"])
    return [review for path in paths for review in records.latest(records.read(path)).values()]


def _unit(job: Job, sampled: pl.DataFrame, found: Sequence[Review]) -> Unit:
    pairs = with_ancestors(job, sampled, CHAIN).to_dicts()
    counts: Counter[str] = Counter()
    judged = _judged(job, pairs, counts)
    said: dict[tuple[str, str], list[Review]] = {}
    for review in found:
        said.setdefault((review.pair, review.content), []).append(review)
    rows = []
    for pair in pairs:
        given = said.get((pair["id"], records.content_digest(pair["question"], pair["answer"])), [])
        category, reason = judged.get(pair["id"], ("", ""))
        shown = ("url", "refiner", "status", "question", "answer", "original_question", "original_answer")
        rows.append(
            {
                "id": row_id(PREFIX, pair["id"]),
                "parent_id": pair["id"],
                **{name: pair[name] for name in shown},
                **excerpt(pair["page_text"], pair["question_spans"] or [], pair["answer_spans"] or []),
                "judge_category": category,
                "judge_reason": reason,
                "reviews": [
                    {"reviewer": item.reviewer, "category": item.category, "note": item.note, "at": item.at}
                    for item in given
                ],
                "verdict": consensus([item.category for item in given]),
            }
        )
    return Unit(rows=rows, rows_in=len(rows), counts=counts)


def _judged(job: Job, pairs: Sequence[Mapping[str, Any]], counts: Counter[str]) -> dict[str, tuple[str, str]]:
    model = job.ws.config.review.judge_model
    if not model:
        return {}
    with job.ws.llm(model, job.log) as client:
        replies = client.complete(
            [judge_request(pair) for pair in pairs], on_reply=lambda index, reply: job.progress.advance(1)
        )
    for reply in replies:
        counts.update(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
    return {pair["id"]: read_judgement(reply) for pair, reply in zip(pairs, replies, strict=True)}


def excerpt(text: str, question: Sequence[Mapping[str, int]], answer: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """``excerpt`` and both spans moved into it; the whole stretch from the first span to the last, and a margin."""
    spans = [*question, *answer]
    start = max(0, min((span["start"] for span in spans), default=0) - MARGIN)
    end = min(len(text), max((span["end"] for span in spans), default=0) + MARGIN)

    def moved(spans: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
        return [{"start": span["start"] - start, "end": span["end"] - start} for span in spans]

    return {"excerpt": text[start:end], "question_spans": moved(question), "answer_spans": moved(answer)}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers of a reviewed sample: verdicts with their share and interval, per refiner, κ of every two reviewers.

    ``shares`` has per category ``pairs``, ``share``, ``low``, ``high`` (Wilson, 95 %) over all pairs with a verdict,
    disputed ones included in the total; empty when nobody has reviewed.
    """
    reviewed = [row for row in rows if row["verdict"]]
    judged = [row for row in rows if row["judge_category"]]
    said: dict[str, dict[str, str]] = {}
    for row in reviewed:
        for review in row["reviews"]:
            said.setdefault(review["reviewer"], {})[row["parent_id"]] = review["category"]
    agreement = []
    for one, other in combinations(sorted(said), 2):
        value, shared = kappa(said[one], said[other])
        agreement.append(
            {"reviewers": [one, other], "kappa": None if value is None else round(value, 3), "pairs": shared}
        )
    answer: dict[str, Any] = {
        "reviewed": len(reviewed),
        "reviewers": {name: len(pairs) for name, pairs in sorted(said.items())},
        "disputed": sum(row["verdict"] == "disputed" for row in reviewed),
        "shares": _shares(reviewed, "verdict"),
        "shares_by_refiner": {
            refiner: _shares([row for row in reviewed if row["refiner"] == refiner], "verdict")
            for refiner in sorted({row["refiner"] for row in reviewed})
        },
        "agreement": agreement,
    }
    if judged:
        both = [row for row in reviewed if row["judge_category"] and row["verdict"] != "disputed"]
        value, shared = kappa(
            {row["parent_id"]: row["verdict"] for row in both},
            {row["parent_id"]: row["judge_category"] for row in both},
        )
        answer["judge"] = {
            "judged": len(judged),
            "shares": _shares(judged, "judge_category"),
            "kappa_with_people": None if value is None else round(value, 3),
            "pairs_with_both": shared,
        }
    answer["note"] = "" if reviewed else "nobody has reviewed this sample; run: webinstruct review --snapshot KEY"
    return answer


def _shares(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, dict[str, float]]:
    counts, total = Counter(row[column] for row in rows), len(rows)
    if not total:
        return {}
    return {
        category: {
            "pairs": counts[category],
            "share": round(counts[category] / total, 4),
            **dict(zip(("low", "high"), (round(end, 4) for end in wilson(counts[category], total)), strict=True)),
        }
        for category in CATEGORIES
    }


QUALITY_REVIEW = Stage(
    asset="quality_review",
    dimensions=("snapshot",),
    by_profile=True,
    prefix=PREFIX,
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/review/*.py", "stages/review/prompts/*", "stages/pages/schema.py", "core/lineage.py"),
)
