"""Training a round's model from labelled pages, with the gate that refuses one which separates nothing.

Out: file ``model.bin``; one row per held-out page. Columns: ``id``, ``parent_id`` (labelled page), ``url``,
``label``, ``score``. ``rows`` of the manifest counts training pages; metrics hold the parameters, AUC,
threshold, precision and recall; ``labelled``: pages per class, and the snapshot they are from.

The threshold comes from held-out pages (a target precision), from the crawl (a percentile of all scores), or from
the configuration (a score). The percentile is taken over every page of ``recall.percentile_files`` WET files, chosen
by the seed: a WET file of Common Crawl holds some 30,000 pages from all over the crawl, so a few tell the whole.
"""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from webinstruct_assets.core.config import ThresholdConfig, settings_of
from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Reject, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.source import CrawlSource
from webinstruct_assets.stages.crawl.wet import read_wet, wet_files
from webinstruct_assets.stages.recall.classifier import POSITIVE, Separation, separation, threshold_for, train
from webinstruct_assets.stages.recall.rounds import Round, training_reuse
from webinstruct_assets.stages.recall.scorer import FastTextScorer
from webinstruct_assets.stages.seeds.pages import one_line
from webinstruct_assets.stages.seeds.sampling import chosen_files

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "label": pl.String(),
    "score": pl.Float32(),
}
BATCH = 256  # pages scored at once


def threshold_of(ws: Workspace, number: int) -> ThresholdConfig:
    """The configured threshold of round ``number``."""
    return ws.config.recall.round1_threshold if number == 1 else ws.config.recall.round2_threshold


def settings(ws: Workspace, number: int) -> dict[str, Any]:
    """Hyper-parameters, threshold and gate."""
    recall, threshold = ws.config.recall, threshold_of(ws, number)
    sampling = {"percentile_files": recall.percentile_files, "seed": ws.config.seeds.seed}
    return {
        "fasttext": settings_of(recall.fasttext),
        "threshold": settings_of(threshold),
        "min_auc": recall.min_auc,
        **(sampling if threshold.percentile is not None else {}),
    }


def model_stage(number: int) -> Stage:
    """The Stage that trains the model of round ``number``."""
    names = Round(number)

    def inputs(ws: Workspace, key: PartitionKey) -> list[Ref]:
        crawl = [Ref("crawl_index", key)] if threshold_of(ws, number).percentile is not None else []
        return [Ref(names.labelled, key), *crawl]

    return Stage(
        asset=names.model,
        dimensions=("snapshot",),
        whole=True,
        prefix=f"m{number}",
        schema=SCHEMA,
        run=_run(number),
        inputs=inputs,
        settings=lambda ws, key: settings(ws, number),
        sources=(
            "stages/recall/model.py",
            "stages/recall/rounds.py",
            "stages/recall/classifier.py",
            "stages/recall/training_process.py",
            "stages/recall/scorer*.py",
            "stages/seeds/pages.py",
            "stages/seeds/sampling.py",
            "stages/crawl/wet.py",
            "stages/crawl/source.py",
            "stages/crawl/transport.py",
            "core/warc.py",
        ),
        reuses=training_reuse("model", number),
    )


def _run(number: int) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        pages, recall, config = job.read(Round(number).labelled), job.ws.config.recall, threshold_of(job.ws, number)
        training, held_out = pages.filter(split="train"), pages.filter(split="held_out")
        path, trained = job.folder / "model.bin", 0.0
        if not path.exists():
            job.log(f"{job.stage.asset} {job.key}: training on {training.height:,} pages")
            total, done = training.height * recall.fasttext.epochs, 0
            job.progress.start(total, "pages trained on")

            def told(share: float) -> None:
                nonlocal done
                job.progress.advance(round(total * share) - done)
                done = round(total * share)

            trained = train(
                list(zip(training["label"], training["text"], strict=True)),
                path,
                recall.fasttext,
                job.folder / "scratch",
                told,
            )
        model = FastTextScorer.load(path, POSITIVE)
        scores = model.score(held_out["text"].to_arrow()).tolist()
        positive = (held_out["label"] == "positive").to_list()
        threshold = _threshold(job, config, model, scores, positive)
        result = _gate(job, config, separation(scores, positive, threshold), held_out)
        rows = held_out.select(
            pl.col("id")
            .map_elements(lambda parent: row_id(job.stage.prefix, parent), return_dtype=pl.String)
            .alias("id"),
            pl.col("id").alias("parent_id"),
            "url",
            "label",
            pl.Series("score", scores, dtype=pl.Float32),
        )
        # Training pages are kept through the model, held-out pages through their row.
        job.unit(
            "held-out",
            lambda: Unit(rows=rows, rows_in=pages.height, rows_kept=pages.height, cpu_seconds=trained),
        )
        job.rows = training.height
        job.metrics |= {
            **result.as_dict(),
            "threshold_set_by": next(name for name in ("precision", "percentile", "score") if getattr(config, name)),
            "parameters": settings_of(recall.fasttext),
            "training_pages": training.height,
            "labelled": {
                "snapshot": job.key["snapshot"],
                "positives": pages.filter(label="positive").height,
                "negatives": pages.filter(label="negative").height,
            },
            "held_out_pages": held_out.height,
            "model_bytes": path.stat().st_size,
        }

    return run


def _threshold(
    job: Job, config: ThresholdConfig, model: FastTextScorer, scores: Sequence[float], positive: Sequence[bool]
) -> float:
    """The round's threshold. Raises QualityGate where no score reaches the target precision."""
    if config.score is not None:
        return config.score
    if config.percentile is not None:
        crawl = crawl_scores(job, model)
        job.metrics["percentile_pages"] = crawl.len()
        quantile = crawl.quantile(config.percentile / 100, interpolation="higher")
        if quantile is None:
            raise _refused(job, "there is no readable page to take a percentile of", len(scores))
        return float(quantile)
    assert config.precision is not None
    found = threshold_for(scores, positive, config.precision)
    if found is None:
        raise _refused(job, f"no threshold reaches precision {config.precision}", len(scores))
    return found


def crawl_scores(job: Job, model: FastTextScorer) -> pl.Series:
    """Scores of every page of the files that stand for the crawl."""
    source = CrawlSource.of(job.ws, job.key["snapshot"])
    files = chosen_files(wet_files(job.read("crawl_index")), job.settings["percentile_files"], job.settings["seed"])
    scores: list[float] = []
    unreadable: list[Reject] = []  # not this stage's records: the scan lists them
    job.progress.start(len(files), "WET files for the percentile")
    for file in files:
        batch: list[str] = []
        for page in read_wet(source, file, job.stage.prefix, unreadable):
            batch.append(one_line(page.text))
            if len(batch) == BATCH:
                scores += model.score(batch).tolist()
                batch = []
        scores += model.score(batch).tolist()
        job.progress.advance()
    return pl.Series(scores, dtype=pl.Float64)


def _gate(job: Job, config: ThresholdConfig, result: Separation | None, held_out: pl.DataFrame) -> Separation:
    """The result, where it is good enough. Raises QualityGate."""
    if result is None:
        raise _refused(job, "they are all of one class", held_out.height)
    least = config.min_precision if config.precision is None else config.precision
    if result.auc < job.ws.config.recall.min_auc:
        raise _refused(job, f"AUC {result.auc:.3f} (needed {job.ws.config.recall.min_auc})", held_out.height)
    if result.precision < least:
        raise _refused(
            job,
            f"precision {result.precision:.3f} at threshold {result.threshold:.4f} (needed {least})",
            held_out.height,
        )
    return result


def _refused(job: Job, reached: str, pages: int) -> QualityGate:
    return QualityGate(
        f"{job.stage.asset} {job.key}: held-out scores of {pages} pages do not separate: {reached}",
        "check the labelled pages, or `recall.fasttext` (the paper's parameters need tens of thousands of pages), or"
        " lower the round's threshold, its `min_precision`, or `recall.min_auc`",
    )
