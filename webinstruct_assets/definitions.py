"""The code location: every asset, check, job, sensor and schedule of the graph.

Loads in under 2.5 s because nothing heavy (torch, vllm, trl, transformers) is imported at module level.
"""

import dagster as dg

from webinstruct_assets import partitions
from webinstruct_assets.assets.benchmark_items import benchmark_items
from webinstruct_assets.assets.benchmark_scores import benchmark_scores
from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.decontaminated_qa import decontaminated_qa
from webinstruct_assets.assets.deduplicated_qa import deduplicated_qa
from webinstruct_assets.assets.extracted_qa import extracted_qa
from webinstruct_assets.assets.fasttext_model import fasttext_model
from webinstruct_assets.assets.funnel import funnel
from webinstruct_assets.assets.later_rounds import later_rounds
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.public_sets import public_sets
from webinstruct_assets.assets.quality_review import quality_review
from webinstruct_assets.assets.recalled_urls import recalled_urls
from webinstruct_assets.assets.refined_qa import refined_qa
from webinstruct_assets.assets.results_report import results_report
from webinstruct_assets.assets.round1_domains import round1_domains
from webinstruct_assets.assets.round1_recall import round1_recall
from webinstruct_assets.assets.round2_domains import round2_domains
from webinstruct_assets.assets.round2_model import round2_model
from webinstruct_assets.assets.round2_recall import round2_recall
from webinstruct_assets.assets.round2_seed_set import round2_seed_set
from webinstruct_assets.assets.seed_set import seed_set
from webinstruct_assets.assets.sft_dataset import sft_dataset
from webinstruct_assets.assets.trained_checkpoint import trained_checkpoint
from webinstruct_assets.assets.verified_qa import verified_qa
from webinstruct_assets.assets.webinstruct import webinstruct
from webinstruct_assets.assets.webinstruct_release import webinstruct_release
from webinstruct_assets.automation import backfill_snapshots, extract, new_snapshots, recall, refresh_staleness
from webinstruct_assets.checks import checks_of, staleness, verbatim_check
from webinstruct_assets.conditions import conditioned
from webinstruct_assets.graph import STAGES
from webinstruct_assets.housekeeping import alert_on_failure, end_dead_runs, prune_event_log, weekly_pruning
from webinstruct_assets.resources import WorkspaceResource

PARTITIONS: dict[tuple[str, ...], dg.PartitionsDefinition | None] = {
    (): None,
    ("snapshot",): partitions.SNAPSHOT,
    ("refiner", "snapshot"): partitions.SNAPSHOT_REFINER,
    ("recipe",): partitions.RECIPE,
    ("dataset",): partitions.DATASET,
    ("benchmark",): partitions.BENCHMARK,
    ("benchmark", "recipe"): partitions.BENCHMARK_RECIPE,
}

defs = dg.Definitions(
    assets=[
        conditioned(asset)
        for asset in [
            crawl_index,
            seed_set,
            fasttext_model,
            round1_recall,
            round1_domains,
            round2_seed_set,
            round2_model,
            round2_recall,
            round2_domains,
            *later_rounds,
            recalled_urls,
            pages,
            extracted_qa,
            benchmark_items,
            decontaminated_qa,
            deduplicated_qa,
            refined_qa,
            quality_review,
            webinstruct,
            verified_qa,
            webinstruct_release,
            funnel,
            public_sets,
            sft_dataset,
            trained_checkpoint,
            benchmark_scores,
            results_report,
        ]
    ],
    asset_checks=[
        *(checks_of(stage, PARTITIONS[tuple(sorted(stage.dimensions))]) for stage in STAGES),
        verbatim_check(partitions.SNAPSHOT),
        staleness,
    ],
    jobs=[prune_event_log],
    sensors=[new_snapshots, recall, extract, alert_on_failure, end_dead_runs],
    schedules=[backfill_snapshots, refresh_staleness, weekly_pruning],
    resources={"workspace": WorkspaceResource(), "pipes": dg.PipesSubprocessClient()},
    # One process per run: half the start-up, and no step child to survive its run's death.
    executor=dg.in_process_executor,
)
