"""Judging domains: evidence that needs no LLM first, the LLM for the rest.

In: the recalled pages of a round and the pages read per domain. Out: one row per domain that was judged;
domains with too few recalled pages or too low a recall rate are rejects (``too_few_pages``,
``low_recall_rate``; DeepSeekMath keeps domains above 10 %).

Columns: ``id``, ``parent_id`` (first recalled page of the domain), ``domain``, ``pages`` (read), ``recalled``
(pages), ``recall_rate`` (0..1), ``mean_score``, ``selected`` (bool), ``decided_by`` (allow_list | recall_rate
| llm | llm_failed), ``model`` (identity, "" where no LLM was asked), ``reply``.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from webinstruct_assets.core.config import load_yaml
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.client import LlmRequest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.seeds.seed_set import AllowList

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
    "model": pl.String(),
    "reply": pl.String(),
}
PROMPT = Path(__file__).parent / "prompts/domain.yaml"
LABEL_SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["educational", "non-educational"]}},
    "required": ["label"],
    "additionalProperties": False,
}


def domains_stage(asset: str, prefix: str, recall: str) -> Stage:
    """The Stage that judges the domains of asset ``recall``'s pages."""

    def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
        config = ws.config.recall
        return {
            "min_domain_pages": config.min_domain_pages,
            "min_recall_rate": config.min_recall_rate,
            "sure_recall_rate": config.sure_recall_rate,
            "titles_per_domain": config.titles_per_domain,
            "judge_model": ws.model_identity(config.judge_model),
            "allow_list": digest_file(ws.path(ws.config.seeds.allow_list)),
        }

    return Stage(
        asset=asset,
        dimensions=("snapshot",),
        prefix=prefix,
        schema=SCHEMA,
        run=_run(recall, prefix),
        inputs=lambda ws, key: [Ref(recall, key)],
        settings=settings,
        sources=("stages/recall/domains.py", "stages/recall/prompts/domain.yaml"),
        reusable=asset.startswith("round1"),
    )


def _run(recall: str, prefix: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        (manifest,) = job.manifests(recall)
        domains = candidates(job.read(recall), _pages_per_domain(job, recall), job.settings["titles_per_domain"])
        job.progress.start(domains.height, "domains")
        job.unit("domains", lambda: _judge(job, domains, prefix))
        judged = pl.read_parquet([job.folder / "part-domains.parquet"])
        job.metrics |= {
            "recalled_pages": manifest.rows,
            "domains_recalled": domains.height,
            "domains_judged": judged.height,
            "domains_selected": judged.filter("selected").height,
            "decided_by": dict(sorted(judged["decided_by"].value_counts().iter_rows())),
            **_accuracy(job, judged),
        }

    return run


def _pages_per_domain(job: Job, recall: str) -> pl.DataFrame:
    (manifest,) = job.manifests(recall)
    source = job.ws.lake.source(manifest, job.stage.asset)
    paths = [job.ws.lake.data_folder(source) / part.file for part in source.files if part.file.startswith("domains-")]
    return pl.read_parquet(paths).group_by("domain").agg(pl.col("pages").sum())


def candidates(pages: pl.DataFrame, pages_per_domain: pl.DataFrame, titles: int) -> pl.DataFrame:
    """Recalled domains with their evidence and the first ``titles`` titles, most recalled pages first."""
    recalled = (
        pages.sort("id")
        .group_by("domain", maintain_order=True)
        .agg(
            pl.col("id").first().alias("parent_id"),
            pl.len().cast(pl.Int64).alias("recalled"),
            pl.col("score").cast(pl.Float64).mean().alias("mean_score"),
            pl.col("title").unique(maintain_order=True).head(titles).alias("titles"),
        )
    )
    joined = recalled.join(pages_per_domain, on="domain", how="left", validate="1:1")
    return joined.with_columns((pl.col("recalled") / pl.col("pages")).alias("recall_rate")).sort(
        "recalled", "domain", descending=[True, False]
    )


def _judge(job: Job, domains: pl.DataFrame, prefix: str) -> Unit:
    config = job.ws.config.recall
    allow_list = load_yaml(job.ws.path(job.ws.config.seeds.allow_list), AllowList)
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    undecided: list[dict[str, Any]] = []
    for domain in domains.iter_rows(named=True):
        identity = row_id(prefix, domain["parent_id"], domain["domain"])
        row = {name: domain[name] for name in ("parent_id", "domain", "pages", "recalled", "recall_rate", "mean_score")}
        row |= {"id": identity, "selected": True, "decided_by": "", "model": "", "reply": ""}
        if domain["recalled"] < config.min_domain_pages:
            rejects.append(
                Reject(
                    identity,
                    domain["parent_id"],
                    "too_few_pages",
                    f"{domain['domain']}: {domain['recalled']} recalled",
                )
            )
        elif allow_list.match(domain["domain"]):
            rows.append({**row, "decided_by": "allow_list"})
        elif domain["recall_rate"] < config.min_recall_rate:
            rejects.append(
                Reject(
                    identity,
                    domain["parent_id"],
                    "low_recall_rate",
                    f"{domain['domain']}: {domain['recall_rate']:.3f}",
                )
            )
        elif domain["recall_rate"] >= config.sure_recall_rate:
            rows.append({**row, "decided_by": "recall_rate"})
        else:
            undecided.append({**row, "titles": domain["titles"]})
    job.progress.advance(len(rows) + len(rejects))
    rows += _ask(job, undecided)
    return Unit(rows=sorted(rows, key=lambda row: row["domain"]), rejects=rejects, rows_in=domains.height)


def _ask(job: Job, undecided: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The LLM's label for each domain that evidence left open; a failed or odd reply selects nothing and says so."""
    if not undecided:
        return []
    model = job.ws.config.recall.judge_model
    with job.ws.llm(model, job.log) as client:
        replies = client.complete(
            [request(row["domain"], row["titles"]) for row in undecided],
            on_reply=lambda index, reply: job.progress.advance(1),
        )
    identity = job.settings["judge_model"]
    rows = []
    for row, reply in zip(undecided, replies, strict=True):
        label = parse_label(reply.text) if reply.error is None else None
        rows.append(
            {
                **{name: value for name, value in row.items() if name != "titles"},
                "selected": label == "educational",
                "decided_by": "llm" if label else "llm_failed",
                "model": identity,
                "reply": reply.text or reply.error or "",
            }
        )
    return rows


@cache
def _prompt() -> dict[str, Any]:
    return yaml.safe_load(PROMPT.read_text(encoding="utf-8"))


def request(domain: str, titles: Sequence[str]) -> LlmRequest:
    """The question about one domain; the prefix is the same for all, so a server's prefix cache serves it."""
    prompt = _prompt()
    messages = [{"role": "system", "content": prompt["system"]}]
    for example in prompt["examples"]:
        messages.append({"role": "user", "content": example["user"]})
        messages.append({"role": "assistant", "content": json.dumps({"label": example["label"]})})
    listed = "\n".join(f"- {title}" for title in titles)
    messages.append({"role": "user", "content": f"Domain: {domain}\nTitles:\n{listed}"})
    return LlmRequest(messages=tuple(messages), max_tokens=16, json_schema=LABEL_SCHEMA, tag=domain)


def parse_label(text: str) -> str | None:
    """``educational``, ``non-educational``, or None for a reply that is neither."""
    try:
        label = json.loads(text)["label"]
    except (ValueError, KeyError, TypeError):
        return None
    return label if label in ("educational", "non-educational") else None


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
