"""Asset ``round1_domains``: which domains of the first recall are educational (paper: GPT-3.5 labels)."""

from webinstruct_assets.stages.recall.domains import domains_stage

ROUND1_DOMAINS = domains_stage("round1_domains", "d1", recall="round1_recall")
