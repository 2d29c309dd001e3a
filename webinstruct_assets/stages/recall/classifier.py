"""fastText as a page classifier: training, and how well held-out scores separate. Scoring: ``scorer``.

Nothing here knows rounds, domains or files of a crawl.
"""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import FastTextConfig
from webinstruct_assets.core.errors import QualityGate

POSITIVE = "__label__positive"


def train(pages: Sequence[tuple[str, str]], path: Path, config: FastTextConfig, scratch: Path) -> None:
    """Trains on (label, text) pairs, label being positive or negative, and writes the model to ``path``.

    Runs in a process of its own, see ``training_process``. Pages are shuffled, as gradient descent wants them.
    Raises QualityGate when fastText's updates diverge.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    corpus = scratch / "corpus.txt"
    shuffled = list(pages)
    random.Random(config.seed).shuffle(shuffled)
    with corpus.open("w", encoding="utf-8") as stream:
        for label, text in shuffled:
            stream.write(f"__label__{label} {text}\n")
    temporary = path.with_name(f".{path.name}.tmp")
    arguments = {
        "input": str(corpus), "output": str(temporary), "dim": config.dim, "epoch": config.epochs, "lr": config.lr,
        "wordNgrams": config.word_ngrams, "minCount": config.min_count, "bucket": config.buckets, "seed": config.seed,
    }  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-m", "webinstruct_assets.stages.recall.training_process", json.dumps(arguments)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode:
        problem = (answer.stdout.strip() or answer.stderr.strip())[-500:]
        raise QualityGate(f"fastText training failed: {problem}", "lower `recall.fasttext.lr`, or add pages")
    temporary.rename(path)


@dataclass(frozen=True)
class Separation:
    """How held-out scores separate: area under the ROC curve, and precision/recall at the threshold."""

    auc: float
    threshold: float
    precision: float
    recall: float

    def as_dict(self) -> dict[str, Any]:
        """For metrics."""
        return {
            "auc": round(self.auc, 4),
            "threshold": self.threshold,
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
        }


def separation(scores: Sequence[float], positive: Sequence[bool], target_precision: float) -> Separation | None:
    """The lowest threshold whose held-out precision reaches the target; None when no threshold does.

    AUC by the rank-sum statistic, ties counted half.
    """
    pairs = sorted(zip(scores, positive, strict=True), reverse=True)
    total = sum(positive)
    if not total or total == len(pairs):
        return None
    above = wins = 0.0
    best: tuple[float, float, float] | None = None
    found = start = 0
    while start < len(pairs):
        end = start
        while end < len(pairs) and pairs[end][0] == pairs[start][0]:
            end += 1
        hits = sum(flag for _, flag in pairs[start:end])
        misses = end - start - hits
        wins += misses * (above + hits / 2)
        above += hits
        found += hits
        if found / end >= target_precision:
            best = (pairs[start][0], found / end, found / total)
        start = end
    if best is None:
        return None
    return Separation(wins / (total * (len(pairs) - total)), *best)
