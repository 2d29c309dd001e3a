import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from webinstruct_assets.core.config import FastTextConfig
from webinstruct_assets.core.ids import digest_file
from webinstruct_assets.stages.recall.classifier import POSITIVE, separation, threshold_for, train
from webinstruct_assets.stages.recall.scorer import FastTextScorer

SMALL = FastTextConfig(dim=8, epochs=20, lr=0.5, word_ngrams=2, min_count=1, buckets=1000)


def pages(count: int) -> list[tuple[str, str]]:
    chooser = random.Random(0)
    words = {
        "positive": ["question", "answer", "solve", "exam", "find", "prove"],
        "negative": ["news", "sale", "weather", "match", "travel", "recipe"],
    }
    common = ["the", "of", "and", "to", "in", "a", "is", "that", "it"]
    return [
        (label, " ".join(chooser.choices(words[label] + common, k=40)))
        for label in ("positive", "negative")
        for _ in range(count)
    ]


def test_a_model_separates_and_is_reproducible(tmp_path: Path) -> None:
    for name in ("a", "b"):
        train(pages(40), tmp_path / f"{name}.bin", SMALL, tmp_path)
    assert digest_file(tmp_path / "a.bin") == digest_file(tmp_path / "b.bin")
    model = FastTextScorer.load(tmp_path / "a.bin", POSITIVE)
    scores = model.score([text for _, text in pages(10)])
    assert min(scores[:10]) > max(scores[10:])
    assert len(model.score([])) == 0
    assert all(0 <= score <= 1 for score in model.score(["", "ünïcödé 漢字", "x" * 10_000]))


@given(
    st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=40),
    st.sampled_from([0.05, 0.2, 0.6, 0.95]),
)
def test_auc_and_thresholds_against_their_definitions(pairs: list[tuple[float, bool]], threshold: float) -> None:
    scores, labels = [score for score, _ in pairs], [label for _, label in pairs]

    def chosen(least: float) -> list[bool]:
        return [label for score, label in pairs if score >= least]

    reaching = [score for score in scores if sum(chosen(score)) / len(chosen(score)) >= 0.75]
    assert threshold_for(scores, labels, 0.75) == min(reaching, default=None)
    result = separation(scores, labels, threshold)
    if len(set(labels)) < 2:
        assert result is None
        return
    assert result is not None
    above = chosen(threshold)
    assert result.precision == pytest.approx(sum(above) / len(above) if above else 0.0)
    assert result.recall == pytest.approx(sum(above) / sum(labels))
    assert result.auc == pytest.approx(roc_auc_score(labels, scores))
