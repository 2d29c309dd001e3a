"""Uniform samples of labelled pages from a snapshot, in one pass over its WET files.

Every distinct page text has a reproducible number in [0, 1) drawn from its digest. Per label, the texts with the
smallest numbers make the sample, wherever they are: each distinct text of the files read is as likely as any
other, on any machine, in any order, and a text on a thousand pages counts once.

First pass, per file and in parallel: pages are labelled, and a file keeps its smallest numbers, a few times its
share of the sample (units of their own in ``scratch``). Then the cut is known, and every file's candidates become rows or
rejects. Where a file held so many small numbers that some were dropped, the cut is no higher than its last one
kept, so the sample stays uniform and may be smaller than asked for.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from webinstruct_assets.core.config import SeedsConfig
from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.stage import Job, Reject, Unit
from webinstruct_assets.core.urls import registrable_domain
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import WetFile, WetPage, read_wet
from webinstruct_assets.stages.seeds.pages import SCHEMA, one_line, split_of, text_digest, uniform

LABELS = ("positive", "negative")
CANDIDATE_SCHEMA: dict[str, pl.DataType] = {**SCHEMA, "digest": pl.String(), "number": pl.Float64()}
SPARE = 4  # a file keeps so many times its share of the sample …
AT_LEAST = 1000  # … and this many more
# Worth a warning: a class so many times the other, so large a share of copies, or of one domain among the positives.
UNBALANCED, REPEATED, ONE_SIDED = 3.0, 0.3, 0.5
SOURCES = 20  # listed in the metrics


@dataclass(frozen=True)
class Verdict:
    """What a page is: ``label`` positive or negative with ``source`` (why), or "" with ``source`` a reject reason."""

    label: str
    source: str


# What is known of the page's file (see ``sample``), the page, its registrable domain. Travels to other processes.
Labeller = Callable[[Any, WetPage, str], Verdict]


@dataclass(frozen=True)
class Plan:
    """What a pass over one file needs beside the file; it goes to other processes."""

    source: CrawlSource
    prefix: str
    seed: int
    held_out: float
    keep: tuple[int, int]  # candidates per file, positive and negative


def chosen_files(files: Sequence[WetFile], limit: int | None, seed: int) -> list[WetFile]:
    """At most ``limit`` of the files, chosen by ``seed`` and path, in their order."""
    if limit is None or limit >= len(files):
        return list(files)
    chosen = {file.path for file in sorted(files, key=lambda file: uniform(seed, "file", file.path))[:limit]}
    return [file for file in files if file.path in chosen]


def candidates(plan: Plan, label_of: Labeller, work: tuple[WetFile, Any]) -> Unit:
    """The first pass over one file.

    Counts: ``eligible_<label>``, pages that might be chosen; ``bound_<label>`` where some were dropped, the largest
    number kept.
    """
    file, known = work
    rejects: list[Reject] = []
    kept: dict[str, list[dict[str, Any]]] = {label: [] for label in LABELS}
    bounds: dict[str, float | None] = dict.fromkeys(LABELS)
    eligible: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()

    def shrink(label: str, limit: int) -> None:
        rows = sorted(kept[label], key=lambda row: (row["number"], row["offset"]))
        if len(rows) > limit:
            bounds[label] = rows[limit - 1]["number"]
            rejects.extend(Reject(row["id"], file.id, "not_sampled", row["url"]) for row in rows[limit:])
        kept[label] = rows[:limit]

    limits = dict(zip(LABELS, plan.keep, strict=True))
    for page in read_wet(plan.source, file, plan.prefix, rejects):
        identity, text, domain = (
            row_id(plan.prefix, file.id, page.offset), one_line(page.text), registrable_domain(page.url),
        )  # fmt: skip
        verdict = label_of(known, page, domain) if text else Verdict("", "empty_text")
        if not verdict.label:
            rejects.append(Reject(identity, file.id, verdict.source, page.url))
            continue
        digest = text_digest(text)
        if (verdict.label, digest) in seen:
            rejects.append(Reject(identity, file.id, "duplicate_text", page.url))
            continue
        seen.add((verdict.label, digest))
        eligible[verdict.label] += 1
        number = uniform(plan.seed, "sample", digest)
        bound = bounds[verdict.label]
        if bound is not None and number > bound:
            rejects.append(Reject(identity, file.id, "not_sampled", page.url))
            continue
        kept[verdict.label].append(
            {
                "id": identity,
                "parent_id": file.id,
                "url": page.url,
                "domain": domain,
                "label": verdict.label,
                "source": verdict.source,
                "offset": page.offset,
                "split": split_of(plan.seed, digest, plan.held_out),
                "text": text,
                "digest": digest,
                "number": number,
            }
        )
        if len(kept[verdict.label]) >= 2 * limits[verdict.label]:
            shrink(verdict.label, limits[verdict.label])
    for label in LABELS:
        shrink(label, limits[label])
    rows = sorted(kept["positive"] + kept["negative"], key=lambda row: row["offset"])
    counts = {f"eligible_{label}": float(eligible[label]) for label in LABELS}
    counts |= {f"bound_{label}": bound for label, bound in bounds.items() if bound is not None}
    return Unit(
        rows=pl.DataFrame(rows, schema=CANDIDATE_SCHEMA),
        rejects=rejects,
        rows_in=len(rows) + len(rejects),
        counts=counts,
    )


def sample(
    job: Job,
    work: Sequence[tuple[WetFile, Any]],
    label_of: Labeller,
    seeds: SeedsConfig,
    given: Mapping[str, str],
) -> None:
    """Rows and rejects of the job from the files of ``work``, each with what the labeller has to know of it.

    ``given``: text digests of positives that the set has already (the user's), which count towards the sizes;
    copies of theirs are rejects. Fills the job's metrics.
    """
    sizes = (seeds.max_positives, seeds.max_negatives)
    share = [min(size, SPARE * -(-size // max(1, len(work))) + AT_LEAST) for size in sizes]
    plan = Plan(
        CrawlSource.of(job.ws, job.key["snapshot"]), job.stage.prefix, seeds.seed, seeds.held_out, (share[0], share[1])
    )
    scratch, entries = job.first_pass(
        partial(candidates, plan, label_of), {item[0].unit: item for item in work}, CANDIDATE_SCHEMA, noun="WET files"
    )
    files = [file for file, _ in work]
    counts = [entries[file.unit].counts for file in files]
    chosen, copies = _choose(scratch, files, counts, seeds, given)
    job.progress.start(sum(entries[file.unit].rows_in for file in files), "candidates")
    for number, file in enumerate(files):
        job.unit(file.unit, partial(_settle, job, scratch, file, chosen[number], copies[number]))
    job.metrics |= {
        "wet_files_read": len(files),
        **{f"eligible_{label}s": int(sum(count[f"eligible_{label}"] for count in counts)) for label in LABELS},
        "duplicates": job.rejected.get("duplicate_text", 0),
    }


def _choose(
    scratch: Path,
    files: Sequence[WetFile],
    counts: Sequence[Mapping[str, float]],
    seeds: SeedsConfig,
    given: Mapping[str, str],
) -> tuple[list[set[int]], list[set[int]]]:
    """Offsets of the sample, and of copies of texts that others stand for, per file."""
    frames = [
        pl.read_parquet(
            scratch / f"part-{file.unit}.parquet", columns=["label", "digest", "number", "offset"]
        ).with_columns(pl.lit(number).alias("file"))
        for number, file in enumerate(files)
    ]
    every = pl.concat(frames) if frames else pl.DataFrame()
    chosen: list[set[int]] = [set() for _ in files]
    copies: list[set[int]] = [set() for _ in files]
    if every.is_empty():
        return chosen, copies
    # A text on a listed host and elsewhere (a mirror) is a positive.
    every = every.sort(pl.col("label") == "negative", "file", "offset")
    first = every["digest"].is_first_distinct()
    fresh = first & ~every["digest"].is_in(list(given))
    for number, offset in every.filter(~fresh).select("file", "offset").iter_rows():
        copies[number].add(offset)
    pools = {}
    for label in LABELS:
        pool = every.filter(fresh & (every["label"] == label)).sort("number", "file", "offset")
        bounds = [count[f"bound_{label}"] for count in counts if f"bound_{label}" in count]
        pools[label] = pool.filter(pl.col("number") <= min(bounds)) if bounds else pool
    sizes = _sizes(len(given), pools["positive"].height, pools["negative"].height, seeds)
    for label, size in zip(LABELS, sizes, strict=True):
        for number, offset in pools[label].head(size).select("file", "offset").iter_rows():
            chosen[number].add(offset)
    return chosen, copies


def _sizes(given: int, positives: int, negatives: int, seeds: SeedsConfig) -> tuple[int, int]:
    """How many crawl pages of each class: as many as there are, within the maxima and the ratio."""
    positives = min(positives, max(0, seeds.max_positives - given))
    negatives = min(negatives, seeds.max_negatives)
    return (
        max(0, min(positives, int(negatives * seeds.max_ratio) - given)),
        min(negatives, int((positives + given) * seeds.max_ratio)),
    )


def _settle(job: Job, scratch: Path, file: WetFile, chosen: set[int], copies: set[int]) -> Unit:
    """The second pass over one file: its candidates become rows or rejects."""
    frame = pl.read_parquet(scratch / f"part-{file.unit}.parquet")
    taken = frame["offset"].is_in(list(chosen))
    left = frame.filter(~taken).select(
        "id",
        "parent_id",
        pl.when(pl.col("offset").is_in(list(copies)))
        .then(pl.lit("duplicate_text"))
        .otherwise(pl.lit("not_sampled"))
        .alias("reason"),
        pl.col("url").alias("detail"),
    )
    earlier = scratch / f"rejects-{file.unit}.parquet"
    rejects = pl.concat([pl.read_parquet(earlier), left]) if earlier.exists() else left
    rows = frame.filter(taken).select(list(SCHEMA))
    job.progress.advance(rows.height + rejects.height)
    return Unit(rows=rows, rejects=rejects, rows_in=rows.height + rejects.height)


def check(job: Job, seeds: SeedsConfig, fix: str) -> None:
    """Sizes, balance and copies of the job's labelled pages, into its metrics; doubts are logged as warnings.

    Raises QualityGate where a class has too few pages; ``fix`` says what the user can do about positives.
    """
    parts = [job.folder / part.file for part in job.outcome()["parts"] if part.rows]
    rows = (
        pl.read_parquet(parts, columns=["label", "source", "domain", "split"]) if parts else pl.DataFrame(schema=SCHEMA)
    )
    sizes = {label: rows.filter(label=label).height for label in LABELS}
    positives = rows.filter(label="positive")
    largest = positives["domain"].value_counts().sort("count", "domain", descending=[True, False]).head(1)
    copies, all_texts = job.metrics["duplicates"], rows.height + job.metrics["duplicates"]
    ratio = max(sizes.values()) / max(1, min(sizes.values()))
    warnings = []
    if ratio > UNBALANCED:
        warnings.append(f"the classes are unbalanced: {sizes['positive']} positives, {sizes['negative']} negatives")
    if all_texts and copies / all_texts > REPEATED:
        warnings.append(f"{copies} pages repeat the text of others")
    if positives.height and largest["count"][0] > ONE_SIDED * positives.height:
        warnings.append(f"{largest['count'][0]} of {positives.height} positives are pages of {largest['domain'][0]}")
    job.metrics |= {
        "positives": sizes["positive"],
        "negatives": sizes["negative"],
        "held_out": rows.filter(split="held_out").height,
        "class_ratio": round(ratio, 2),
        "positives_by_source": dict(
            positives["source"]
            .value_counts()
            .sort("count", "source", descending=[True, False])
            .head(SOURCES)
            .iter_rows()
        ),
        "warnings": warnings,
    }
    for warning in warnings:
        job.log(f"{job.stage.asset} {job.key}: warning: {warning}")
    if sizes["positive"] < seeds.min_per_class:
        raise QualityGate(
            f"{job.stage.asset} {job.key}: {sizes['positive']} positive pages,"
            f" {seeds.min_per_class} needed (`seeds.min_per_class`)",
            fix,
        )
    if sizes["negative"] < seeds.min_per_class:
        raise QualityGate(
            f"{job.stage.asset} {job.key}: {sizes['negative']} negative pages,"
            f" {seeds.min_per_class} needed (`seeds.min_per_class`)",
            "use a larger crawl, or raise `seeds.max_negatives` or `seeds.max_wet_files`",
        )
