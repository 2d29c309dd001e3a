"""Asset ``fasttext_model``: the first round's model, from seed pages against random pages (paper §2.1)."""

from webinstruct_assets.stages.recall.model import model_stage

FASTTEXT_MODEL = model_stage(1)
