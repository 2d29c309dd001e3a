"""What a grader says of one completion."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """``extracted``: the answer as the grader read it, None when it found none; ``correct``: it is the gold one.

    ``failure``: why there is no right answer where more is known than "another answer" (``no_answer``, or what became
    of a program), None otherwise. Only the paper's grader can be right about nothing (its fallback letter "A").
    """

    extracted: str | None
    correct: bool
    failure: str | None = None


NO_ANSWER = "no_answer"
