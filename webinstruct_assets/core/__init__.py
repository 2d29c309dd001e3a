"""Foundations: keys, config, the lake and its manifests, the unit runner, LLM access, WARC reading.

Nothing here knows a stage or Dagster.
"""
