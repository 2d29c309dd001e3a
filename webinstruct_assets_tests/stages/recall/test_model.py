"""The gate of a round's model: one that separates nothing is refused, and nothing is published."""

import random

import pytest

from webinstruct_assets.core.errors import QualityGate
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.fasttext_model import FASTTEXT_MODEL
from webinstruct_assets.stages.seeds.seed_set import SEED_SET
from webinstruct_assets_tests.partitions import filled, publish

KEY = PartitionKey.of({"snapshot": "local-test"})
WORDS = {"positive": ["question", "answer", "solve", "exam"], "negative": ["news", "sale", "weather", "match"]}


def seeds(workspace: Workspace, *, separable: bool) -> None:
    chooser = random.Random(1)
    rows = []
    for number in range(120):
        label = ("positive", "negative")[number % 2]
        words = WORDS[label] if separable else WORDS["positive"] + WORDS["negative"]
        text = " ".join(chooser.choices([*words, "the", "of", "and"], k=30))
        split = "held_out" if number % 5 < 2 else "train"
        rows.append(filled(SEED_SET, id=f"sd-{number}", label=label, split=split, text=text))
    publish(workspace, SEED_SET, KEY, rows)


def test_labels_at_random_are_refused(workspace: Workspace) -> None:
    seeds(workspace, separable=False)
    with pytest.raises(QualityGate, match="do not separate"):
        execute(FASTTEXT_MODEL, KEY, workspace, log=print, run_id="test")
    assert workspace.lake.manifest(FASTTEXT_MODEL.ref(KEY)) is None


def test_a_model_that_separates_is_published_with_its_numbers(workspace: Workspace) -> None:
    seeds(workspace, separable=True)
    manifest = execute(FASTTEXT_MODEL, KEY, workspace, log=print, run_id="test")
    assert manifest.metrics["auc"] == 1.0
    assert manifest.metrics["precision"] >= workspace.config.recall.round1_precision
    assert manifest.rows == 72 and workspace.lake.read(manifest).height == 48
    assert [part.file for part in manifest.files] == ["model.bin"]
