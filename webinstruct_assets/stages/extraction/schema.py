"""The columns of a pair, from extraction until refinement; ``extracted_qa`` says what they are."""

import polars as pl

from webinstruct_assets.stages.pages.schema import SPANS

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "parent_id": pl.String(),
    "url": pl.String(),
    "domain": pl.String(),
    "title": pl.String(),
    "question": pl.String(),
    "answer": pl.String(),
    "rule": pl.String(),
    "kind": pl.String(),
    "question_spans": SPANS,
    "answer_spans": SPANS,
    "model": pl.String(),
    "prompt_hash": pl.String(),
}
