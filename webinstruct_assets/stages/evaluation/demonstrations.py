"""Few-shot demonstrations: one file per benchmark, never test items.

In: ``data/benchmarks/<name>-fewshot.jsonl`` in the item schema. Out: the first ``shots`` of them (of each subject, where
the benchmark says so) as documents of the task, each ending in "The answer is …", which is the form the graders look
for. Those of BBH are the data set authors' (MIT licence, by way of lm-eval), all others were written for this project.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import BenchmarkConfig, BenchmarkFields
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.benchmarks.items import BadItem, Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records, require_file
from webinstruct_assets.stages.evaluation.graders.corrected import TRIGGER, same_words

FIELDS = BenchmarkFields(id="id", question="question", answer="answer", choices="choices", solution="solution")


def demonstrations(name: str, config: BenchmarkConfig, path: Path | None) -> list[Item]:
    """The first ``shots`` demonstrations, of each subject where it is by subject.

    Raises MissingInput, or BadInput naming file, record and field.
    """
    if config.shots == 0 or path is None:
        return []
    reading = config.model_copy(update={"fields": FIELDS, "answer_after": None})
    by_subject: dict[str, list[Item]] = {}
    for number, record in enumerate(read_records(require_file(name, path, "fewshot file")), 1):
        try:
            item = to_item(record, number, reading)
        except BadItem as problem:
            raise BadInput(
                f"{path}: record {number}: {problem}", "write id, question, answer, solution (and choices) there"
            ) from problem
        if item.solution is None:
            raise BadInput(
                f"{path}: record {number}: field 'solution': missing or empty", "write the worked solution there"
            )
        by_subject.setdefault(item.subject if config.fewshot_by_subject else "", []).append(item)
    for subject, items in by_subject.items() or {"": []}.items():
        if len(items) < config.shots:
            of = f" of subject {subject!r}" if subject else ""
            raise BadInput(
                f"{path}: {len(items)} demonstrations{of}, benchmark {name!r} is run with {config.shots}",
                "write more, or lower `shots`",
            )
    return [item for items in by_subject.values() for item in items[: config.shots]]


def check_subjects(path: Path, shown: Sequence[Item], subjects: Sequence[str]) -> None:
    """Raises BadInput when a subject of the items has no demonstration."""
    lacking = sorted(set(subjects) - {item.subject for item in shown})
    if lacking:
        raise BadInput(
            f"{path}: no demonstration of subject {lacking[0]!r}, which the benchmark has items of"
            + (f" (nor of {len(lacking) - 1} others)" if len(lacking) > 1 else ""),
            "write them, or set `fewshot_by_subject: false`",
        )


def check_not_tested(path: Path, shown: Sequence[Item], questions: Sequence[str]) -> None:
    """Raises BadInput when a demonstration is a test item."""
    tested = {same_words(question) for question in questions}
    for item in shown:
        if same_words(item.question) in tested:
            raise BadInput(
                f"{path}: record {item.item_id!r}: its question is an item of the benchmark",
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
    solution = (item.solution or "").strip()
    if not TRIGGER.search(solution):
        stated = f"({item.answer})" if item.choices else item.answer
        solution = f"{solution} The answer is {stated}."
    return document(item, solution)
