"""Chat benchmarks: conversations with a model, a judge's verdicts on them, and the scores that its protocol makes of them.

``conversations`` asks the model, ``protocols`` asks the judge and reads its verdicts, ``scores`` aggregates them and
``length_control`` fits AlpacaEval's regression.
"""
