"""The first round's model."""

import dagster as dg

from webinstruct_assets.assets.plots import score_histogram
from webinstruct_assets.assets.publishing import face, materialize
from webinstruct_assets.assets.seed_set import seed_set
from webinstruct_assets.partitions import SNAPSHOT
from webinstruct_assets.resources import WorkspaceResource
from webinstruct_assets.stages.recall.fasttext_model import FASTTEXT_MODEL


@dg.asset(partitions_def=SNAPSHOT, deps=[seed_set], **face(FASTTEXT_MODEL, kinds={"fasttext"}))
def fasttext_model(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """First-round fastText model with its parameters, held-out precision, recall and AUC, and its threshold (paper §2.1)."""
    return materialize(context, workspace, FASTTEXT_MODEL, plot=score_histogram)
