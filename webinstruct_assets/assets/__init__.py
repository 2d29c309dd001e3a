"""The Dagster face: one thin file per stage, in data-flow order. Work is in ``stages``.

``publishing.py`` turns a stage's run into a materialization, ``metadata.py`` and ``plots.py`` show it.
"""
