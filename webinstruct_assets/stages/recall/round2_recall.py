"""Asset ``round2_recall``: pages that the second model finds."""

from webinstruct_assets.stages.recall.scan import scan_stage

ROUND2_RECALL = scan_stage(2)
