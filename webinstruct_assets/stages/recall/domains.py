"""Judging domains: evidence that needs no LLM first, the LLM for the rest.

In: the recalled pages of a round and the pages read per domain. Out: one row per domain that was judged;
domains with too few recalled pages or too low a recall rate are rejects (``too_few_pages``: paper 1,000;
``low_recall_rate``: DeepSeekMath keeps domains above 10 %).

Columns: ``id``, ``parent_id`` (first recalled page of the domain), ``domain``, ``pages`` (read), ``recalled``
(pages), ``recall_rate`` (0..1), ``mean_score``, ``selected`` (bool), ``decided_by``, ``votes`` (the LLM's, in the order
of asking; "" for a reply without one), ``label_from`` (snapshot whose run asked the LLM), ``model`` (its identity),
``reply`` (what it answered instead of a vote). The last four are empty where no LLM was asked.

``decided_by``: ``allow_list``, ``recall_rate``; ``llm`` (all votes agree), ``llm_split`` (they differ, the majority
decides), ``llm_cached`` (another snapshot's run has asked), ``llm_undecided`` (refusals, unreadable replies or a
tie: not selected). A build is the same again as long as the ledger knows the labels it knew, and the rows say which.

From the second round on, metric ``already_collected`` is the share of the round's collected pages (recalled, of
selected domains) that the round before had collected: DeepSeekMath's sign to stop.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import polars as pl

from webinstruct_assets.core.config import load_yaml
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.funnel import steps_of_round
from webinstruct_assets.stages.recall.judge import Evidence, Judgement, Memory, judge
from webinstruct_assets.stages.recall.rounds import Round, scan_reuse
from webinstruct_assets.stages.seeds.allow_list import AllowList

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "domain": pl.String(),
    "pages": pl.Int64(),
    "recalled": pl.Int64(),
    "recall_rate": pl.Float64(),
    "mean_score": pl.Float64(),
    "selected": pl.Boolean(),
    "decided_by": pl.String(),
    "votes": pl.List(pl.String()),
    "label_from": pl.String(),
    "model": pl.String(),
    "reply": pl.String(),
}


def judge_model(ws: Workspace, number: int) -> str:
    """Name of the model that judges in round ``number``."""
    recall = ws.config.recall
    return (recall.round2_judge_model if number > 1 else None) or recall.judge_model


def domains_stage(number: int) -> Stage:
    """The Stage that judges the domains of round ``number``'s pages."""
    names = Round(number)

    def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
        config = ws.config.recall
        return {
            "min_domain_pages": config.min_domain_pages,
            "min_recall_rate": config.min_recall_rate,
            "sure_recall_rate": config.sure_recall_rate,
            "titles_per_domain": config.titles_per_domain,
            "paths_per_domain": config.paths_per_domain,
            "domains_per_request": config.domains_per_request,
            "judge_model": ws.model_identity(judge_model(ws, number)),
            "allow_list": digest_file(ws.path(ws.config.seeds.allow_list)),
        }

    def inputs(ws: Workspace, key: PartitionKey) -> list[Ref]:
        before = [names.before.recall, names.before.domains] if names.before else []
        return [Ref(asset, key) for asset in (names.recall, *before)]

    return Stage(
        asset=names.domains,
        dimensions=("snapshot",),
        prefix=f"d{number}",
        schema=SCHEMA,
        run=_run(names),
        inputs=inputs,
        settings=settings,
        sources=(
            "stages/recall/domains.py",
            "stages/recall/rounds.py",
            "stages/recall/judge.py",
            "stages/recall/funnel.py",
            "stages/recall/prompts/domain.yaml",
            "stages/seeds/allow_list.py",
        ),
        reuses=scan_reuse("domains", number),
    )


def _run(names: Round) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        read = _pages_per_domain(job, names.recall)
        domains = candidates(
            _rows(job, names.recall), read, job.settings["titles_per_domain"], job.settings["paths_per_domain"]
        )
        job.progress.start(domains.height, "domains")
        job.unit("domains", partial(_judge, job, domains, names.number))
        judged = pl.read_parquet([job.folder / "part-domains.parquet"])
        selected = judged.filter("selected")
        (recall,) = job.manifests(names.recall)
        least, rejected = job.settings["min_domain_pages"], job.rejected
        job.metrics |= {
            "pages_scored": recall.metrics["pages_scored"],
            "recalled_pages": recall.rows,
            "domains_read": read.height,
            f"domains_read_with_{least}_pages": read.filter(pl.col("pages") >= least).height,
            "domains_recalled": domains.height,
            "domains_with_min_pages": domains.height - rejected.get("too_few_pages", 0),
            "domains_judged": judged.height,
            "domains_selected": selected.height,
            "collected_pages": int(selected["recalled"].sum()),
            "recalled_text_bytes": int(domains["text_bytes"].sum()),
            "collected_text_bytes": int(domains.join(selected, on="domain", how="semi")["text_bytes"].sum()),
            "decided_by": _counts(judged["decided_by"]),
            "labels_from": _counts(judged.filter(pl.col("label_from") != "")["label_from"]),
            **_accuracy(job, judged),
            **{name: int(job.count(name)) for name in ("tokens_in", "tokens_out")},
        }
        job.metrics |= _already_collected(job, names, judged)
        job.metrics["funnel"] = _funnel(job, names)
        shown = ("domains_recalled", "domains_with_min_pages", "domains_judged", "domains_selected")
        job.log(f"{job.stage.asset} {job.key}: " + ", ".join(f"{name} {job.metrics[name]:,}" for name in shown))

    return run


def _counts(values: pl.Series) -> dict[str, int]:
    return dict(sorted(values.value_counts().iter_rows()))


def _rows(job: Job, asset: str) -> pl.LazyFrame:
    """Rows of an input, unread: a round may recall 10^8 pages."""
    (manifest,) = job.manifests(asset)
    return pl.scan_parquet(
        job.ws.lake.part_paths(job.ws.lake.source(manifest, job.stage.asset)), hive_partitioning=False
    )


def _pages_per_domain(job: Job, recall: str) -> pl.DataFrame:
    (manifest,) = job.manifests(recall)
    source = job.ws.lake.source(manifest, job.stage.asset)
    paths = [path for path in job.ws.lake.file_paths(source) if path.name.startswith("domains-")]
    return pl.scan_parquet(paths).group_by("domain").agg(pl.col("pages").sum()).collect()


def candidates(pages: pl.LazyFrame, pages_per_domain: pl.DataFrame, titles: int, paths: int) -> pl.DataFrame:
    """Recalled domains with their evidence, most recalled pages first.

    ``titles``: the first ones in the order of the pages' ids, which are digests, so that is a random sample.
    ``paths``: the most frequent first steps of the pages' paths.
    """
    recalled = (
        pages.select("id", "domain", "score", "title", pl.col("text").str.len_bytes().alias("bytes"))
        .group_by("domain")
        .agg(
            pl.col("id").min().alias("parent_id"),
            pl.len().cast(pl.Int64).alias("recalled"),
            pl.col("score").cast(pl.Float64).mean().alias("mean_score"),
            pl.col("bytes").cast(pl.Int64).sum().alias("text_bytes"),
            pl.col("title").sort_by("id").unique(maintain_order=True).head(titles).alias("titles"),
        )
    )
    first_steps = (
        pages.select("domain", pl.col("url").str.extract(r"^[A-Za-z]+://[^/?#]*(/[^/?#]*)", 1).alias("path"))
        .drop_nulls()
        .group_by("domain", "path")
        .len()
        .sort("len", "path", descending=[True, False])
        .group_by("domain", maintain_order=True)
        .agg(pl.col("path").head(paths).alias("paths"))
    )
    joined = (
        recalled.join(first_steps, on="domain", how="left")
        .collect()
        .join(pages_per_domain, on="domain", how="left", validate="1:1")
    )
    return joined.with_columns((pl.col("recalled") / pl.col("pages")).alias("recall_rate")).sort(
        "recalled", "domain", descending=[True, False]
    )


def _judge(job: Job, domains: pl.DataFrame, number: int) -> Unit:
    settings = job.settings
    allow_list = load_yaml(job.ws.path(job.ws.config.seeds.allow_list), AllowList)
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    undecided: list[tuple[dict[str, Any], Evidence]] = []
    for domain in domains.iter_rows(named=True):
        name, parent = domain["domain"], domain["parent_id"]
        identity = row_id(job.stage.prefix, parent, name)
        row = {field: domain[field] for field in SCHEMA if field in domain}
        row |= {"id": identity, "selected": True, "votes": [], "label_from": "", "model": "", "reply": ""}
        if domain["recalled"] < settings["min_domain_pages"]:
            rejects.append(Reject(identity, parent, "too_few_pages", f"{name}: {domain['recalled']} recalled"))
        elif allow_list.whole(name):
            rows.append({**row, "decided_by": "allow_list"})
        elif domain["recall_rate"] < settings["min_recall_rate"]:
            rejects.append(Reject(identity, parent, "low_recall_rate", f"{name}: {domain['recall_rate']:.3f}"))
        elif domain["recall_rate"] >= settings["sure_recall_rate"]:
            rows.append({**row, "decided_by": "recall_rate"})
        else:
            undecided.append((row, Evidence(name, tuple(domain["paths"] or ()), tuple(domain["titles"]))))
    job.progress.advance(len(rows) + len(rejects), Counter(reject.reason for reject in rejects))
    counts: Counter[str] = Counter()
    judgements = _ask(job, [evidence for _, evidence in undecided], number, counts)
    rows += [{**row, **_decided(job, judgements[evidence.domain])} for row, evidence in undecided]
    return Unit(
        rows=sorted(rows, key=lambda row: row["domain"]), rejects=rejects, rows_in=domains.height, counts=counts
    )


def _ask(job: Job, undecided: Sequence[Evidence], number: int, counts: Counter[str]) -> dict[str, Judgement]:
    """Judgements of the domains that evidence left open: those remembered, and the LLM's of the others."""
    if not undecided:
        return {}
    at_once, snapshot = job.settings["domains_per_request"], job.key["snapshot"]
    ledger = job.ws.ledger()
    try:
        memory = Memory(ledger, job.settings["judge_model"], job.stage.asset, at_once, snapshot)
        known = memory.recall([item.domain for item in undecided])
        job.progress.advance(len(known))
        new = [item for item in undecided if item.domain not in known]
        if not new:
            return known
        job.log(f"{job.stage.asset} {job.key}: {len(known):,} domains have a label, asking about {len(new):,}")
        with job.ws.llm(judge_model(job.ws, number), job.log) as client:

            def ask(requests: Sequence[LlmRequest]) -> list[LlmReply]:
                job.progress.start(len(requests), "questions about domains")
                replies = client.complete(requests, on_reply=lambda index, reply: job.progress.advance())
                for reply in replies:
                    counts.update(tokens_in=reply.tokens_in, tokens_out=reply.tokens_out)
                return replies

            answers = judge(new, at_once, snapshot, ask)
        # After the last answer: a run killed before asks again in the same lists, which the ledger answers.
        memory.remember(answers)
        return known | answers
    finally:
        ledger.close()


def _decided(job: Job, judgement: Judgement) -> dict[str, Any]:
    if not judgement.label:
        how = "llm_undecided"
    elif judgement.origin != job.key["snapshot"]:
        how = "llm_cached"
    else:
        how = "llm" if set(judgement.votes) == {judgement.label} else "llm_split"
    return {
        "selected": judgement.label == "educational",
        "decided_by": how,
        "votes": list(judgement.votes),
        "label_from": judgement.origin,
        "model": job.settings["judge_model"],
        "reply": judgement.reply,
    }


def _already_collected(job: Job, names: Round, judged: pl.DataFrame) -> dict[str, float]:
    """Share of the collected pages that the round before had collected, where that round ran on this snapshot."""
    if names.before is None:
        return {}
    earlier = [job.manifests(asset)[0] for asset in (names.before.recall, names.before.domains)]
    if any(manifest.reuses for manifest in earlier):
        return {}
    before = job.read(names.before.domains)

    def collected(recall: str, selected: pl.DataFrame) -> pl.LazyFrame:
        wanted = selected.filter("selected").select("domain").lazy()
        places = _rows(job, recall).select(pl.col("parent_id").alias("file"), "offset", "domain")
        return places.join(wanted, on="domain", how="semi")

    now = collected(names.recall, judged)
    known = now.join(collected(names.before.recall, before), on=["file", "offset"], how="semi")
    total, again = (frame.select(pl.len()).collect().item() for frame in (now, known))
    return {"already_collected": round(again / total, 6)} if total else {}


def _funnel(job: Job, names: Round) -> list[dict[str, Any]]:
    """The funnel down to this round's selected domains: what the round before counted, and what this one does."""
    (recall,) = job.manifests(names.recall)
    before: Manifest | None = job.manifests(names.before.domains)[0] if names.before else None
    earlier = list(before.metrics.get("funnel", [])) if before else []
    return earlier + steps_of_round(names.number, job.key["snapshot"], recall.metrics["labelled"], job.metrics)


def _accuracy(job: Job, judged: pl.DataFrame) -> dict[str, Any]:
    """Share of right decisions per way of deciding, over domains that the gold file knows."""
    path = job.ws.path(job.ws.config.crawl.demo_sources) / "domains.jsonl"
    if not path.exists():
        return {}
    gold = pl.read_ndjson(path).select(pl.col("host").alias("domain"), "educational")
    compared = judged.join(gold, on="domain", how="inner")
    if compared.is_empty():
        return {}
    by = (
        compared.group_by("decided_by")
        .agg(pl.len().alias("domains"), (pl.col("selected") == pl.col("educational")).mean().alias("accuracy"))
        .sort("decided_by")
    )
    return {
        "accuracy_on_gold": {
            row["decided_by"]: {"domains": row["domains"], "accuracy": round(row["accuracy"], 3)}
            for row in by.iter_rows(named=True)
        }
    }
