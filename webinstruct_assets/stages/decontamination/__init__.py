"""Decontamination: pairs that share wording with a benchmark leave the data (paper §2.2)."""
