"""Which items of a benchmark stood in the web pages that a checkpoint's training data came from.

In: a recipe. Out: the partitions that know, and item ids. The witness is ``hits.parquet`` of every partition that has one
(``decontaminated_qa``, ``public_sets``, a training set of pages) among the checkpoint's ancestors, so the flags are those of
exactly this checkpoint's data. Where some of it was made anew since, with other data, that is not known any more. The
texts with the wording were dropped from that data; an item is flagged because its page was there to be crawled, and what
the exact rule let through (a rewording, a translation) would help with just these items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.lake import Lake
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.stages.release.ancestry import ancestors

HITS = "hits.parquet"


@dataclass(frozen=True)
class Behind:
    """What a checkpoint was trained on, directly or by ``continues``, as far as it was looked up in benchmarks.

    ``known``: whether all that it was made from is still what the lake holds; without that, hits say nothing.
    """

    data: tuple[Manifest, ...]
    known: bool


def data_behind(lake: Lake, recipe: str) -> Behind:
    """The data behind the recipe's checkpoint; none of a base model, whose data nobody here knows."""
    checkpoint = lake.manifest(Ref("trained_checkpoint", PartitionKey.of({"recipe": recipe})))
    found = ancestors(lake, [checkpoint], whole=False) if checkpoint else []
    versions = {(manifest.asset, manifest.partition): manifest.data_version for manifest in found}
    return Behind(
        tuple(manifest for manifest in found if any(part.file == HITS for part in manifest.files)),
        all(
            versions.get((item.asset, item.partition)) == item.data_version
            for manifest in found
            for item in manifest.inputs
        ),
    )


def contaminated_items(lake: Lake, data: Sequence[Manifest], benchmark: str) -> set[str]:
    """Ids of the benchmark's items whose wording was found in what these partitions were made from."""
    found: set[str] = set()
    for manifest in data:
        hits = pl.read_parquet(lake.file(manifest, HITS))
        # Hits of common wording (an instruction, a formula's name) dropped nothing, and are evidence of no item.
        found.update(hits.filter((pl.col("benchmark") == benchmark) & ~pl.col("common"))["item_id"])
    return found
