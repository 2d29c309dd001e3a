"""Several refinements of one pair: whether they agree, and which of them the dataset takes.

In: refined rows of all refiners. Out: the same rows with ``agreed``, in order of preference, and with
``release.merge: best`` the ones that are left out. The paper pools all (§2.3: two refiners, 5M pairs each, make 10M).

The rule of ``best``, first difference decides: an answer that got reasoning before one that did not; refined before
corrected before unchanged (a correction is one model's word against the page); the refiner listed first in the
environment; the lower id.
"""

from collections.abc import Sequence
from itertools import pairwise

import polars as pl

from webinstruct_assets.core.stage import Job, Reject
from webinstruct_assets.stages.refinement.answers import same_final

STATUS_ORDER = ("refined", "corrected", "unchanged")
COLUMNS = (
    "id",
    "parent_id",
    "url",
    "domain",
    "question",
    "answer",
    "status",
    "reasoning_added",
    "final_after",
    "answer_type",
)


def pool(job: Job) -> pl.DataFrame:
    """Rows of all refiners with their ``refiner`` and ``agreed``, in order of preference.

    ``agreed``: two refiners or more kept the pair, and all of them end in the same final answer.
    """
    frames = [
        job.ws.lake.read(manifest).select(COLUMNS).with_columns(pl.lit(manifest.keys["refiner"]).alias("refiner"))
        for manifest in job.manifests("refined_qa")
        if manifest.rows
    ]
    if not frames:
        return pl.DataFrame(
            schema={
                **dict.fromkeys((*COLUMNS, "refiner"), pl.String()),
                "reasoning_added": pl.Boolean(),
                "agreed": pl.Boolean(),
            }
        )
    place = {name: index for index, name in reversed(list(enumerate(job.settings["refiners"])))}
    ordered = pl.concat(frames).sort(
        ~pl.col("reasoning_added"),
        pl.col("status").replace_strict({name: n for n, name in enumerate(STATUS_ORDER)}, return_dtype=pl.Int64),
        pl.col("refiner").replace_strict(place, default=len(place), return_dtype=pl.Int64),
        "id",
    )
    agreeing = _agreeing(ordered)
    return ordered.with_columns(pl.col("parent_id").is_in(agreeing).alias("agreed"))


def _agreeing(rows: pl.DataFrame) -> Sequence[str]:
    """Pairs that two refiners or more kept with one and the same final answer."""
    found = []
    for (parent,), group in rows.group_by("parent_id", maintain_order=True):
        if group["refiner"].n_unique() < 2:
            continue
        # Shortest first: of a bare result every number must come back, of a reasoned answer only the last.
        texts = sorted(group.select("question", "answer").iter_rows(), key=lambda text: len(text[1]))
        if all(same_final(one[0], one[1], other[1]).same for one, other in pairwise(texts)):
            found.append(str(parent))
    return found


def best(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[Reject]]:
    """One row per pair, the first in order of preference; the others as rejects ``other_refiner_kept``."""
    chosen = rows.with_columns(pl.col("id").first().over("parent_id").alias("kept"))
    left_out = chosen.filter(pl.col("id") != pl.col("kept"))
    rejects = [
        Reject(row["id"], row["parent_id"], "other_refiner_kept", f"{row['kept']} stands for this pair")
        for row in left_out.iter_rows(named=True)
    ]
    return chosen.filter(pl.col("id") == pl.col("kept")).drop("kept"), rejects
