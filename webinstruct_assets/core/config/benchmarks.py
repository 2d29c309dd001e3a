"""Evaluation sets: where items come from, how they are asked, how answers are graded."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from webinstruct_assets.core.config.section import Section

JUDGED = ("mt_bench", "alpaca_eval", "arena_hard")


class BenchmarkFields(Section):
    """Names of a source file's fields. ``choices``/``solution`` where the set has them.

    Sets of programs also have ``tests`` (a program that raises where the solution is wrong, or a list of its lines;
    several fields joined by ``|``), ``entry_point`` (the function that HumanEval's ``check`` is called with) and
    ``example`` (a list of tests, of which the question shows the first).
    """

    id: str | None = None
    question: str
    answer: str
    choices: str | None = None
    solution: str | None = None
    tests: str | None = None
    entry_point: str | None = None
    example: str | None = None


class FileConfig(Section):
    """A file beside a benchmark's items: on this machine, or ``hub_file`` of the benchmark's hub dataset and revision."""

    file: Path | None = None
    hub_file: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "FileConfig":
        if (self.file is None) == (self.hub_file is None):
            raise ValueError("either `file` or `hub_file`")
        return self


class AnswersConfig(FileConfig):
    """Answers that stand in a file of their own: ``id`` and ``answer`` name the fields of its records."""

    id: str
    answer: str


class BenchmarkConfig(Section):
    """A benchmark: items from a local ``file`` or the ``hub`` (ORG/NAME), graded by a task.

    Of the hub: a ``split`` of ``hub_config``, or ``hub_file``, a JSON file of the dataset; ``revision``: a commit, null
    for the newest. ``task``: a file of ``stages/evaluation/tasks``. ``shots`` are the paper's (caption of its Table 2), shown from
    ``fewshot``, a file of demonstrations, or from ``fewshot_split``, a split of the source in its own fields (of which
    ``fewshot`` is the file where the items come from a ``file``); ``fewshot_by_subject``: so many of each item's own
    subject.

    ``grader``: ``math`` (expressions and numbers), ``choice`` (a letter), ``mixed`` (a letter where there are choices),
    ``text`` (the words), ``code`` (a program that must pass tests) or ``judge`` (``judge``, a model of the environment,
    by the protocol of ``task``). ``paper_rules``: the part of the paper's grader that its own code applies to this set;
    the grader's own kind where it is None.

    Judged sets: ``question`` may be a list of turns, ``answer`` the reference or the baseline's answer, of which
    ``answers`` is the file where it is not in the record; ``length_control``: the data that AlpacaEval's is fitted with.
    """

    description: str
    file: Path | None = None
    hub: str | None = None
    hub_config: str | None = None
    hub_file: str | None = None
    split: str = "test"
    revision: str | None = None
    fields: BenchmarkFields
    answers: AnswersConfig | None = None
    task: Literal[
        "chain_of_thought", "code_completion", "code_from_description", "mt_bench", "alpaca_eval", "arena_hard"
    ] = "chain_of_thought"
    fewshot: Path | None = None
    fewshot_split: str | None = None
    fewshot_by_subject: bool = False
    shots: int = Field(ge=0)
    grader: Literal["math", "choice", "mixed", "text", "code", "judge"]
    judge: str | None = None
    length_control: FileConfig | None = None
    paper_rules: Literal["letter", "letter_abcd", "gsm8k", "math", "theoremqa", "text"] | None = None
    answer_after: str | None = None
    max_output_tokens: int = Field(1024, ge=16)
    limit: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _complete(self) -> "BenchmarkConfig":
        if self.shots and self.fewshot is None and not (self.fewshot_split and self.hub):
            raise ValueError("`shots` needs a `fewshot` file, or a `fewshot_split` of the hub")
        if (self.grader == "code") != (self.fields.tests is not None):
            raise ValueError("the grader `code` and `fields.tests` go together")
        if (self.grader == "code") != self.task.startswith("code"):
            raise ValueError("the grader `code` needs a task that asks for code, and only such a task has it")
        if (self.grader == "judge") != (self.task in JUDGED) or (self.grader == "judge") != (self.judge is not None):
            raise ValueError(f"the grader `judge`, a `judge` and a task among {', '.join(JUDGED)} go together")
        if self.judge and self.shots:
            raise ValueError("judged tasks are conversations and have no shots")
        if self.length_control and self.task != "alpaca_eval":
            raise ValueError("`length_control` is a part of `task: alpaca_eval`")
        if self.length_control and self.fields.id:
            raise ValueError("`length_control` knows items by their position in the set: leave out `fields.id`")
        return self
