"""Plots of a crawl's size fit into the event log."""

from webinstruct_assets.assets.plots import MAX_BYTES, recall_funnel
from webinstruct_assets.core.config import RecallConfig
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.stage import Job, Unit, execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.recall.funnel import step, steps_of_round
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets_tests.partitions import filled, made

KEY = PartitionKey.of({"snapshot": "local-test"})


def test_the_funnel_of_the_most_rounds_and_the_largest_numbers_fits(workspace: Workspace) -> None:
    most = max(getattr(limit, "le", 0) for limit in RecallConfig.model_fields["rounds"].metadata)
    labelled = {"snapshot": "CC-MAIN-2024-10", "positives": 100_000, "negatives": 100_000}
    counts = dict.fromkeys(
        (
            "pages_scored", "recalled_pages", "recalled_text_bytes", "domains_recalled", "domains_with_min_pages",
            "domains_judged", "domains_selected", "collected_pages", "collected_text_bytes",
        ),
        400_000_000_000,
    )  # fmt: skip
    steps = [row for number in range(1, most + 1) for row in steps_of_round(number, "local-test", labelled, counts)]

    def run(job: Job) -> None:
        job.unit("0", lambda: Unit(rows=[filled(RECALLED_URLS, id="ur-1")], rows_in=1))
        job.metrics["funnel"] = [*steps, step(0, "local-test", "URLs located", "pages", 18_000_000)]

    manifest = execute(made(RECALLED_URLS, run), KEY, workspace, log=print, run_id="test")
    plot = recall_funnel(workspace, manifest)
    assert plot and len(plot) < MAX_BYTES * 4 / 3 + 100
