"""WebInstruct Assets: instruction data mined from web crawls, as a Dagster asset graph with lineage.

Three floors, imports pointing down only: ``assets`` (Dagster) -> ``stages`` (pure) -> ``core``.
"""
