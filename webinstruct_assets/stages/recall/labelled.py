"""Training pages of the second and later rounds: pages of selected domains against all others (paper §2.1).

In: WET files, the recall and the judged domains of the round before. Out: labelled pages (columns:
``stages.seeds.pages``). Positives are recalled pages of selected domains; negatives are pages of domains that were
not selected (``recalled_but_not_selected``), and so also random pages of the crawl (``random``). Unrecalled pages
of selected domains are neither (reject ``ambiguous``); the other rejects are those of ``seed_set``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import polars as pl

from webinstruct_assets.core.config import settings_of
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.stage import Job, Stage
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.crawl.wet import WetPage, wet_files
from webinstruct_assets.stages.recall.rounds import Round, training_reuse
from webinstruct_assets.stages.seeds.pages import SCHEMA
from webinstruct_assets.stages.seeds.sampling import Verdict, check, chosen_files, sample

SIZES = ("max_positives", "max_negatives", "max_wet_files", "max_ratio", "min_per_class", "held_out", "seed")


def settings(ws: Workspace, key: PartitionKey) -> dict[str, Any]:
    """Sizes and seed are the seed set's."""
    chosen = settings_of(ws.config.seeds)
    return {name: chosen[name] for name in SIZES}


def label_of(selected: frozenset[str], recalled: frozenset[int], page: WetPage, domain: str) -> Verdict:
    """``recalled``: offsets of the recalled pages of the page's file."""
    found = page.offset in recalled
    if domain in selected:
        return Verdict("positive", "selected_domain") if found else Verdict("", "ambiguous")
    return Verdict("negative", "recalled_but_not_selected" if found else "random")


def labelled_stage(number: int) -> Stage:
    """The Stage that labels the training pages of round ``number`` (from the second on)."""
    before = Round(number - 1)
    return Stage(
        asset=Round(number).labelled,
        dimensions=("snapshot",),
        prefix=f"s{number}",
        schema=dict(SCHEMA),
        run=_run(before),
        inputs=lambda ws, key: [Ref("crawl_index", key), Ref(before.recall, key), Ref(before.domains, key)],
        settings=settings,
        sources=(
            "stages/recall/labelled.py",
            "stages/recall/rounds.py",
            "stages/seeds/pages.py",
            "stages/seeds/sampling.py",
            "stages/crawl/wet.py",
            "stages/crawl/source.py",
            "stages/crawl/transport.py",
            "core/warc.py",
            "core/urls.py",
        ),
        reuses=training_reuse("labelled", number),
    )


def _run(before: Round) -> Callable[[Job], None]:
    def run(job: Job) -> None:
        seeds = job.ws.config.seeds
        every = wet_files(job.read("crawl_index"))
        files = chosen_files(every, seeds.max_wet_files, seeds.seed)
        offsets = {
            row["parent_id"]: frozenset(row["offset"])
            for row in job.scan(before.recall)
            .filter(pl.col("parent_id").is_in([file.id for file in files]))
            .group_by("parent_id")
            .agg("offset")
            .collect()
            .iter_rows(named=True)
        }
        selected = frozenset(job.read(before.domains).filter("selected")["domain"])
        sample(
            job,
            [(file, offsets.get(file.id, frozenset())) for file in files],
            partial(label_of, selected),
            seeds,
            {},
        )
        job.metrics |= {"wet_files": len(every), "selected_domains": len(selected)}
        check(
            job, seeds, f"look at {before.domains}: too few domains were selected, or too few of their pages recalled"
        )

    return run
