"""verified_qa: majorities over recorded attempts, and off by default."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT
from webinstruct_assets.stages.verification.verified_qa import VERIFIED_QA, difficulty, judge, solve_requests
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
PAIR = {
    "id": "wi-1",
    "question": "What is 6 times 7?",
    "answer": "It is 42.",
    "final_answer": "42",
    "answer_type": "number",
}
PROSE = {
    "id": "wi-2",
    "question": "Why is the sky blue?",
    "answer": "Short waves scatter more. " * 5,
    "answer_type": "prose",
}


def said(*answers: str | None) -> list[LlmReply]:
    return [
        LlmReply("", None, 0, 0, error="gone")
        if answer is None
        else LlmReply(f"Six sevens. The answer is {answer}.", "stop", 9, 9)
        for answer in answers
    ]


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        (("42", "42", "41", "42.0"), 3),
        (("42", "41", "40", "42"), 2),
        (("42", "41", "41", "40"), "majority_differs"),
        (("42", "41", "42", "41"), "no_majority"),
        (("42", "42", "42", "42"), "always_solved"),
        (("42", None, None, "42"), 2),
        ((None, None, None, None), "llm_error"),
        (("40", "41", "43", "44"), "majority_differs"),
    ],
)
def test_majority(answers: tuple[str | None, ...], outcome: int | str) -> None:
    found = judge(PAIR, said(*answers), drop_extremes=True)
    assert (found.partition(":")[0] if isinstance(found, str) else found) == outcome, found


def test_an_attempt_that_was_cut_off_has_no_answer() -> None:
    """As the demo's model leaves them: the last number of an unfinished derivation."""
    cut = [LlmReply("So we have 6 * 40 + 6 * 2 = 240", "length", 9, 9)] * 2
    assert judge(PAIR, [*said("42"), *cut], drop_extremes=True) == 1
    assert str(judge(PAIR, cut, drop_extremes=True)).startswith("no_majority: 0 of 2")


def test_extremes_may_stay() -> None:
    assert judge(PAIR, said("42", "42"), drop_extremes=False) == 2


def test_difficulty() -> None:
    assert [difficulty(rate) for rate in (1.0, 0.75, 0.5, 0.375, 0.25)] == ["easy", "easy", "medium", "medium", "hard"]


EASY = [
    {"id": f"wi-{n}", "question": f"What is {n} + {n}?", "answer": str(2 * n), "final_answer": str(2 * n)}
    for n in range(3, 6)
]


def publish_pairs(ws: Workspace, *more: dict[str, str]) -> None:
    rows: list[dict[str, Any]] = [
        filled(WEBINSTRUCT, subject="Mathematics", level="secondary", **pair) for pair in (PAIR, PROSE, *more)
    ]
    publish(ws, WEBINSTRUCT, SNAPSHOT, rows)


def test_off_by_default(workspace: Workspace) -> None:
    publish_pairs(workspace)
    manifest = execute(VERIFIED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    assert (manifest.rows, manifest.rows_in) == (0, 0) and "is off" in manifest.metrics["note"]


def test_pairs_are_verified_or_have_their_reason(workspace: Workspace) -> None:
    dead = ModelConfig(source="hub:some/model", base_url="http://127.0.0.1:9/v1", served_name="m")
    verification = workspace.config.verification.model_copy(update={"model": "smollm2-135m", "attempts": 3})
    workspace.files.environment = workspace.config.model_copy(
        update={"models": {"smollm2-135m": dead}, "verification": verification}
    )
    publish_pairs(workspace)
    identity = workspace.model_identity("smollm2-135m")
    ledger = Ledger(workspace.root / "data/llm/ledger.sqlite")
    requests = solve_requests(PAIR, VERIFIED_QA.settings(workspace, SNAPSHOT))
    assert len({request.key(identity) for request in requests}) == 3
    for request, reply in zip(requests, said("42", "41", "42"), strict=True):
        ledger.put(
            request.key(identity),
            identity,
            {"text": reply.text, "finish_reason": "stop", "tokens_in": 9, "tokens_out": 9},
        )
    manifest = execute(VERIFIED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    (row,) = workspace.lake.read(manifest).to_dicts()
    assert (row["parent_id"], row["right"], row["attempts"], row["difficulty"]) == ("wi-1", 2, 3, "medium")
    assert (row["answer_type"], row["subject"], row["level"]) == ("number", "Mathematics", "secondary")
    (reject,) = pl.read_parquet(workspace.lake.reject_paths(manifest)).to_dicts()
    assert (reject["parent_id"], reject["reason"]) == ("wi-2", "no_final_answer")
    assert manifest.metrics["tokens_out"] == 27


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_the_real_model(home: Path) -> None:
    """What the small model solves is its own affair; it must be asked, and every pair must have its outcome."""
    workspace = Workspace.open(home)
    verification = workspace.config.verification.model_copy(
        update={"model": "smollm2-135m", "attempts": 3, "max_output_tokens": 96, "drop_extremes": False}
    )
    workspace.files.environment = workspace.config.model_copy(update={"verification": verification})
    publish_pairs(workspace, *({**pair, "answer_type": "number"} for pair in EASY))
    manifest = execute(VERIFIED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    rows = workspace.lake.read(manifest).to_dicts()
    reasons = dict(pl.read_parquet(workspace.lake.reject_paths(manifest)).select("parent_id", "reason").iter_rows())
    assert manifest.rows_in == 5 and len(rows) + len(reasons) == 5
    assert reasons.pop("wi-2") == "no_final_answer" and set(reasons.values()) <= {"majority_differs", "no_majority"}
    assert 12 <= manifest.metrics["tokens_out"] <= 12 * 96
    assert all(0 < row["right"] <= row["attempts"] == 3 and "smollm2" in row["model"] for row in rows)
