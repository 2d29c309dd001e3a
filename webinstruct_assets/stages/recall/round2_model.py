"""Asset ``round2_model``: the second round's model, from pages of selected domains (paper §2.1)."""

from webinstruct_assets.stages.recall.model import model_stage

ROUND2_MODEL = model_stage("round2_model", "m2", labelled="round2_seed_set", precision="round2_precision")
