"""fastText as a page classifier: training, and how well held-out scores separate. Scoring: ``scorer``.

Nothing here knows rounds, domains or files of a crawl.
"""

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import FastTextConfig
from webinstruct_assets.core.errors import QualityGate

POSITIVE = "__label__positive"
DONE = re.compile(r"Progress: *([\d.]+)%")  # fastText's own words


def train(
    pages: Sequence[tuple[str, str]],
    path: Path,
    config: FastTextConfig,
    scratch: Path,
    told: Callable[[float], None] = lambda share: None,
) -> float:
    """Trains on (label, text) pairs, label being positive or negative, and writes the model to ``path``; CPU seconds.

    ``told`` hears which share of the training is done. Runs in a process of its own, see ``training_process``. Pages are
    shuffled, as gradient descent wants them. Raises QualityGate when fastText's updates diverge.
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
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "webinstruct_assets.stages.recall.training_process", json.dumps(arguments)],
        env={**os.environ, "MALLOC_PERTURB_": "255"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        assert child.stdout
        for line in child.stdout:  # ends at a carriage return, too
            if done := DONE.search(line):
                told(float(done[1]) / 100)
            elif line.strip():
                said.append(line.strip())
    if child.returncode:
        problem = "\n".join(said)[-500:]
        raise QualityGate(f"fastText training failed: {problem}", "lower `recall.fasttext.lr`, or add pages")
    temporary.rename(path)
    return float(said[-1])


@dataclass(frozen=True)
class Separation:
    """How held-out scores separate at a threshold: area under the ROC curve, precision and recall."""

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


def threshold_for(scores: Sequence[float], positive: Sequence[bool], target_precision: float) -> float | None:
    """The lowest score whose held-out precision reaches the target; None when none does."""
    best, found = None, 0
    for end, score, hits in _steps(scores, positive):
        found += hits
        if found / end >= target_precision:
            best = score
    return best


def separation(scores: Sequence[float], positive: Sequence[bool], threshold: float) -> Separation | None:
    """Quality at ``threshold``; None when all pages are of one class. No page at or above it: precision 0.

    AUC by the rank-sum statistic, ties counted half.
    """
    total = sum(positive)
    if not total or total == len(scores):
        return None
    above = wins = chosen = right = start = 0.0
    for end, score, hits in _steps(scores, positive):
        wins += (end - start - hits) * (above + hits / 2)
        above += hits
        start = end
        if score >= threshold:
            chosen, right = end, above
    return Separation(
        wins / (total * (len(scores) - total)), threshold, right / chosen if chosen else 0.0, right / total
    )


def _steps(scores: Sequence[float], positive: Sequence[bool]) -> Iterator[tuple[int, float, int]]:
    """Per distinct score from the top: pages at or above it, the score, positives that have it."""
    pairs = sorted(zip(scores, positive, strict=True), reverse=True)
    end = 0
    for score, group in groupby(pairs, key=lambda pair: pair[0]):
        flags = [flag for _, flag in group]
        end += len(flags)
        yield end, score, sum(flags)
