"""Seed pages."""

import dagster as dg

from webinstruct_assets.assets.crawl_index import crawl_index
from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.seeds.seed_set import SEED_SET


@dg.asset(partitions_def=SNAPSHOT, deps=[crawl_index], **face(SEED_SET, kinds={"parquet"}))
def seed_set(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Labelled seed pages: exam and quiz pages of allow-listed hosts and user files against random crawl pages (paper §2.1)."""
    return materialize(context, workspace, SEED_SET, plot=counted("source", "Pages by source"))
