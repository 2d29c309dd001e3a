"""What a table of graded items says: shares with intervals, by both graders, with and without contaminated items.

In: rows of ``benchmark_scores``. Out: metrics. A share of items has a Wilson interval; an average of shares, and a
difference between two models on the same items, a bootstrap interval (95 % all).
"""

from typing import Any

import polars as pl

from webinstruct_assets.core.intervals import bootstrap, wilson


def statistics(rows: pl.DataFrame) -> dict[str, Any]:
    """All of a partition's scores. Those of the base model and the differences only where it was evaluated."""
    clean = rows.filter(~pl.col("contaminated"))
    return {
        **share(rows["correct"]),
        "paper": share(rows["paper_correct"]),
        **_beside_base(rows),
        "contaminated_items": None if rows["contaminated"].null_count() else rows.height - clean.height,
        "without_contaminated": {
            **share(clean["correct"]), "items": clean.height, "paper": share(clean["paper_correct"]), **_beside_base(clean),
        },
        "unparsed": rows["extracted"].null_count(),
        "paper_unparsed": rows["paper_extracted"].null_count(),
        "graders_differ": int((rows["correct"] != rows["paper_correct"]).sum()),
        "failures": dict(rows["failure"].drop_nulls().value_counts().sort("failure").iter_rows()),
        "errors": int((rows["finish_reason"] == "error").sum()),
        "cut_off": int((rows["finish_reason"] == "length").sum()),
        "items": rows.height, "tokens_in": int(rows["tokens_in"].sum()), "tokens_out": int(rows["tokens_out"].sum()),
        **_by_subject(rows),
    }  # fmt: skip


def share(verdicts: pl.Series) -> dict[str, Any]:
    """Share of right ones with its interval; None of no items."""
    right, total = int(verdicts.sum()), len(verdicts)
    low, high = wilson(right, total)
    return {
        "accuracy": round(right / total, 6) if total else None, "ci_low": round(low, 6), "ci_high": round(high, 6),
    }  # fmt: skip


def _beside_base(rows: pl.DataFrame) -> dict[str, Any]:
    """The base model's shares, and the differences over items with the interval of their mean."""
    both = rows.filter(pl.col("base_correct").is_not_null())
    if both.is_empty():
        return {}
    found: dict[str, Any] = {}
    for name, column in (("", "correct"), ("paper_", "paper_correct")):
        base = both[f"base_{column}"].cast(pl.Int8)
        gained = (both[column].cast(pl.Int8) - base).to_list()
        low, high = bootstrap({"": gained})
        found |= {
            f"base_{name}accuracy": round(float(base.sum()) / len(base), 6),
            f"{name}delta": round(sum(gained) / len(gained), 6),
            f"{name}delta_low": round(low, 6),
            f"{name}delta_high": round(high, 6),
        }
    return found


def _by_subject(rows: pl.DataFrame) -> dict[str, Any]:
    """Each subject's share and the mean over subjects, of sets that tell several (BBH's tasks weigh by size elsewhere)."""
    groups = {
        str(subject): frame for (subject,), frame in rows.sort("item_id").group_by("subject", maintain_order=True)
    }
    if len(groups) < 2:
        return {}
    mean: dict[str, Any] = {"subjects": len(groups)}
    for name, column in (("", "correct"), ("paper_", "paper_correct")):
        values = {subject: frame[column].cast(pl.Float64).to_list() for subject, frame in groups.items()}
        low, high = bootstrap(values)
        mean |= {
            f"{name}accuracy": round(sum(sum(one) / len(one) for one in values.values()) / len(values), 6),
            f"{name}ci_low": round(low, 6),
            f"{name}ci_high": round(high, 6),
        }
    table = [
        {
            "subject": subject, "items": frame.height, **share(frame["correct"]),
            "paper_accuracy": share(frame["paper_correct"])["accuracy"],
        }
        for subject, frame in sorted(groups.items())
    ]  # fmt: skip
    return {"by_subject": table, "mean_over_subjects": mean}
