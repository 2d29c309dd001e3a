"""Graders: the answer that a completion gives, and whether it is the gold one.

``corrected`` counts; ``paper`` stands beside it, with the rules that the paper's numbers were made with; ``code``
runs programs. Each takes a completion and an item's gold answer, and returns a ``Verdict``.
"""
