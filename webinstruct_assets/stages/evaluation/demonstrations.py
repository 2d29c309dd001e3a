"""Few-shot demonstrations, never test items.

In: ``data/benchmarks/<name>-fewshot.jsonl`` in the item schema, or the split of the source that its authors made for
demonstrations (MMLU's ``dev``, MMLU-Pro's ``validation``; MIT licence both) in the source's own fields. Out: the first
``shots`` of them (of each subject, where the benchmark says so) as documents of the task, each ending in "The answer
is …", which is the form the graders look for. In files, those of BBH are the data set authors' (MIT licence, by way of
lm-eval), all others were written for this project.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import BenchmarkConfig, BenchmarkFields
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.benchmarks.items import BadItem, Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_hub, read_records, require_file
from webinstruct_assets.stages.evaluation.graders.corrected import TRIGGER, same_words

FIELDS = BenchmarkFields(id="id", question="question", answer="answer", choices="choices", solution="solution")


# How solutions of MMLU-Pro begin; the task's prompt ends with these words already.
OPENING = re.compile(r"^\s*A: Let's think step by step\.\s*")


def demonstrations(
    name: str, config: BenchmarkConfig, root: Path, log: Callable[[str], None] = lambda line: None
) -> list[Item]:
    """The first ``shots`` demonstrations, of each subject where it is by subject. Paths are below ``root``.

    Raises MissingInput, or BadInput naming source, record and field.
    """
    if config.shots == 0:
        return []
    where = shown_from(config)
    reading = config if config.fewshot_split else config.model_copy(update={"fields": FIELDS, "answer_after": None})
    if config.fewshot:
        records = read_records(require_file(name, root / config.fewshot, "fewshot file"))
    else:
        records = read_hub(name, config.model_copy(update={"split": config.fewshot_split}), log)
    by_subject: dict[str, list[Item]] = {}
    for number, record in enumerate(records, 1):
        try:
            item = to_item(record, number, reading)
        except BadItem as problem:
            raise BadInput(
                f"{where}: record {number}: {problem}", "write id, question, answer, solution (and choices) there"
            ) from problem
        if item.solution is None and not config.fewshot_split:
            raise BadInput(
                f"{where}: record {number}: field 'solution': missing or empty", "write the worked solution there"
            )
        by_subject.setdefault(item.subject if config.fewshot_by_subject else "", []).append(item)
    for subject, items in by_subject.items() or {"": []}.items():
        if len(items) < config.shots:
            of = f" of subject {subject!r}" if subject else ""
            raise BadInput(
                f"{where}: {len(items)} demonstrations{of}, benchmark {name!r} is run with {config.shots}",
                "write more, or lower `shots`",
            )
    return [item for items in by_subject.values() for item in items[: config.shots]]


def shown_from(config: BenchmarkConfig) -> str:
    """Where the demonstrations are, for messages."""
    return str(config.fewshot or f"{config.hub}, split {config.fewshot_split}")


def check_subjects(where: str, shown: Sequence[Item], subjects: Sequence[str]) -> None:
    """Raises BadInput when a subject of the items has no demonstration."""
    lacking = sorted(set(subjects) - {item.subject for item in shown})
    if lacking:
        raise BadInput(
            f"{where}: no demonstration of subject {lacking[0]!r}, which the benchmark has items of"
            + (f" (nor of {len(lacking) - 1} others)" if len(lacking) > 1 else ""),
            "write them, or set `fewshot_by_subject: false`",
        )


def check_not_tested(where: str, shown: Sequence[Item], questions: Sequence[str]) -> None:
    """Raises BadInput when a demonstration is a test item."""
    tested = {same_words(question) for question in questions}
    for item in shown:
        if same_words(item.question) in tested:
            raise BadInput(
                f"{where}: record {item.item_id!r}: its question is an item of the benchmark",
                "write another demonstration",
            )


def document(item: Item, target: str | None = None) -> dict[str, Any]:
    """What the task's prompt template is filled with; ``target`` follows the prompt of a demonstration."""
    return {
        "item_id": item.item_id, "question": item.question, "choices": list(item.choices) if item.choices else None,
        "answer": item.answer, "target": item.answer if target is None else target, "subject": item.subject,
        "tests": item.tests, "entry_point": item.entry_point,
    }  # fmt: skip


def shown_document(item: Item) -> dict[str, Any]:
    """A demonstration as a document: its target is the worked solution with the answer stated at its end."""
    solution = OPENING.sub("", item.solution or "").strip()
    if not TRIGGER.search(solution):
        stated = f"({item.answer})" if item.choices else item.answer
        solution = f"{solution} The answer is {stated}.".lstrip()
    return document(item, solution)
