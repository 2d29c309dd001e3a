"""The human check of a snapshot."""

import dagster as dg

from webinstruct_assets.assets.decontaminated_qa import decontaminated_qa
from webinstruct_assets.assets.deduplicated_qa import deduplicated_qa
from webinstruct_assets.assets.extracted_qa import extracted_qa
from webinstruct_assets.assets.pages import pages
from webinstruct_assets.assets.plots import review_shares
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.refined_qa import refined_qa
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.review.quality_review import QUALITY_REVIEW


@dg.asset(
    partitions_def=SNAPSHOT,
    deps=[pages, extracted_qa, decontaminated_qa, deduplicated_qa, refined_qa],
    **face(QUALITY_REVIEW, kinds={"parquet"}, pool="gpu"),
)
def quality_review(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """A random sample of refined pairs with people's verdicts (paper §4); `webinstruct review` opens it for reviewing."""
    return materialize(context, workspace, QUALITY_REVIEW, plot=review_shares)
