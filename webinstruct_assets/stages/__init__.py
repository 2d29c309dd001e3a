"""The work itself, one folder per stage in data-flow order, free of Dagster.

crawl -> seeds -> recall -> pages -> extraction -> benchmarks -> decontamination -> refinement -> release
-> sft -> training -> evaluation
"""
