"""Both verdicts on one completion: the corrected grader's, which counts, and the paper's beside it.

In: a benchmark's configuration, a document of its task and a completion. Out: ``Verdicts``. Documents are what the
task's prompt template is filled with: item_id, question, choices, answer, target, subject, tests, entry_point.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.stages.evaluation.graders.code import grade_program
from webinstruct_assets.stages.evaluation.graders.corrected import grade
from webinstruct_assets.stages.evaluation.graders.paper import Rules, grade_as_paper
from webinstruct_assets.stages.evaluation.graders.verdict import Verdict


@dataclass(frozen=True)
class Verdicts:
    """What each grader says; for programs both are the same verdict, since the paper ran the tests too."""

    corrected: Verdict
    paper: Verdict


def grade_document(config: BenchmarkConfig, document: dict[str, Any], completion: str) -> Verdicts:
    """Both verdicts."""
    if config.grader == "code":
        verdict = grade_program(completion, document["question"], document["tests"], document["entry_point"])
        return Verdicts(verdict, verdict)
    answer, choices = document["answer"], document["choices"]
    return Verdicts(
        grade(config.grader, completion, answer, choices),
        grade_as_paper(paper_rules(config, choices), completion, answer),
    )


def grade_documents(config: BenchmarkConfig, answered: Sequence[tuple[dict[str, Any], str]]) -> list[Verdicts]:
    """Both verdicts on each (document, completion), programs side by side on all cores."""
    if config.grader != "code":
        # Not in threads: math-verify stops runaway expressions by a signal, which reaches the main thread only.
        return [grade_document(config, document, completion) for document, completion in answered]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda pair: grade_document(config, *pair), answered))


def paper_rules(config: BenchmarkConfig, choices: Sequence[str] | None) -> Rules:
    """The part of the paper's grader that applies: as configured, else by the kind of the set's grader."""
    if config.paper_rules:
        return config.paper_rules
    if config.grader == "text":
        return "text"
    return "letter" if config.grader == "choice" or (config.grader == "mixed" and choices) else "math"
