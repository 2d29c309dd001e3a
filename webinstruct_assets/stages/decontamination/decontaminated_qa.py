"""Asset ``decontaminated_qa``: pairs that share no wording with any benchmark of the environment (paper §2.2).

Partitioned by snapshot; reads ``extracted_qa``, at level ``page`` the text of the ``pages`` that have pairs, and
``benchmark_items`` of every benchmark that the environment enables (one that is missing stops the stage with its
name). Level ``page`` is the paper's: a hit in a page's text or in one of its pairs drops all its pairs; level
``pair`` looks at each pair alone. Rejects: ``contaminated``, the detail naming benchmark, item and wording. Every
hit is a row of ``hits.parquet`` beside the parts.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.index import BenchmarkIndex, BenchmarkItem, Match

_SPANS = pl.List(pl.Struct({"start": pl.Int64(), "end": pl.Int64()}))
# The columns of extracted_qa, unchanged but for:      id: dq-…      parent_id: qa-… of the extracted pair
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
    "question_spans": _SPANS,
    "answer_spans": _SPANS,
    "model": pl.String(),
    "prompt_hash": pl.String(),
}
# benchmark, item_id, benchmark_field (question | answer | solution): what was found      matched: the common words
# place: where (page | question | answer)      page_id: pg-…      pair_id: qa-…, "" for a hit in a page's text
# n_items: how many items share wording with this text (at most the index's limit)
HITS_SCHEMA: dict[str, pl.DataType] = {
    "benchmark": pl.String(),
    "item_id": pl.String(),
    "benchmark_field": pl.String(),
    "place": pl.String(),
    "page_id": pl.String(),
    "pair_id": pl.String(),
    "url": pl.String(),
    "matched": pl.String(),
    "n_items": pl.Int64(),
}
PAGES_PER_UNIT = 256
DETAIL_CHARS = 200


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Pairs, page texts where they count, and every enabled benchmark."""
    pages = [Ref("pages", key)] if ws.config.decontamination.level == "page" else []
    benchmarks = [
        Ref("benchmark_items", PartitionKey.of({"benchmark": name})) for name in sorted(set(ws.config.benchmarks))
    ]
    return [Ref("extracted_qa", key), *pages, *benchmarks]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The rule; which benchmarks are read is in the inputs."""
    return settings_of(ws.config.decontamination)


def run(job: Job) -> None:
    """Looks up pages with their pairs, in units of pages."""
    items = _items(job)
    index = BenchmarkIndex(items, n=job.settings["n"], min_words=job.settings["min_words"])
    pairs = job.read("extracted_qa").sort("parent_id", "id")
    texts = _page_texts(job, pairs)
    by_page = [frame for _, frame in pairs.group_by("parent_id", maintain_order=True)]
    scratch = job.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    job.progress.start(pairs.height, "pairs")
    hit_files = []
    for number, start in enumerate(range(0, len(by_page), PAGES_PER_UNIT)):
        pages = by_page[start : start + PAGES_PER_UNIT]
        hit_files.append(scratch / f"hits-{number:05}.parquet")

        def compute(pages: list[pl.DataFrame] = pages, file: Any = hit_files[-1]) -> Unit:
            unit, hits = check_pages(pages, texts, index, job.settings["level"])
            # Before the unit's own commit: a unit that is committed has its hits on disk.
            pl.DataFrame(hits, schema=HITS_SCHEMA).write_parquet(file)
            job.progress.advance(unit.rows_in, {"contaminated": len(unit.rejects)})
            return unit

        job.unit(f"{number:05}", compute)
    hits = pl.read_parquet(hit_files) if hit_files else pl.DataFrame(schema=HITS_SCHEMA)
    hits.write_parquet(job.folder / "hits.parquet", compression="zstd")
    job.metrics |= {
        "level": job.settings["level"], "n": job.settings["n"], "ngrams": index.grams, "short_strings": index.short_strings,
        "ignored_strings": index.ignored_strings, "pages_with_pairs": len(by_page), "pages_hit": hits["page_id"].n_unique(),
        "by_benchmark": by_benchmark(hits, pairs, items, job.settings["level"]),
    }  # fmt: skip


def _items(job: Job) -> list[BenchmarkItem]:
    items = []
    for manifest in job.manifests("benchmark_items"):
        for row in job.ws.lake.read(manifest).iter_rows(named=True):
            items.append(
                BenchmarkItem(
                    manifest.keys["benchmark"], row["item_id"], row["question"], row["answer"] or "",
                    tuple(row["choices"] or ()), row["solution"] or "",
                )
            )  # fmt: skip
    return items


def _page_texts(job: Job, pairs: pl.DataFrame) -> dict[str, str]:
    """Text of the pages that have pairs; empty at level ``pair``."""
    if job.settings["level"] == "pair":
        return {}
    pages = (
        job.read("pages")
        .select("id", "text")
        .join(pairs.select(pl.col("parent_id").alias("id")).unique(), on="id", how="semi")
    )
    return dict(pages.iter_rows())


def check_pages(
    pages: Sequence[pl.DataFrame], texts: dict[str, str], index: BenchmarkIndex, level: str
) -> tuple[Unit, list[dict[str, Any]]]:
    """One unit: the pairs of ``pages`` (one frame of pairs per page) and the hits found on the way."""
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    hits: list[dict[str, Any]] = []
    for page in pages:
        pairs = list(page.iter_rows(named=True))
        page_id, url = pairs[0]["parent_id"], pairs[0]["url"]
        found = list(_look_up(page_id, url, texts.get(page_id, ""), pairs, index))
        hits += found
        for pair in pairs:
            own = [hit for hit in found if hit["pair_id"] == pair["id"]]
            reason = own or (found if level == "page" else [])
            if reason:
                rejects.append(Reject(pair["id"], pair["parent_id"], "contaminated", _detail(reason[0])))
            else:
                rows.append(
                    {**{name: pair[name] for name in SCHEMA}, "id": row_id("dq", pair["id"]), "parent_id": pair["id"]}
                )
    return Unit(rows=rows, rows_in=len(rows) + len(rejects), rejects=rejects, counts={"hits": len(hits)}), hits


def _look_up(
    page_id: str, url: str, text: str, pairs: list[dict[str, Any]], index: BenchmarkIndex
) -> Iterator[dict[str, Any]]:
    places = [("page", "", text)] + [
        (field, pair["id"], pair[field]) for pair in pairs for field in ("question", "answer")
    ]
    for place, pair_id, content in places:
        matches = index.find(content)
        for match in matches:
            yield {
                "benchmark": match.benchmark, "item_id": match.item_id, "benchmark_field": match.field, "place": place,
                "page_id": page_id, "pair_id": pair_id, "url": url, "matched": match.text, "n_items": len(matches),
            }  # fmt: skip


def _detail(hit: dict[str, Any]) -> str:
    match = Match(hit["benchmark"], hit["item_id"], hit["benchmark_field"], hit["matched"])
    where = f"the {hit['place']}" + (" text" if hit["place"] == "page" else "")
    quote = match.text if len(match.text) <= DETAIL_CHARS else match.text[:DETAIL_CHARS] + "…"
    return f"{where} shares with {match.benchmark}/{match.item_id} ({match.field}): {json.dumps(quote, ensure_ascii=False)}"


def by_benchmark(
    hits: pl.DataFrame, pairs: pl.DataFrame, items: Sequence[BenchmarkItem], level: str
) -> list[dict[str, Any]]:
    """Per benchmark: items, items hit, and the pages and pairs that it drops (a pair may count for several)."""
    totals: dict[str, int] = defaultdict(int)
    for item in items:
        totals[item.benchmark] += 1
    table = []
    for benchmark, total in sorted(totals.items()):
        own = hits.filter(pl.col("benchmark") == benchmark)
        column, dropped = ("parent_id", own["page_id"]) if level == "page" else ("id", own["pair_id"])
        lost = pairs.filter(pl.col(column).is_in(dropped.unique().to_list()))
        table.append({
            "benchmark": benchmark, "items": total, "items_hit": own["item_id"].n_unique(),
            "pages_dropped": lost["parent_id"].n_unique(), "pairs_dropped": lost.height,
        })  # fmt: skip
    return table


DECONTAMINATED_QA = Stage(
    asset="decontaminated_qa",
    dimensions=("snapshot",),
    prefix="dq",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/decontamination/*.py",),
)
