"""The grader of programs: a completion is right when its program passes the item's tests (pass@1 of a greedy answer).

In: a completion, and an item's question, tests and entry point. Out: a ``Verdict`` whose ``extracted`` is the program
and whose ``failure`` is how the run ended. The protocol is EvalPlus's (Liu et al. 2023, which the paper uses), and
there is one verdict: nothing in it is a matter of reading an answer.
"""

import re

from webinstruct_assets.stages.evaluation.graders.verdict import NO_ANSWER, Verdict
from webinstruct_assets.stages.evaluation.sandbox.run import run_program

FENCED = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)


def grade_program(completion: str, question: str, tests: str, entry_point: str | None) -> Verdict:
    """Runs the completion's program with the tests after it, in the sandbox."""
    program = solution(completion, question, entry_point)
    if program is None:
        return Verdict(None, False, NO_ANSWER)
    outcome = run_program(f"{program}\n\n{tests}\n")
    return Verdict(program, outcome.passed, None if outcome.passed else outcome.status)


def solution(completion: str, question: str, entry_point: str | None) -> str | None:
    """The program that a completion stands for; None for an empty one.

    Code in a fence is the program, with what stands before the function in the question (imports, helpers). Without a
    fence the completion goes on where the question ends, if the question is the head of a function; else it is the
    program.
    """
    if not completion.strip():
        return None
    head = re.search(rf"^def {re.escape(entry_point)}\b", question, re.MULTILINE) if entry_point else None
    fenced = [found[1] for found in FENCED.finditer(completion)]
    whole = [code for code in fenced if not entry_point or re.search(rf"^def {re.escape(entry_point)}\b", code, re.M)]
    if whole:
        return f"{question[: head.start()] if head else ''}{whole[0]}"
    return f"{question}{completion}" if head else completion
