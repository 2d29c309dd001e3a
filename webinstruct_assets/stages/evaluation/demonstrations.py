"""Few-shot demonstrations: written for this project, one file per benchmark, never test items.

In: ``data/benchmarks/<name>-fewshot.jsonl`` in the item schema. Out: the first ``shots`` of them as documents of
the task, each ending in "The answer is …", which is the form the graders look for.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webinstruct_assets.core.config import BenchmarkConfig, BenchmarkFields
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.benchmarks.items import BadItem, Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records, require_file
from webinstruct_assets.stages.evaluation.graders import TRIGGER, same_words

FIELDS = BenchmarkFields(id="id", question="question", answer="answer", choices="choices", solution="solution")


def demonstrations(name: str, config: BenchmarkConfig, path: Path) -> list[Item]:
    """The first ``shots`` demonstrations. Raises MissingInput, or BadInput naming file, record and field."""
    if config.shots == 0:
        return []
    reading = config.model_copy(update={"fields": FIELDS, "answer_after": None})
    items = []
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
        items.append(item)
    if len(items) < config.shots:
        raise BadInput(
            f"{path}: {len(items)} demonstrations, benchmark {name!r} is run with {config.shots}",
            "write more, or lower `shots`",
        )
    return items[: config.shots]


def check_not_tested(path: Path, shown: Sequence[Item], questions: Sequence[str]) -> None:
    """Raises BadInput when a demonstration is a test item."""
    tested = {same_words(question) for question in questions}
    for item in shown:
        if same_words(item.question) in tested:
            raise BadInput(
                f"{path}: record {item.item_id!r}: its question is an item of the benchmark",
                "write another demonstration",
            )


def document(question: str, choices: Sequence[str] | None, target: str, item_id: str, answer: str) -> dict[str, Any]:
    """What the task's prompt template is filled with."""
    return {
        "item_id": item_id,
        "question": question,
        "choices": list(choices) if choices else None,
        "answer": answer,
        "target": target,
    }


def shown_document(item: Item) -> dict[str, Any]:
    """A demonstration as a document: its target is the worked solution with the answer stated at its end."""
    solution = (item.solution or "").strip()
    if not TRIGGER.search(solution):
        stated = f"({item.answer})" if item.choices else item.answer
        solution = f"{solution} The answer is {stated}."
    return document(item.question, item.choices, solution, item.item_id, item.answer)
