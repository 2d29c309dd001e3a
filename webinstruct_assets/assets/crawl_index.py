"""The root of all lineage."""

import dagster as dg

from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.crawl.crawl_index import CRAWL_INDEX


@dg.asset(partitions_def=SNAPSHOT, **face(CRAWL_INDEX, kinds={"warc"}))
def crawl_index(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """The snapshot's WARC, WET and columnar-index file lists with counts and digest: the root of all lineage."""
    return materialize(context, workspace, CRAWL_INDEX, plot=counted("kind", "Files by kind"))
