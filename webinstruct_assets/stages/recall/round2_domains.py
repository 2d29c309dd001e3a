"""Asset ``round2_domains``: the second sift over domains (paper: GPT-4 labels)."""

from webinstruct_assets.stages.recall.domains import domains_stage

ROUND2_DOMAINS = domains_stage(2)
