"""Asset ``round2_model``: the second round's model, from pages of selected domains (paper §2.1)."""

from webinstruct_assets.stages.recall.model import model_stage

ROUND2_MODEL = model_stage(2)
