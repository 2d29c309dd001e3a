"""Asset ``decontaminated_qa``: pairs that share no wording with any benchmark of the environment (paper §2.2).

Partitioned by snapshot; reads ``extracted_qa``, the text of ``pages`` and ``benchmark_items`` of every benchmark that
the environment enables (one that is missing stops the stage with its name). A benchmark added later changes the
inputs of this stage only: nothing above it is built again. Level ``page`` is the paper's: a hit in a page's text or
in one of its pairs drops all its pairs; level ``pair`` looks at each pair alone. Rejects: ``contaminated``, the detail
naming benchmark, item and wording.

Beside the parts: ``hits.parquet``, a row per text and item, and ``common.parquet``, the benchmark's grams that stand on
so many of the snapshot's pages that they are no evidence (``common_share``, ``common_min_pages``). Hits of nothing
else are listed as ``common`` and drop nothing; the metrics count what they would have dropped.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import Lake, write_table
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.index import BenchmarkIndex, BenchmarkItem
from webinstruct_assets.stages.decontamination.paraphrase import ParaphraseIndex
from webinstruct_assets.stages.extraction.schema import SCHEMA

# Rows are those of extracted_qa, unchanged but for:      id: dq-…      parent_id: qa-… of the extracted pair
# benchmark, item_id, benchmark_field (question | answer | solution): what was found      matched: the common words
# tier: exact, or paraphrase (then matched is the benchmark's question, ratio the common subsequence's share)
# common: only grams that the crawl is full of, drops nothing
# place: where (page | question | answer)      page_id: pg-…      pair_id: qa-…, "" for a hit in a page's text
# n_items: how many items share wording with this text
HITS_SCHEMA: dict[str, pl.DataType] = {
    "benchmark": pl.String(),
    "item_id": pl.String(),
    "benchmark_field": pl.String(),
    "tier": pl.String(),
    "ratio": pl.Float64(),
    "common": pl.Boolean(),
    "place": pl.String(),
    "page_id": pl.String(),
    "pair_id": pl.String(),
    "url": pl.String(),
    "matched": pl.String(),
    "n_items": pl.Int64(),
}
# words: the gram      pages: on how many of the snapshot's pages it stands      items: benchmark/item that hold it
COMMON_SCHEMA: dict[str, pl.DataType] = {"words": pl.String(), "pages": pl.Int64(), "items": pl.List(pl.String())}
PAGES_PER_UNIT = 4096
DETAIL_CHARS = 200


def inputs(ws: Workspace, key: PartitionKey) -> Sequence[Ref]:
    """Pairs, page texts, and every enabled benchmark."""
    return [Ref("extracted_qa", key), Ref("pages", key), *benchmarks_of(ws)]


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """The rule; which benchmarks are read is in the inputs."""
    return settings_of(ws.config.decontamination)


def run(job: Job) -> None:
    """Counts benchmark grams over all pages, then looks pages with their pairs up, in units of pages."""
    rule = job.settings
    items = items_of(job)
    lookups = Lookups.of(items, rule)
    index = lookups.index
    (pages,) = job.manifests("pages")
    chunks = page_chunks(job.ws.lake, pages)
    scratch = job.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    find_common(job, rule, index, chunks, scratch)
    pairs = job.read("extracted_qa").sort("parent_id", "id")
    owners = _chunk_of_pages(chunks)
    by_chunk = pairs.join(owners, on="parent_id", how="inner", maintain_order="left").partition_by(
        "chunk", as_dict=True, include_key=False
    )
    if sum(part.height for part in by_chunk.values()) != pairs.height:
        lost = pairs.join(owners, on="parent_id", how="anti")["id"][0]
        raise BadInput(f"extracted_qa: pair {lost} is of no page of pages/{job.key}", "materialize extracted_qa again")
    job.progress.start(pairs.height, "pairs")
    hit_files = []
    for number, chunk in enumerate(chunks):
        part = by_chunk.get((number,))
        if part is None:
            continue
        hit_files.append(scratch / f"hits-{number:05}.parquet")

        def compute(part: pl.DataFrame = part, chunk: list[Path] = chunk, file: Path = hit_files[-1]) -> Unit:
            texts = _texts(chunk, part) if rule["level"] == "page" else {}
            unit, hits = check_pages(part, texts, lookups, rule["level"])
            # Before the unit's own commit: a unit that is committed has its hits on disk.
            write_table(file, pl.DataFrame(hits, schema=HITS_SCHEMA))
            job.progress.advance(unit.rows_in)
            return unit

        job.unit(f"{number:05}", compute)
    hits = pl.read_parquet(hit_files) if hit_files else pl.DataFrame(schema=HITS_SCHEMA)
    write_table(job.folder / "hits.parquet", hits)
    dropping = hits.filter(~pl.col("common"))
    table = by_benchmark(hits, pairs, items, rule["level"])
    column, field = ("parent_id", "page_id") if rule["level"] == "page" else ("id", "pair_id")
    job.metrics |= {
        "level": rule["level"], "n": rule["n"], "ngrams": index.grams, "short_strings": index.short_strings,
        "ignored_strings": index.ignored_strings, "common_grams": int(index.common.sum()),
        "pages_with_pairs": pairs["parent_id"].n_unique(), "pages_hit": dropping["page_id"].n_unique(),
        "pairs_dropped": _lost(pairs, column, dropping[field]).height,
        "pairs_dropped_with_common": _lost(pairs, column, hits[field]).height,
        "by_benchmark": table,
    }  # fmt: skip


def benchmarks_of(ws: Workspace) -> list[Ref]:
    """The items of every benchmark that the environment enables."""
    return [Ref("benchmark_items", PartitionKey.of({"benchmark": name})) for name in sorted(set(ws.config.benchmarks))]


def items_of(job: Job) -> list[BenchmarkItem]:
    """The items of all benchmarks among a job's inputs."""
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


def page_chunks(lake: Lake, pages: Manifest) -> list[list[Path]]:
    """Parts of a partition of ``pages``, some at a time: page texts are never all in memory."""
    source = lake.source(pages, DECONTAMINATED_QA.asset)
    chunks: list[list[Path]] = []
    rows = PAGES_PER_UNIT
    for path, part in zip(lake.part_paths(source), source.parts, strict=True):
        if rows >= PAGES_PER_UNIT:
            chunks.append([])
            rows = 0
        chunks[-1].append(path)
        rows += part.rows
    return chunks


def _chunk_of_pages(chunks: list[list[Path]]) -> pl.DataFrame:
    """Page id (as ``parent_id``) -> number of its chunk."""
    frames = [
        pl.read_parquet(chunk, columns=["id"], hive_partitioning=False).select(
            pl.col("id").alias("parent_id"), pl.lit(number).alias("chunk")
        )
        for number, chunk in enumerate(chunks)
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema={"parent_id": pl.String, "chunk": pl.Int32})


def _texts(chunk: list[Path], pairs: pl.DataFrame) -> dict[str, str]:
    """Texts of the chunk's pages that have pairs."""
    pages = pl.read_parquet(chunk, columns=["id", "text"], hive_partitioning=False)
    return dict(pages.join(pairs.select(pl.col("parent_id").alias("id")).unique(), on="id", how="semi").iter_rows())


def find_common(
    job: Job, rule: Mapping[str, Any], index: BenchmarkIndex, chunks: list[list[Path]], scratch: Path
) -> None:
    """Tells the index which of its grams are everywhere in the snapshot, and lists them in ``common.parquet``."""
    pages = 0
    total = np.zeros(index.grams, np.int64)
    if rule["common_share"] is not None:
        job.progress.start(
            sum(manifest.rows for manifest in job.manifests("pages")), "pages searched for common wording"
        )
        for number, chunk in enumerate(chunks):
            file = scratch / f"counts-{number:05}.parquet"
            if not file.exists():
                texts = pl.read_parquet(chunk, columns=["text"], hive_partitioning=False)["text"].to_list()
                counts = index.count(texts)
                held = np.flatnonzero(counts)
                write_table(
                    file, pl.DataFrame({"gram": [-1, *held.tolist()], "pages": [len(texts), *counts[held].tolist()]})
                )
            counted = pl.read_parquet(file)
            job.progress.advance(counted["pages"][0])
            pages += counted["pages"][0]
            total[counted["gram"][1:].to_numpy()] += counted["pages"][1:].to_numpy()
        least = max(rule["common_min_pages"], rule["common_share"] * pages)
        index.set_common(np.flatnonzero(total >= least).tolist())
    rows = []
    for number in np.flatnonzero(index.common).tolist():
        words, sources = index.gram(number)
        names = dict.fromkeys(f"{source.benchmark}/{source.item_id}" for source in sources)
        rows.append({"words": " ".join(words), "pages": int(total[number]), "items": list(names)})
    frame = pl.DataFrame(rows, schema=COMMON_SCHEMA).sort("pages", "words", descending=[True, False])
    write_table(job.folder / "common.parquet", frame)


@dataclass(frozen=True)
class Lookups:
    """Both tiers; ``near`` is None where the second is off."""

    index: BenchmarkIndex
    near: ParaphraseIndex | None = None
    ratio: float | None = None

    @classmethod
    def of(cls, items: Sequence[BenchmarkItem], rule: Mapping[str, Any]) -> "Lookups":
        """Over ``items``, by the settings of DecontaminationConfig."""
        index = BenchmarkIndex(items, n=rule["n"], min_words=rule["min_words"], tex=rule["normalisation"] == "tex")
        ratio = rule["paraphrase_ratio"]
        return cls(index, ParaphraseIndex(items, tex=index.tex) if ratio is not None else None, ratio)


def check_pages(
    pairs: pl.DataFrame, texts: dict[str, str], lookups: Lookups, level: str
) -> tuple[Unit, list[dict[str, Any]]]:
    """One unit: ``pairs`` in order of their pages, ``texts`` of these, and the hits found on the way."""
    records = list(pairs.iter_rows(named=True))
    hits = look_up(records, texts, lookups)
    by_page: dict[str, list[dict[str, Any]]] = defaultdict(list)
    by_pair: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for hit in hits:
        if not hit["common"]:
            by_page[hit["page_id"]].append(hit)
            by_pair[hit["pair_id"]].append(hit)
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for pair in records:
        evidence = by_pair.get(pair["id"]) or (by_page.get(pair["parent_id"]) if level == "page" else None)
        if evidence:
            rejects.append(Reject(pair["id"], pair["parent_id"], "contaminated", describe(evidence[0])))
        else:
            rows.append(
                {**{name: pair[name] for name in SCHEMA}, "id": row_id("dq", pair["id"]), "parent_id": pair["id"]}
            )
    return Unit(rows=rows, rows_in=len(records), rejects=rejects, counts={"hits": len(hits)}), hits


def look_up(records: Sequence[Mapping[str, Any]], texts: Mapping[str, str], lookups: Lookups) -> list[dict[str, Any]]:
    """Hits (``HITS_SCHEMA``) in ``records`` (id, parent_id, url, question, answer) and in ``texts`` of their parents."""
    places: list[tuple[str, Mapping[str, Any], str]] = []  # place, a pair of the page, text
    seen: set[str] = set()
    for pair in records:
        if pair["parent_id"] not in seen and pair["parent_id"] in texts:
            places.append(("page", pair, texts[pair["parent_id"]]))
        seen.add(pair["parent_id"])
        places += [(name, pair, pair[name]) for name in ("question", "answer")]
    found = lookups.index.find_many([text for _, _, text in places])
    near = {}
    if lookups.near is not None and lookups.ratio is not None:
        questions = [number for number, (place, _, _) in enumerate(places) if place == "question"]
        rows = lookups.near.find_many([places[number][2] for number in questions], lookups.ratio)
        near = {questions[row]: hit for row, hit in rows.items()}
    hits: list[dict[str, Any]] = []
    for number in sorted({*found, *near}):
        place, pair, _ = places[number]
        where = {
            "place": place, "page_id": pair["parent_id"], "pair_id": "" if place == "page" else pair["id"],
            "url": pair["url"],
        }  # fmt: skip
        matches = found.get(number, [])
        hits += [
            {
                "benchmark": match.benchmark, "item_id": match.item_id, "benchmark_field": match.field,
                "tier": "exact", "ratio": 1.0, "common": match.common, "matched": match.text, "n_items": len(matches), **where,
            }
            for match in matches
        ]  # fmt: skip
        if (hit := near.get(number)) and not any(match.item_id == hit.item_id for match in matches):
            hits.append({
                "benchmark": hit.benchmark, "item_id": hit.item_id, "benchmark_field": "question", "tier": "paraphrase",
                "ratio": round(hit.ratio, 3), "common": False, "matched": hit.question, "n_items": 1, **where,
            })  # fmt: skip
    return hits


def describe(hit: Mapping[str, Any]) -> str:
    """A hit as the detail of a reject."""
    where = f"the {hit['place']}" + (" text" if hit["place"] == "page" else "")
    text = hit["matched"] if len(hit["matched"]) <= DETAIL_CHARS else hit["matched"][:DETAIL_CHARS] + "…"
    verb = "shares with" if hit["tier"] == "exact" else f"paraphrases ({hit['ratio']:.2f})"
    quote = json.dumps(text, ensure_ascii=False)
    return f"{where} {verb} {hit['benchmark']}/{hit['item_id']} ({hit['benchmark_field']}): {quote}"


def by_benchmark(
    hits: pl.DataFrame, pairs: pl.DataFrame, items: Sequence[BenchmarkItem], level: str
) -> list[dict[str, Any]]:
    """Per benchmark: items, items hit, the pages and pairs that it drops, and how many more its common grams would.

    A pair may count for several benchmarks. The first matching text stands for the benchmark in tables.
    """
    totals = Counter(item.benchmark for item in items)
    column, field = ("parent_id", "page_id") if level == "page" else ("id", "pair_id")
    table = []
    for benchmark, total in sorted(totals.items()):
        every = hits.filter(pl.col("benchmark") == benchmark)
        own = every.filter(~pl.col("common"))
        lost, all_lost = _lost(pairs, column, own[field]), _lost(pairs, column, every[field])
        table.append({
            "benchmark": benchmark, "items": total, "items_hit": own["item_id"].n_unique(),
            "pages_dropped": lost["parent_id"].n_unique(), "pairs_dropped": lost.height,
            "pages_dropped_with_common": all_lost["parent_id"].n_unique(), "pairs_dropped_with_common": all_lost.height,
            "example": f"{own['item_id'][0]}: {own['matched'][0][:DETAIL_CHARS]}" if own.height else "",
        })  # fmt: skip
    return table


def _lost(pairs: pl.DataFrame, column: str, names: pl.Series) -> pl.DataFrame:
    """The pairs that a list of pages or pairs drops."""
    return pairs.select("id", "parent_id").filter(pl.col(column).is_in(names.unique().to_list()))


DECONTAMINATED_QA = Stage(
    asset="decontaminated_qa",
    dimensions=("snapshot",),
    by_profile=True,
    prefix="dq",
    schema=SCHEMA,
    run=run,
    inputs=inputs,
    settings=settings,
    sources=("stages/decontamination/*.py", "stages/extraction/schema.py", "stages/pages/schema.py"),
)
