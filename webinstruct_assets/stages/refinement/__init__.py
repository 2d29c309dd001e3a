"""Refinement: an LLM formats and completes pairs, and checks decide whether question and answer survived it."""
