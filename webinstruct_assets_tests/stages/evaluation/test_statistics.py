"""Scores of a table of verdicts: intervals, the second score without contaminated items, differences, subjects."""

from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.intervals import bootstrap
from webinstruct_assets.stages.evaluation.benchmark_scores import SCHEMA
from webinstruct_assets.stages.evaluation.statistics import share, statistics


def rows(*given: dict[str, Any]) -> pl.DataFrame:
    usual = {
        "extracted": "A", "paper_extracted": "A", "failure": None, "base_correct": None, "base_paper_correct": None,
        "contaminated": False, "finish_reason": "stop", "tokens_in": 10, "tokens_out": 2, "subject": "",
    }  # fmt: skip
    return pl.DataFrame(
        [{**usual, "item_id": f"i{number:03}", **row} for number, row in enumerate(given)], schema=SCHEMA
    )


def test_both_graders_and_failures_are_counted() -> None:
    found = statistics(
        rows(
            {"correct": True, "paper_correct": True},
            {
                "correct": False,
                "paper_correct": True,
                "extracted": None,
                "paper_extracted": None,
                "failure": "no_answer",
            },
            {"correct": False, "paper_correct": False, "finish_reason": "length"},
            {
                "correct": False,
                "paper_correct": False,
                "extracted": None,
                "failure": "no_answer",
                "finish_reason": "error",
            },
        )
    )
    assert (found["accuracy"], found["paper"]["accuracy"], found["graders_differ"]) == (0.25, 0.5, 1)
    assert found["ci_low"] < 0.25 < found["ci_high"] and found["paper"]["ci_low"] < 0.5 < found["paper"]["ci_high"]
    assert (found["unparsed"], found["paper_unparsed"], found["failures"]) == (2, 1, {"no_answer": 2})
    assert (found["errors"], found["cut_off"], found["items"], found["tokens_in"], found["tokens_out"]) == (
        1,
        1,
        4,
        40,
        8,
    )
    assert "by_subject" not in found and "base_accuracy" not in found


def test_score_without_contaminated_items_and_the_bases_on_the_same() -> None:
    found = statistics(
        rows(
            {
                "correct": True,
                "paper_correct": True,
                "contaminated": True,
                "base_correct": False,
                "base_paper_correct": False,
            },
            {"correct": False, "paper_correct": False, "base_correct": False, "base_paper_correct": True},
            {"correct": True, "paper_correct": True, "base_correct": True, "base_paper_correct": True},
        )
    )
    assert found["contaminated_items"] == 1
    assert (found["accuracy"], found["base_accuracy"], found["delta"]) == (0.666667, 0.333333, 0.333333)
    clean = found["without_contaminated"]
    assert (clean["items"], clean["accuracy"], clean["base_accuracy"], clean["delta"]) == (2, 0.5, 0.5, 0.0)
    assert (clean["paper_delta"], found["paper_delta"]) == (-0.5, 0.0)
    assert found["delta_low"] <= found["delta"] <= found["delta_high"]


def test_all_items_contaminated() -> None:
    found = statistics(rows({"correct": True, "paper_correct": True, "contaminated": True}))
    assert found["without_contaminated"] == {
        "accuracy": None, "ci_low": 0.0, "ci_high": 1.0, "items": 0, "paper": share(pl.Series([], dtype=pl.Boolean)),
    }  # fmt: skip


def test_subjects_weigh_the_same_in_their_mean() -> None:
    large = [{"correct": True, "paper_correct": True, "subject": "large"}] * 30
    small = [{"correct": number == 0, "paper_correct": False, "subject": "small"} for number in range(4)]
    found = statistics(rows(*large, *small))
    assert found["accuracy"] == pytest.approx(31 / 34, abs=1e-6)  # the paper's: by size
    mean = found["mean_over_subjects"]
    assert (mean["subjects"], mean["accuracy"], mean["paper_accuracy"]) == (2, 0.625, 0.5)
    assert mean["ci_low"] < 0.625 < mean["ci_high"]
    assert [(row["subject"], row["items"], row["accuracy"]) for row in found["by_subject"]] == [
        ("large", 30, 1.0),
        ("small", 4, 0.25),
    ]


def test_bootstrap_is_the_known_interval_and_the_same_every_time() -> None:
    """Of a share near one half the percentile interval comes near the normal one, 1.96 sqrt(p (1 - p) / n)."""
    values = [0.0, 1.0] * 200
    low, high = bootstrap({"": values})
    assert (low, high) == bootstrap({"": values})
    assert (low, high) == (pytest.approx(0.451, abs=0.006), pytest.approx(0.549, abs=0.006))
    assert bootstrap({"a": [1.0] * 5, "b": [0.0] * 7}) == (0.5, 0.5)
