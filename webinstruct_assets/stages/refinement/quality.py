"""What refinement did to pairs that gold knows: right before, right after.

In: kept refined rows and gold pairs. Out: counts and shares for the metrics. A pair is right when question and answer
both overlap with one gold pair of its page, as extraction measures it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from webinstruct_assets.stages.extraction.quality import MATCH, overlap, words


def accuracy(rows: Iterable[Mapping[str, Any]], gold: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``pairs`` on gold's pages, ``right_before`` (as extracted) and ``right_after`` (as refined), shares of them.

    Empty when no kept pair is on a page that gold knows.
    """
    urls = {entry["url"] for entry in gold}
    known = [row for row in rows if row["url"] in urls]
    if not known:
        return {}

    def right(row: Mapping[str, Any], prefix: str) -> bool:
        question, answer = words(row[f"{prefix}question"]), words(row[f"{prefix}answer"])
        return any(
            overlap(question, words(entry["question"])) >= MATCH and overlap(answer, words(entry["answer"])) >= MATCH
            for entry in gold
            if entry["url"] == row["url"]
        )

    return {
        "pairs": len(known),
        "right_before": round(sum(right(row, "original_") for row in known) / len(known), 3),
        "right_after": round(sum(right(row, "") for row in known) / len(known), 3),
    }
