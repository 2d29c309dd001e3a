"""Training a round's model from labelled pages, with the gate that refuses one which separates nothing.

Out: file ``model.bin``; one row per held-out page. Columns: ``id``, ``parent_id`` (labelled page), ``url``,
``label``, ``score``. ``rows`` of the manifest counts training pages; metrics hold the parameters, AUC,
threshold, precision and recall.
"""

from collections.abc import Callable
from typing import Any

import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import Ref
from webinstruct_assets.core.stage import Job, Stage, Unit
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.classifier import POSITIVE, separation, train
from webinstruct_assets.stages.recall.scorer import FastTextScorer

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "label": pl.String(),
    "score": pl.Float32(),
}


def settings(ws: Workspace, precision: str) -> dict[str, Any]:
    """Hyper-parameters and the gate; ``precision`` names the round's field of ``recall``."""
    recall = ws.config.recall
    return {
        "fasttext": settings_of(recall.fasttext),
        "target_precision": getattr(recall, precision),
        "min_auc": recall.min_auc,
    }


def model_stage(asset: str, prefix: str, labelled: str, precision: str) -> Stage:
    """The Stage that trains ``asset`` from the labelled pages of asset ``labelled``."""
    return Stage(
        asset=asset,
        dimensions=("snapshot",),
        prefix=prefix,
        schema=SCHEMA,
        run=_run(labelled, prefix),
        inputs=lambda ws, key: [Ref(labelled, key)],
        settings=lambda ws, key: settings(ws, precision),
        sources=(
            "stages/recall/model.py",
            "stages/recall/classifier.py",
            "stages/recall/training_process.py",
            "stages/recall/scorer*.py",
        ),
        reusable=True,
    )


def _run(labelled: str, prefix: str) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        pages, recall = job.read(labelled), job.ws.config.recall
        target = job.settings["target_precision"]
        training, held_out = (
            pages.filter(pl.col("split") == "train"),
            pages.filter(pl.col("split") == "held_out"),
        )
        path = job.folder / "model.bin"
        if not path.exists():
            job.log(f"{job.stage.asset} {job.key}: training on {training.height:,} pages")
            train(
                list(zip(training["label"], training["text"], strict=True)),
                path,
                recall.fasttext,
                job.folder / "scratch",
            )
        scores = FastTextScorer.load(path, POSITIVE).score(held_out["text"].to_arrow())
        result = separation(scores.tolist(), (held_out["label"] == "positive").to_list(), target)
        if result is None or result.auc < recall.min_auc:
            reached = (
                f"AUC {result.auc:.3f} (needed {recall.min_auc})"
                if result
                else f"no threshold reaches precision {target}"
            )
            raise QualityGate(
                f"{job.stage.asset} {job.key}: held-out scores of {held_out.height} pages do not separate: {reached}",
                "check the labelled pages, or `recall.fasttext` (the paper's parameters need tens of thousands of"
                " pages), or lower the round's precision or `recall.min_auc`",
            )
        rows = held_out.select(
            pl.col("id").map_elements(lambda parent: row_id(prefix, parent), return_dtype=pl.String).alias("id"),
            pl.col("id").alias("parent_id"),
            "url",
            "label",
            pl.Series("score", scores, dtype=pl.Float32),
        )
        # Training pages are kept through the model, held-out pages through their row.
        job.unit("held-out", lambda: Unit(rows=rows, rows_in=pages.height, rows_kept=pages.height))
        job.rows = training.height
        job.metrics |= {
            **result.as_dict(),
            "parameters": settings_of(recall.fasttext),
            "training_pages": training.height,
            "held_out_pages": held_out.height,
            "model_bytes": path.stat().st_size,
        }

    return run
