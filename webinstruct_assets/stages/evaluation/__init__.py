"""Scores: a checkpoint answers a benchmark through lm-eval, and graders compare its answers with the gold."""
