"""Scoring every page of a snapshot with a round's model.

In: WET files. Out: one row per page at or above the model's threshold; the others are rejects (``below_threshold``,
with score and offset). One unit per WET file, so a kill costs one file.

Columns: ``id``, ``parent_id`` (WET file's row in ``crawl_index``), ``url``, ``domain``, ``title`` (first line
of the text), ``score`` (0..1), ``offset`` (bytes into the WET file), ``date`` (of the capture, ISO 8601),
``warc_path`` (WARC twin of the WET file), ``text`` (the page's text, one line).

Beside each part, ``domains-<unit>.parquet`` counts all pages read per domain (``domain``, ``pages``): the
denominator of a domain's recall rate.

Nearly all pages of a crawl end below the threshold, so such a page costs no Python object but its id: texts are scored
where they were inflated, and everything else happens per batch. On disk a reject below the threshold takes its id,
offset and score; its URL is read again from the file where it is wanted.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from webinstruct_assets.core.ids import row_id, row_ids
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.lake import REJECT_SCHEMA
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.urls import registrable_domains
from webinstruct_assets.core.warc import RecordReject
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import WetBatch, WetFile, iter_wet_batches, wet_files
from webinstruct_assets.stages.recall.classifier import POSITIVE
from webinstruct_assets.stages.recall.rounds import Round, scan_reuse
from webinstruct_assets.stages.recall.scorer import FastTextScorer

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "title": pl.String(),
    "score": pl.Float32(),
    "offset": pl.Int64(),
    "date": pl.String(),
    "warc_path": pl.String(),
    "text": pl.String(),
}
TITLE_CHARACTERS = 120


def scan_stage(number: int) -> Stage:
    """The Stage that recalls pages with the model of round ``number``."""
    asset, prefix, model = Round(number).recall, f"r{number}", Round(number).model
    return Stage(
        asset=asset,
        dimensions=("snapshot",),
        prefix=prefix,
        schema=SCHEMA,
        run=_run(model, prefix),
        inputs=lambda ws, key: [Ref("crawl_index", key), Ref(model, key)],
        settings=lambda ws, key: {},
        sources=(
            "stages/recall/scan.py",
            "stages/recall/scorer*.py",
            "stages/crawl/wet*.py",
            "core/warc.py",
            "core/urls.py",
        ),
        reuses=scan_reuse("recall", number),
    )


def _run(model: str, prefix: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        (manifest,) = job.manifests(model)
        threshold = float(manifest.metrics["threshold"])
        function = partial(
            score_file, job.ws.crawl_root(job.key["snapshot"]), job.input_file(model, "model.bin"), threshold, prefix
        )
        job.map(function, {file.unit: file for file in wet_files(job.read("crawl_index"))}, noun="WET files")
        job.metrics |= {
            "threshold": threshold,
            "labelled": manifest.metrics["labelled"],  # for the funnel
            "pages_scored": int(job.count("pages")),
            "text_bytes": int(job.count("bytes")),
        }

    return run


@lru_cache(maxsize=1)
def _scorer(model: Path) -> FastTextScorer:
    """One per process: folding the paper's model reads 2 GB."""
    return FastTextScorer.load(model, POSITIVE)


@lru_cache(maxsize=1)
def _source(root: str) -> CrawlSource:
    """One per process, for its connections."""
    return CrawlSource(root)


def score_file(root: str, model: Path, threshold: float, prefix: str, file: WetFile) -> Unit:
    """The pages of one WET file of the crawl at ``root``, as a unit of a recall asset (ids start with ``prefix``)."""
    scorer = _scorer(model)
    unreadable: list[Reject] = []
    kept: list[pl.DataFrame] = []
    below: list[pl.DataFrame] = []
    pages_of_domain: list[pl.DataFrame] = []
    pages = size = 0

    def on_reject(reject: RecordReject) -> None:
        identity, detail = row_id(prefix, file.id, reject.offset), f"{file.path}@{reject.offset}: {reject.detail}"
        unreadable.append(Reject(identity, file.id, reject.reason, detail))

    with _source(root).open(file.path) as stream:
        for batch in iter_wet_batches(stream, file.path, on_reject=on_reject):
            rows, rejects, domains = _score_batch(batch, scorer, threshold, prefix, file)
            kept.append(rows)
            below.append(rejects)
            pages_of_domain.append(domains)
            pages += len(batch)
            size += _bytes_of(batch.texts)
    rows = pl.concat([pl.DataFrame(schema=SCHEMA), *kept])
    rejects = pl.concat([pl.DataFrame([vars(reject) for reject in unreadable], schema=REJECT_SCHEMA), *below])
    counted = pl.concat([pl.DataFrame(schema={"domain": pl.String, "pages": pl.Int64}), *pages_of_domain])
    return Unit(
        rows=rows,
        rejects=rejects,
        rows_in=rows.height + rejects.height,
        counts={"pages": pages, "bytes": size},
        files={f"domains-{file.unit}.parquet": counted.group_by("domain").agg(pl.col("pages").sum()).sort("domain")},
    )


def _score_batch(
    batch: WetBatch, scorer: FastTextScorer, threshold: float, prefix: str, file: WetFile
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Rows, rejects, and pages per domain."""
    pages = pl.DataFrame(
        {
            "id": row_ids(prefix, file.id, batch.offsets.to_pylist()),
            "url": pl.Series(batch.urls, dtype=pl.String),
            "score": pl.Series(scorer.score(batch.texts)),
            "offset": pl.Series(batch.offsets),
            "date": pl.Series(batch.dates, dtype=pl.String),
        }
    ).with_columns(registrable_domains(pl.Series("url", batch.urls)).alias("domain"), parent_id=pl.lit(file.id))
    recalled = pages["score"].cast(pl.Float64) >= threshold
    rejects = pages.filter(~recalled).select(
        "id",
        "parent_id",
        reason=pl.lit("below_threshold"),
        detail=pl.format("{} @{}", pl.col("score").cast(pl.Float64).round(4), "offset"),
    )
    texts = _decoded(batch.texts.filter(recalled.to_arrow().cast("bool")))
    rows = pages.filter(recalled).with_columns(texts.alias("text"), warc_path=pl.lit(file.warc_path))
    title = pl.col("text").str.strip_chars().str.extract(r"^([^\n]*)").str.slice(0, TITLE_CHARACTERS)
    rows = rows.with_columns(title.fill_null("").alias("title"))
    rows = rows.with_columns(pl.col("text").str.replace_all("\n", " ", literal=True)).select(*SCHEMA)
    return rows, rejects, pages.group_by("domain").agg(pages=pl.len().cast(pl.Int64))


def _bytes_of(texts: "pa.BinaryArray") -> int:
    import pyarrow.compute as pc

    return pc.sum(pc.binary_length(texts)).as_py() or 0


def _decoded(texts: "pa.BinaryArray") -> pl.Series:
    """UTF-8, with U+FFFD for what is not."""
    import pyarrow as pa

    try:
        return pl.Series(texts.cast(pa.large_string()), dtype=pl.String)
    except pa.ArrowInvalid:
        decoded = [text.decode("utf-8", errors="replace") for text in texts.to_pylist()]
        return pl.Series(decoded, dtype=pl.String)
