"""What a table of judged items says: the benchmark's score with its interval, with and without contaminated items.

In: rows of ``benchmark_scores``. Out: metrics under the names that graded benchmarks have, so that tables need not know the
difference: ``accuracy`` is the share of the best possible score (MT-Bench: the mean rating over 10; else the win rate against
the baseline). ``reported`` has the number that the protocol publishes, in its own unit.

Arena-Hard's is the win rate of a Bradley-Terry model. Of one model against one baseline its maximum-likelihood estimate has a
closed form, the share of battles won (a tie is half a battle won), so nothing is fitted. Intervals (95 %) are bootstraps over
items: both games of an item, and the three battles of a strong verdict, are drawn together.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import polars as pl

from webinstruct_assets.core.intervals import bootstrap_items
from webinstruct_assets.stages.evaluation.judging.length_control import Controlled
from webinstruct_assets.stages.evaluation.judging.protocols import BEST_RATING

LengthControl = Callable[[pl.DataFrame], Controlled | None]


def judged_statistics(rows: pl.DataFrame, task: str, length_control: LengthControl | None) -> dict[str, Any]:
    """All of a partition's scores; those of the base model and the differences only where it was evaluated."""
    clean = rows.filter(~pl.col("contaminated"))
    judged = rows.filter(pl.col("score").is_not_null())
    scores = _scores(rows, task, length_control)
    same = clean.height == rows.height
    found: dict[str, Any] = {
        **scores,
        "contaminated_items": None if rows["contaminated"].null_count() else rows.height - clean.height,
        "without_contaminated": {
            "items": clean.height, **(scores if same else _scores(clean, task, length_control)),
        },
        "unparsed": rows["extracted"].null_count(),
        "paper_unparsed": rows["extracted"].null_count(),
        "graders_differ": 0,
        "failures": dict(rows["failure"].drop_nulls().value_counts().sort("failure").iter_rows()),
        "errors": int((rows["finish_reason"] == "error").sum()),
        "cut_off": int((rows["finish_reason"] == "length").sum()),
        "items": rows.height, "judged_items": judged.height,
        "tokens_in": int(rows["tokens_in"].sum()), "tokens_out": int(rows["tokens_out"].sum()),
    }  # fmt: skip
    asked = [json.loads(text) for text in rows["judgements"]]
    for name in ("tokens_in", "tokens_out"):
        found[f"judge_{name}"] = sum(judgement[name] for item in asked for judgement in item)
    if task == "mt_bench":
        found["by_turn"] = _by_turn(asked)
    if task == "alpaca_eval":
        found["weighted_by_logprobs"] = sum(item[0]["logprobs"] is not None for item in asked)
    subjects = rows["subject"].unique().sort().to_list()
    if len(subjects) > 1:
        table = [(subject, rows.filter(pl.col("subject") == subject)) for subject in subjects]
        found["by_subject"] = [
            {"subject": subject, "items": frame.height, **_share(frame), "paper_accuracy": _share(frame)["accuracy"]}
            for subject, frame in table
        ]
    return found


def _scores(rows: pl.DataFrame, task: str, length_control: LengthControl | None) -> dict[str, Any]:
    share = _share(rows)
    return {
        **share, "paper": share, **_beside_base(rows),
        "reported": _reported(rows, share, task, length_control),
    }  # fmt: skip


def _share(rows: pl.DataFrame) -> dict[str, Any]:
    rows = rows.filter(pl.col("score").is_not_null())
    if rows.is_empty():
        return {"accuracy": None, "ci_low": 0.0, "ci_high": 1.0}
    scores, weights = rows["score"].to_numpy(), rows["weight"].to_numpy()

    def mean(drawn: Any) -> float:
        return float((scores[drawn] * weights[drawn]).sum() / weights[drawn].sum())

    low, high = bootstrap_items(mean, rows.height)
    return {"accuracy": round(mean(slice(None)), 6), "ci_low": round(low, 6), "ci_high": round(high, 6)}


def _beside_base(rows: pl.DataFrame) -> dict[str, Any]:
    """The base model's score and the difference, over the items on which both have one."""
    both = rows.filter(pl.col("score").is_not_null() & pl.col("base_score").is_not_null())
    if both.is_empty():
        return {}
    columns = {name: both[name].to_numpy() for name in ("score", "weight", "base_score", "base_weight")}

    def mean(drawn: Any, prefix: str) -> float:
        weights = columns[f"{prefix}weight"][drawn]
        return float((columns[f"{prefix}score"][drawn] * weights).sum() / weights.sum())

    def gained(drawn: Any) -> float:
        return mean(drawn, "") - mean(drawn, "base_")

    low, high = bootstrap_items(gained, both.height)
    every = slice(None)
    found = {"delta": round(gained(every), 6), "delta_low": round(low, 6), "delta_high": round(high, 6)}
    base = round(mean(every, "base_"), 6)
    return {
        "base_accuracy": base, "base_paper_accuracy": base, **found,
        **{f"paper_{name}": value for name, value in found.items()},
    }  # fmt: skip


def _reported(
    rows: pl.DataFrame, share: dict[str, Any], task: str, length_control: LengthControl | None
) -> dict[str, Any] | None:
    """The published number: MT-Bench's mean rating, else a win rate in per cent (AlpacaEval's length-controlled)."""
    if share["accuracy"] is None:
        return None
    value, low, high = share["accuracy"], share["ci_low"], share["ci_high"]
    if task == "mt_bench":
        scale: float = BEST_RATING
        return {"name": "rating", "value": value * scale, "low": low * scale, "high": high * scale}
    name = "bradley_terry_win_rate" if task == "arena_hard" else "win_rate"
    more: dict[str, Any] = {}
    if length_control and (controlled := length_control(rows)):
        name, more = (
            "length_controlled_win_rate",
            {
                "uncontrolled_win_rate": round(100 * value, 4),
                "standard_error": round(100 * controlled.standard_error, 4),
            },
        )
        value, low, high = controlled.win_rate, controlled.low, controlled.high
    if task == "arena_hard" and 0 < value < 1:
        more = {"elo_above_baseline": round(400 * math.log10(value / (1 - value)), 1)}
    return {
        "name": name, "value": round(100 * value, 4), "low": round(100 * low, 4), "high": round(100 * high, 4), **more,
    }  # fmt: skip


def _by_turn(asked: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The mean rating of each turn, as FastChat shows it."""
    turns: list[list[float]] = [[], []]
    for judgements in asked:
        for turn, judgement in zip(turns, judgements, strict=False):
            if judgement["verdict"] is not None:
                turn.append(float(judgement["verdict"]))
    return [
        {"turn": number, "ratings": len(found), "rating": round(sum(found) / len(found), 4) if found else None}
        for number, found in enumerate(turns, 1)
    ]
