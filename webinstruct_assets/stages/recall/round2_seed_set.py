"""Asset ``round2_seed_set``: pages of selected domains against all other pages (paper §2.1, second round).

In: WET files, the first recall, the judged domains. Out: labelled pages (columns: ``stages.seeds.pages``).
Positives are recalled pages of selected domains; negatives are pages of domains that were not selected, and
so also random pages of the crawl. Unrecalled pages of selected domains are neither (``ambiguous``).
"""

from functools import partial
from typing import Any

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.urls import registrable_domain
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import WetFile, read_wet, wet_files
from webinstruct_assets.stages.seeds.pages import SCHEMA, one_line, split_of, uniform

PREFIX = "s2"


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Sizes and seed are the seed set's."""
    chosen = settings_of(ws.config.seeds)
    return {name: chosen[name] for name in ("max_positives", "max_negatives", "min_positives", "held_out", "seed")}


def run(job: Job) -> None:
    """One pass over the WET files."""
    seeds = job.ws.config.seeds
    recalled = job.read("round1_recall")
    offsets = {
        row["parent_id"]: set(row["offset"])
        for row in recalled.group_by("parent_id").agg("offset").iter_rows(named=True)
    }
    selected = set(job.read("round1_domains").filter("selected")["domain"])
    source = CrawlSource(job.ws.crawl_root(job.key["snapshot"]))
    files = wet_files(job.read("crawl_index"))
    limits = {
        "positive": max(1, seeds.max_positives // len(files)),
        "negative": max(1, seeds.max_negatives // len(files)),
    }
    job.progress.start(len(files), "WET files")

    def label(file: WetFile) -> Unit:
        rejects: list[Reject] = []
        candidates: dict[str, list[tuple[float, dict[str, Any]]]] = {"positive": [], "negative": []}
        for page in read_wet(source, file, PREFIX, rejects):
            identity, text, domain = (
                row_id(PREFIX, file.id, page.offset),
                one_line(page.text),
                registrable_domain(page.url),
            )
            found = page.offset in offsets.get(file.id, ())
            if not text or (domain in selected and not found):
                rejects.append(Reject(identity, file.id, "ambiguous" if text else "empty_text", page.url))
                continue
            name = "positive" if domain in selected else "negative"
            row = {
                "id": identity,
                "parent_id": file.id,
                "url": page.url,
                "domain": domain,
                "label": name,
                "source": "selected_domain"
                if name == "positive"
                else "recalled_but_not_selected"
                if found
                else "random",
                "offset": page.offset,
                "split": split_of(seeds.seed, text, seeds.held_out),
                "text": text,
            }
            candidates[name].append((uniform(seeds.seed, page.url, page.offset), row))
        rows: list[dict[str, Any]] = []
        for name, limit in limits.items():
            ordered = sorted(candidates[name], key=lambda item: item[0])
            rows += [row for _, row in ordered[:limit]]
            rejects += [Reject(row["id"], file.id, "not_sampled", row["url"]) for _, row in ordered[limit:]]
        rows.sort(key=lambda row: row["offset"])
        return Unit(
            rows=rows,
            rejects=rejects,
            rows_in=len(rows) + len(rejects),
            counts={"positives": sum(row["label"] == "positive" for row in rows)},
        )

    for file in files:
        job.unit(file.unit, partial(label, file))
        job.progress.advance(1)
    positives = int(job.count("positives"))
    total = job.outcome()["rows"]
    job.metrics |= {"positives": positives, "negatives": total - positives, "selected_domains": len(selected)}
    if min(positives, total - positives) < seeds.min_positives:
        raise QualityGate(
            f"round2_seed_set {job.key}: {positives} positive and {total - positives} negative pages, {seeds.min_positives} of each needed",
            "look at round1_domains: too few or too many domains were selected",
        )


ROUND2_SEED_SET = Stage(
    asset="round2_seed_set",
    dimensions=("snapshot",),
    prefix=PREFIX,
    schema=dict(SCHEMA),
    run=run,
    inputs=lambda ws, key: [Ref("crawl_index", key), Ref("round1_recall", key), Ref("round1_domains", key)],
    settings=settings,
    sources=(
        "stages/recall/round2_seed_set.py",
        "stages/seeds/pages.py",
        "stages/crawl/wet.py",
        "core/warc.py",
    ),
    reusable=True,
)
