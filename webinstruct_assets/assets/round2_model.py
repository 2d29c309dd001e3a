"""The second round's model."""

import dagster as dg

from webinstruct_assets.assets.plots import score_histogram
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.round2_seed_set import round2_seed_set
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.round2_model import ROUND2_MODEL


@dg.asset(partitions_def=SNAPSHOT, deps=[round2_seed_set], **face(ROUND2_MODEL, kinds={"fasttext"}))
def round2_model(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """Second-round fastText model with its parameters, held-out precision, recall and AUC, and its threshold."""
    return materialize(context, workspace, ROUND2_MODEL, plot=score_histogram)
