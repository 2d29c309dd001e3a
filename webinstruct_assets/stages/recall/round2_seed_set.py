"""Asset ``round2_seed_set``: pages of selected domains against all other pages (paper §2.1, second round)."""

from webinstruct_assets.stages.recall.labelled import labelled_stage

ROUND2_SEED_SET = labelled_stage(2)
