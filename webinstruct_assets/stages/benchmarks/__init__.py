"""Evaluation sets: from a local file or the hub into one schema, read by decontamination and evaluation."""
