"""Rows of a training set as tokens, and which of them carry loss; what is beyond ``max_length`` is cut off and counted.

In: a job, its tokenizer. Out: a data set with ``input_ids`` and ``labels`` (-100: no loss), which TRL packs and batches
as it is. Done here because TRL knows the turns of an assistant only of chat templates with generation markers, which the
paper's base models do not have, and because it does not say what it cuts.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.training.job import TrainingJob

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # torch's label of a token without loss
ROWS_PER_WORKER = 20_000


@dataclass(frozen=True)
class TrainingSet:
    """``data``: rows with a token that carries loss, in the order of the parts. ``dropped``: ids of the others.

    ``rows_cut``, ``tokens_cut``: of the rows in ``data``, how many were longer than ``max_length``, and by how much.
    ``tokens_in_dataset``, ``loss_tokens``: what is left of them, and what of that carries loss.
    """

    data: "Dataset"
    rows_read: int
    dropped: list[str]
    rows_cut: int
    tokens_cut: int
    tokens_in_dataset: int
    loss_tokens: int


def training_set(job: TrainingJob, tokenizer: "PreTrainedTokenizerBase") -> TrainingSet:
    """The job's rows as tokens. Raises BadInput where none carries loss, and as ``labelled`` does."""
    import numpy as np
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    rows = Dataset.from_parquet(job.data, columns=["id", "messages"], cache_dir=str(job.scratch / "cache"))
    workers = min(os.cpu_count() or 1, len(rows) // ROWS_PER_WORKER)
    data = rows.map(
        _tokenized,
        fn_kwargs={"tokenizer": tokenizer, "loss": job.loss, "max_length": job.max_length},
        remove_columns=["messages"],
        num_proc=workers if workers > 1 else None,
    )
    counts = data.select_columns(["length", "cut", "loss_tokens"]).with_format("numpy")[:]
    kept = counts["loss_tokens"] > 0
    if not kept.any():
        raise BadInput(
            f"the prompts of all {len(data)} rows fill max_length, {job.max_length} tokens: none carries loss",
            "raise max_length in the recipe, or look at the rows of its sft_dataset",
        )
    length, cut, loss_tokens = (counts[name][kept] for name in ("length", "cut", "loss_tokens"))
    return TrainingSet(
        data=data.select(np.flatnonzero(kept)).select_columns(["input_ids", "labels"]),
        rows_read=len(data),
        dropped=list(data.select(np.flatnonzero(~kept))["id"]),
        rows_cut=int((cut > 0).sum()),
        tokens_cut=int(cut.sum()),
        tokens_in_dataset=int(length.sum()),
        loss_tokens=int(loss_tokens.sum()),
    )


def _tokenized(row: dict[str, Any], tokenizer: Any, loss: str, max_length: int) -> dict[str, Any]:
    try:
        ids, labels = labelled(row["messages"], tokenizer, loss)
    except BadInput as error:
        raise BadInput(f"row {row['id']}: {error.problem}", error.fix) from error
    carried = labels[1:max_length]  # nothing comes before the first token that could predict it
    return {
        "input_ids": ids[:max_length],
        "labels": labels[:max_length],
        "length": min(len(ids), max_length),
        "cut": max(len(ids) - max_length, 0),
        "loss_tokens": len(carried) - carried.count(IGNORED),
    }


def labelled(messages: list[dict[str, str]], tokenizer: Any, loss: str) -> tuple[list[int], list[int]]:
    """Tokens of a conversation and their labels: the token itself where it carries loss, -100 elsewhere.

    ``loss``: ``response``, all that the template writes of each assistant turn after what asks for it (so the token that
    ends it, too); ``all``, every token. One turn alone is a document, a page of the web: its text and the end of text,
    without a chat template. Raises BadInput where the template writes earlier turns differently once others follow them.
    """
    from trl.data_utils import common_prefix_length

    if len(messages) == 1:
        text = messages[0]["content"]
        end = "" if text.endswith(tokenizer.eos_token) else tokenizer.eos_token
        ids = tokenizer(text + end)["input_ids"]
        return ids, list(ids)
    whole = _written(messages, tokenizer)
    ids = _ids(whole, tokenizer)
    if loss == "all":
        return ids, list(ids)
    labels = [IGNORED] * len(ids)
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked = _written(messages[:place], tokenizer, add_generation_prompt=True)
        answered = _written(messages[: place + 1], tokenizer)
        if not (whole.startswith(answered) and answered.startswith(_written(messages[:place], tokenizer))):
            raise BadInput(
                f"the chat template of the base model writes turns before number {place + 1} differently when it follows",
                "which tokens are an answer's cannot be told: give the base model another chat_template, or use `loss: all`",
            )
        # Tokens may merge across a boundary: where both agree no longer, the other part begins.
        start, end = (common_prefix_length(_ids(text, tokenizer), ids) for text in (asked, answered))
        labels[start:end] = ids[start:end]
    return ids, labels


def _written(messages: list[dict[str, str]], tokenizer: Any, **options: bool) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))


def _ids(text: str, tokenizer: Any) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])  # the template has them
