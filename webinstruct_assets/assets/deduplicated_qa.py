"""Pairs without duplicates."""

import dagster as dg

from webinstruct_assets.assets.decontaminated_qa import decontaminated_qa
from webinstruct_assets.assets.metadata import filters
from webinstruct_assets.assets.plots import counted
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA


@dg.asset(partitions_def=SNAPSHOT, deps=[decontaminated_qa], **face(DEDUPLICATED_QA, kinds={"parquet", "duckdb"}))
def deduplicated_qa(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """One pair of every cluster of exact and near duplicates (MinHash, true Jaccard); the best answer stays."""
    return materialize(
        context,
        workspace,
        DEDUPLICATED_QA,
        plot=counted("n_duplicates", "Pairs by how many duplicates each stands for"),
        more=filters("duplicate"),
    )
