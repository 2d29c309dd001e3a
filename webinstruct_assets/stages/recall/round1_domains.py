"""Asset ``round1_domains``: which domains of the first recall are educational (paper: GPT-3.5 labels)."""

from webinstruct_assets.stages.recall.domains import domains_stage

ROUND1_DOMAINS = domains_stage(1)
