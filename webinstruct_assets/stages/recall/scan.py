"""Scoring every page of a snapshot with a round's model.

In: WET files. Out: one row per page at or above the model's threshold; the others are rejects (``below_threshold``,
with score and offset). One unit per WET file, so a kill costs one file.

Columns: ``id``, ``parent_id`` (WET file's row in ``crawl_index``), ``url``, ``domain``, ``title`` (first line
of the text), ``score`` (0..1), ``offset`` (bytes into the WET file), ``date`` (of the capture, ISO 8601),
``warc_path`` (WARC twin of the WET file), ``text`` (the page's text, one line).

Beside each part, ``domains-<unit>.parquet`` counts all pages read per domain (``domain``, ``pages``): the
denominator of a domain's recall rate.

Nearly all pages of a crawl end below the threshold, so such a page costs no Python object but its id: texts are scored
where they were inflated, and everything else happens per file. On disk a reject below the threshold takes its id,
offset and score; its URL is read again from the file where it is wanted.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
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
            "stages/recall/rounds.py",
            "stages/recall/classifier.py",
            "stages/recall/scorer*.py",
            "stages/crawl/wet.py",
            "stages/crawl/source.py",
            "stages/crawl/transport.py",
            "core/warc.py",
            "core/urls.py",
        ),
        reuses=scan_reuse("recall", number),
    )


def _run(model: str, prefix: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        (manifest,) = job.manifests(model)
        threshold = float(manifest.metrics["threshold"])
        source = CrawlSource.of(job.ws, job.key["snapshot"])
        function = partial(score_file, source, job.input_file(model, "model.bin"), threshold, prefix)
        job.map(function, {file.unit: file for file in wet_files(job.read("crawl_index"))}, noun="WET files")
        job.metrics |= {
            "threshold": threshold,
            "labelled": manifest.metrics["labelled"],  # for the funnel
            "pages_scored": int(job.count("pages")),
            "text_bytes": int(job.count("bytes")),
            "pages_not_utf8": int(job.count("not_utf8")),
        }

    return run


@lru_cache(maxsize=1)
def _scorer(model: Path) -> FastTextScorer:
    """One per process: folding the paper's model reads 2 GB."""
    return FastTextScorer.load(model, POSITIVE)


def score_file(source: CrawlSource, model: Path, threshold: float, prefix: str, file: WetFile) -> Unit:
    """The pages of one WET file, as a unit of a recall asset (ids start with ``prefix``)."""
    import pyarrow.compute as pc

    scorer = _scorer(model)
    unreadable: list[Reject] = []
    frames = [pl.DataFrame(schema={"url": pl.String, "score": pl.Float32, "offset": pl.Int64, "date": pl.String})]
    texts = [pl.Series(dtype=pl.String)]
    size = 0
    odd: list[int] = []  # offsets of pages that are not UTF-8

    def on_reject(reject: RecordReject) -> None:
        identity, detail = row_id(prefix, file.id, reject.offset), f"{file.path}@{reject.offset}: {reject.detail}"
        unreadable.append(Reject(identity, file.id, reject.reason, detail))

    with source.open(file.path) as stream:
        for batch in iter_wet_batches(stream, file.path, on_reject=on_reject):
            scores = scorer.score(batch.texts)
            columns = {"url": batch.urls, "score": scores, "offset": batch.offsets, "date": batch.dates}
            frames.append(pl.DataFrame(columns, schema=frames[0].schema))
            texts.append(_decoded(batch.texts.take(np.flatnonzero(scores.astype(np.float64) >= threshold))))
            size += pc.sum(pc.binary_length(batch.texts)).as_py() or 0
            odd += _not_utf8(batch)
    pages = pl.concat(frames)
    pages = pages.with_columns(
        pl.Series("id", row_ids(prefix, file.id, pages["offset"].to_list()), dtype=pl.String),
        registrable_domains(pages["url"]).alias("domain"),
        pl.lit(file.id).alias("parent_id"),
        (pl.col("score").cast(pl.Float64) >= threshold).alias("recalled"),
    )
    below = pages.filter(~pl.col("recalled")).select(
        "id",
        "parent_id",
        reason=pl.lit("below_threshold"),
        detail=pl.format("{} @{}", pl.col("score").cast(pl.Float64).round(4), "offset"),
    )
    first_line = pl.col("text").str.strip_chars().str.extract(r"^([^\n]*)").fill_null("")
    rows = (
        pages.filter("recalled")
        .with_columns(pl.concat(texts).alias("text"), pl.lit(file.warc_path).alias("warc_path"))
        .with_columns(
            first_line.str.slice(0, TITLE_CHARACTERS).alias("title"),
            pl.col("text").str.replace_all("\n", " ", literal=True),
        )
        .select(*SCHEMA)
    )
    rejects = pl.concat([pl.DataFrame([vars(reject) for reject in unreadable], schema=REJECT_SCHEMA), below])
    domains = pages.group_by("domain").agg(pl.len().cast(pl.Int64).alias("pages")).sort("domain")
    return Unit(
        rows=rows,
        rejects=rejects,
        rows_in=pages.height + len(unreadable),
        counts={"pages": pages.height, "bytes": size, "not_utf8": len(odd)},
        files={f"domains-{file.unit}.parquet": domains},
        warnings=_warnings(file, unreadable, odd),
    )


def _warnings(file: WetFile, unreadable: list[Reject], odd: list[int]) -> list[str]:
    """What was wrong with a file, for the log: where it begins, and how much of it."""
    lines = []
    if unreadable:
        lines.append(
            f"{len(unreadable)} records cannot be read, the first is {unreadable[0].reason}: {unreadable[0].detail}"
        )
    if odd:
        lines.append(f"{len(odd)} pages are not UTF-8 (read with U+FFFD), the first is {file.path}@{odd[0]}")
    return lines


def _not_utf8(batch: WetBatch) -> list[int]:
    """Offsets of the pages whose text is not UTF-8; one vectorised check where there are none, as nearly always."""
    try:
        pl.Series(batch.texts).cast(pl.String)
    except pl.exceptions.PolarsError:
        texts = [text.decode("utf-8", errors="replace").encode() for text in batch.texts.to_pylist()]
        return [
            int(offset)
            for offset, text, read in zip(batch.offsets, batch.texts.to_pylist(), texts, strict=True)
            if text != read
        ]
    return []


def _decoded(texts: "pa.BinaryArray") -> pl.Series:
    """UTF-8, with U+FFFD for what is not."""
    import pyarrow as pa

    try:
        return pl.Series(texts.cast(pa.large_string()), dtype=pl.String)
    except pa.ArrowInvalid:
        decoded = [text.decode("utf-8", errors="replace") for text in texts.to_pylist()]
        return pl.Series(decoded, dtype=pl.String)
