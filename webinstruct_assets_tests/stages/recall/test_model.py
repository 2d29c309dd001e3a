"""A round's model: where its threshold comes from, and the gates that keep one that separates nothing from use."""

import random

import pytest

from webinstruct_assets.core.config import ThresholdConfig
from webinstruct_assets.core.errors import ConfigError, QualityGate
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.fasttext_model import FASTTEXT_MODEL
from webinstruct_assets.stages.recall.round1_recall import ROUND1_RECALL
from webinstruct_assets.stages.seeds.seed_set import SEED_SET
from webinstruct_assets_tests.crawls import configured, crawl
from webinstruct_assets_tests.partitions import filled, publish

KEY = PartitionKey.of({"snapshot": "local-test"})
WORDS = {"positive": ["question", "answer", "solve", "exam"], "negative": ["news", "sale", "weather", "match"]}


def text(chooser: random.Random, words: list[str]) -> str:
    return " ".join(chooser.choices([*words, "the", "of", "and"], k=30))


def seeds(workspace: Workspace, *, wrong: float) -> None:
    """Labelled pages; ``wrong``: share of the negatives that read like positives."""
    chooser = random.Random(1)
    rows = []
    for number in range(120):
        label = ("positive", "negative")[number % 2]
        words = WORDS["positive"] if label == "positive" or chooser.random() < wrong else WORDS["negative"]
        split = "held_out" if number % 5 < 2 else "train"
        rows.append(filled(SEED_SET, id=f"sd-{number}", label=label, split=split, text=text(chooser, words)))
    publish(workspace, SEED_SET, KEY, rows)


def test_labels_at_random_are_refused(workspace: Workspace) -> None:
    seeds(workspace, wrong=1.0)
    with pytest.raises(QualityGate, match="do not separate"):
        execute(FASTTEXT_MODEL, KEY, workspace, log=print, run_id="test")
    assert workspace.lake.manifest(FASTTEXT_MODEL.ref(KEY)) is None


def test_a_model_that_separates_is_published_with_its_numbers(workspace: Workspace) -> None:
    seeds(workspace, wrong=0.0)
    manifest = execute(FASTTEXT_MODEL, KEY, workspace, log=print, run_id="test")
    assert manifest.metrics["auc"] == 1.0 and manifest.metrics["threshold_set_by"] == "precision"
    assert manifest.metrics["precision"] >= (workspace.config.recall.round1_threshold.precision or 1)
    assert manifest.rows == 72 and workspace.lake.read(manifest).height == 48
    assert [part.file for part in manifest.files] == ["model.bin"]


def test_a_fixed_score_has_to_reach_its_precision(workspace: Workspace) -> None:
    seeds(workspace, wrong=0.4)
    ws = configured(workspace, recall={"min_auc": 0.5, "round1_threshold": {"score": 0.2, "min_precision": 0.95}})
    with pytest.raises(QualityGate, match=r"precision 0\.\d+ at threshold 0.2000 \(needed 0.95\)"):
        execute(FASTTEXT_MODEL, KEY, ws, log=print, run_id="test")
    ws = configured(ws, recall={"round1_threshold": {"score": 0.2}})
    manifest = execute(FASTTEXT_MODEL, KEY, ws, log=print, run_id="test")
    assert manifest.metrics["threshold"] == 0.2 and 0.5 <= manifest.metrics["precision"] < 0.95


def test_a_percentile_is_one_of_the_crawl(workspace: Workspace) -> None:
    """The share of the crawl's pages that the recall keeps is what the percentile says."""
    chooser = random.Random(2)
    ws = configured(
        workspace, recall={"round1_threshold": {"percentile": 90, "min_precision": 0.0}, "percentile_files": 9}
    )
    kinds = ["positive"] * 60 + ["negative"] * 140
    crawl(ws, "local-test", [(f"https://a.example/{n}", text(chooser, WORDS[kind])) for n, kind in enumerate(kinds)], 4)
    seeds(ws, wrong=0.0)
    manifest = execute(FASTTEXT_MODEL, KEY, ws, log=print, run_id="test")
    assert manifest.metrics["threshold_set_by"] == "percentile" and manifest.metrics["percentile_pages"] == 200
    assert [item.asset for item in manifest.inputs] == ["seed_set", "crawl_index"]
    recall = execute(ROUND1_RECALL, KEY, ws, log=print, run_id="test")
    assert 18 <= recall.rows <= 21  # ties may add one
    two = configured(ws, recall={"percentile_files": 2})
    assert execute(FASTTEXT_MODEL, KEY, two, log=print, run_id="test").metrics["percentile_pages"] == 100


@pytest.mark.parametrize("content", [{}, {"precision": 0.9, "score": 0.5}, {"percentile": 100}, {"quantile": 0.9}])
def test_a_threshold_is_set_by_exactly_one_thing(workspace: Workspace, content: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"demo.yaml: field 'recall.round1_threshold"):
        configured(workspace, recall={"round1_threshold": content})
    assert ThresholdConfig(percentile=90).min_precision == 0.5
