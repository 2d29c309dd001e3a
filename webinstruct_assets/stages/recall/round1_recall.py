"""Asset ``round1_recall``: pages that the first model finds. They only serve to train the second (paper §2.1)."""

from webinstruct_assets.stages.recall.scan import scan_stage

ROUND1_RECALL = scan_stage(1)
