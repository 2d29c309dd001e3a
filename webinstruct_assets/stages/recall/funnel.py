"""The paper's funnel as numbers: a step per row, from labelled pages to located URLs (§2.1, its Figure 2).

A step: ``round`` (0 for what comes after the last), ``snapshot`` that was counted, ``step``, ``of`` (pages, domains
or tokens) and ``count``. Tokens are text bytes / 4, a rule of thumb for English: the paper gives tokens, of a
tokenizer that it does not name.
"""

from collections.abc import Mapping
from typing import Any

BYTES_PER_TOKEN = 4


def step(number: int, snapshot: str, name: str, of: str, count: float) -> dict[str, Any]:
    """One row of the funnel."""
    return {"round": number, "snapshot": snapshot, "step": name, "of": of, "count": int(count)}


def steps_of_round(
    number: int, snapshot: str, labelled: Mapping[str, Any], metrics: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A round's steps, from what its model was trained on and what its domains stage counted."""
    return [
        step(number, labelled["snapshot"], "positive training pages", "pages", labelled["positives"]),
        step(number, labelled["snapshot"], "negative training pages", "pages", labelled["negatives"]),
        step(number, snapshot, "pages scored", "pages", metrics["pages_scored"]),
        step(number, snapshot, "pages recalled", "pages", metrics["recalled_pages"]),
        step(number, snapshot, "tokens recalled, about", "tokens", metrics["recalled_text_bytes"] / BYTES_PER_TOKEN),
        step(number, snapshot, "domains recalled", "domains", metrics["domains_recalled"]),
        step(number, snapshot, "domains with enough pages", "domains", metrics["domains_with_min_pages"]),
        step(number, snapshot, "domains judged", "domains", metrics["domains_judged"]),
        step(number, snapshot, "domains selected", "domains", metrics["domains_selected"]),
        step(number, snapshot, "pages of selected domains", "pages", metrics["collected_pages"]),
        step(number, snapshot, "tokens of these, about", "tokens", metrics["collected_text_bytes"] / BYTES_PER_TOKEN),
    ]
