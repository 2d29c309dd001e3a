"""webinstruct as a stage: pooling, exact duplicates, labels by rule and by recorded replies, metrics on gold."""

from typing import Any

import polars as pl

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA
from webinstruct_assets.stages.release.labels import label_request, load_label_prompt
from webinstruct_assets.stages.release.source_types import SOURCE_TYPES
from webinstruct_assets.stages.release.subjects import SUBJECTS
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
FORMAT, STEPS = "smollm2-format", "smollm2-steps"


def refined(number: int, url: str, question: str, answer: str, status: str = "refined") -> dict[str, Any]:
    return filled(
        REFINED_QA, id=f"rq-{number}", parent_id=f"dq-{number}", url=url, domain=url.split("/")[2], question=question, answer=answer, status=status
    )  # fmt: skip


def prepare(workspace: Workspace, refiners: list[str]) -> None:
    dead = ModelConfig(source="hub:some/model", base_url="http://127.0.0.1:9/v1", served_name="m")
    workspace.files.environment = workspace.config.model_copy(
        update={"models": {"smollm2-135m": dead}, "refiners": refiners}
    )
    rows = {
        FORMAT: [
            refined(1, "https://quizlemma.example/quizzes/a", "Find the derivative of the polynomial.", r"\(3x^2\)", "unchanged"),
            refined(2, "https://quizlemma.example/quizzes/a", "How many are left?", "Four of them."),
            refined(3, "https://late-night.example/b", "What is the acceleration of the block?", "It falls, so 9.8 m/s²."),
        ],
        STEPS: [refined(4, "https://quizlemma.example/quizzes/a", "Find the  derivative of the polynomial", r"$3x^2$.")],
    }  # fmt: skip
    for refiner in refiners:
        publish(workspace, REFINED_QA, PartitionKey.of({"refiner": refiner, "snapshot": "local-demo"}), rows[refiner])


def record(workspace: Workspace, subject: str = '{"label": "Other"}') -> None:
    identity = workspace.model_identity("smollm2-135m")
    ledger = Ledger(workspace.root / "data/llm/ledger.sqlite")
    host = "Host: late-night.example\nPages:\n- /b\nA question there: What is the acceleration of the block?"
    asked = [
        (label_request(load_label_prompt("subject.yaml"), SUBJECTS, "How many are left?\nFour of them.", ""), subject),
        (label_request(load_label_prompt("source_type.yaml"), SOURCE_TYPES, host, ""), '{"label": "forum"}'),
    ]
    for request, text in asked:
        ledger.put(
            request.key(identity), identity, {"text": text, "finish_reason": "stop", "tokens_in": 1, "tokens_out": 1}
        )


def test_both_refiners_are_pooled_without_duplicates(workspace: Workspace) -> None:
    prepare(workspace, [FORMAT, STEPS])
    record(workspace)
    manifest = execute(WEBINSTRUCT, SNAPSHOT, workspace, log=print, run_id="test")
    rows = {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}
    labels = {
        name: (row["refiner"], row["subject"], row["subject_by"], row["source_type"], row["source_type_by"])
        for name, row in rows.items()
    }
    assert labels == {
        "rq-2": (FORMAT, "Other", "llm", "education", "rule"),
        "rq-3": (FORMAT, "Physics", "rule", "forum", "llm"),
        "rq-4": (STEPS, "Mathematics", "rule", "education", "rule"),  # refined beats unchanged
    }
    (reject,) = pl.read_parquet(workspace.lake.reject_paths(manifest)).iter_rows(named=True)
    assert (reject["id"], reject["parent_id"], reject["reason"]) == ("rq-1", "dq-1", "duplicate_exact")
    assert row_id("wi", "rq-4") in reject["detail"] and rows["rq-4"]["id"] == row_id("wi", "rq-4")
    assert (manifest.rows_in, manifest.rows) == (4, 3)
    metrics = manifest.metrics
    assert metrics["by_refiner"] == {FORMAT: 2, STEPS: 1}
    assert metrics["by_source_type"] == {"education": 2, "forum": 1}
    assert metrics["top_domains"][0] == {"domain": "quizlemma.example", "pairs": 2}
    assert metrics["answer_words"]["max"] == 5
    assert metrics["accuracy_on_gold"]["source_type"] == {"rule": {"labels": 1, "accuracy": 1.0}}


def test_one_refiner_is_enough_and_an_odd_reply_is_marked(workspace: Workspace) -> None:
    prepare(workspace, [FORMAT])
    record(workspace, subject="no idea")
    manifest = execute(WEBINSTRUCT, SNAPSHOT, workspace, log=print, run_id="test")
    rows = {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}
    assert {row["refiner"] for row in rows.values()} == {FORMAT}
    assert (rows["rq-2"]["subject"], rows["rq-2"]["subject_by"]) == ("Other", "llm_failed")
    assert manifest.metrics["subject_by"] == {"llm_failed": 1, "rule": 2}
