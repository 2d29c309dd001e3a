"""Scoring every page of a snapshot with a round's model.

In: WET files. Out: one row per page at or above the model's threshold; the others are rejects
(``below_threshold``, with score and URL). One unit per WET file, so a kill costs one file.

Columns: ``id``, ``parent_id`` (WET file's row in ``crawl_index``), ``url``, ``domain``, ``title`` (first line
of the text), ``score`` (0..1), ``offset`` (bytes into the WET file), ``date`` (of the capture, ISO 8601),
``warc_path`` (WARC twin of the WET file), ``text`` (the page's text, one line).

Beside each part, ``domains-<unit>.parquet`` counts all pages read per domain (``domain``, ``pages``): the
denominator of a domain's recall rate.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl

from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.urls import registrable_domain
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import WetFile, read_wet, wet_files
from webinstruct_assets.stages.recall.classifier import POSITIVE
from webinstruct_assets.stages.recall.rounds import Round, scan_reuse
from webinstruct_assets.stages.recall.scorer import FastTextScorer
from webinstruct_assets.stages.seeds.pages import one_line

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
            "stages/recall/classifier.py",
            "stages/crawl/wet.py",
            "core/warc.py",
        ),
        reuses=scan_reuse("recall", number),
    )


def _run(model: str, prefix: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        (manifest,) = job.manifests(model)
        threshold = float(manifest.metrics["threshold"])
        classifier = FastTextScorer.load(job.input_file(model, "model.bin"), POSITIVE)
        source = CrawlSource(job.ws.crawl_root(job.key["snapshot"]))
        files = wet_files(job.read("crawl_index"))
        job.progress.start(len(files), "WET files")
        for file in files:
            job.unit(file.unit, partial(_score_file, job, source, file, classifier, threshold, prefix))
            job.progress.advance(1)
        job.metrics |= {
            "threshold": threshold,
            "labelled": manifest.metrics["labelled"],  # for the funnel
            "pages_scored": int(job.count("pages")),
            "text_bytes": int(job.count("bytes")),
        }

    return run


def _score_file(
    job: Job, source: CrawlSource, file: WetFile, classifier: FastTextScorer, threshold: float, prefix: str
) -> Unit:
    rejects: list[Reject] = []
    rows: list[dict[str, Any]] = []
    pages_of_domain: Counter[str] = Counter()
    size = 0
    for page in read_wet(source, file, prefix, rejects):
        text = one_line(page.text)
        domain, size = registrable_domain(page.url), size + len(page.text)
        pages_of_domain[domain] += 1
        (score,) = classifier.score([text])
        identity = row_id(prefix, file.id, page.offset)
        if score < threshold:
            rejects.append(Reject(identity, file.id, "below_threshold", f"{score:.4f} {page.url}"))
            continue
        title = page.text.strip().partition("\n")[0][:TITLE_CHARACTERS]
        rows.append(
            {
                "id": identity,
                "parent_id": file.id,
                "url": page.url,
                "domain": domain,
                "title": title,
                "score": score,
                "offset": page.offset,
                "date": page.date,
                "warc_path": file.warc_path,
                "text": text,
            }
        )
    domains = pl.DataFrame(
        sorted(pages_of_domain.items()), schema={"domain": pl.String, "pages": pl.Int64}, orient="row"
    )
    domains.write_parquet(job.folder / f"domains-{file.unit}.parquet")
    return Unit(
        rows=rows,
        rejects=rejects,
        rows_in=len(rows) + len(rejects),
        counts={"pages": pages_of_domain.total(), "bytes": size},
    )
