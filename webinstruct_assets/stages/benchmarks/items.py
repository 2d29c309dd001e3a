"""One raw benchmark record into one item of the common schema.

In: a record and the names of its fields. Out: an ``Item``, or ``BadItem`` naming the field that is wrong.
Choices become a list and the answer of a multiple-choice item its letter, whatever the source wrote.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from webinstruct_assets.core.config import BenchmarkConfig

LETTERS = "ABCDEFGHIJ"
# ``answer_after: \boxed`` takes the last \boxed{…} group; any other marker the rest of its last line.
BOXED = "\\boxed"
# The first of these that a record has is its subject (a label for tables, never part of a prompt).
SUBJECT_FIELDS = ("subject", "task", "subfield", "High-level domain", "category")


@dataclass(frozen=True)
class Item:
    """A question with its gold answer. ``choices``: None for free answers; then ``answer`` is no letter.

    ``tests``: for a programming problem, lines that raise where the solution is wrong; then ``answer`` is a right
    solution and ``entry_point`` the function that is asked for, None where only the tests name it.

    ``turns``: of a judged conversation, what the user says in order; then ``references`` are the reference answers, one
    per turn, or the answer of the model that it is compared with, and ``answer`` is "" unless they are right answers.
    """

    item_id: str
    question: str
    choices: list[str] | None
    answer: str
    solution: str | None
    subject: str
    tests: str | None = None
    entry_point: str | None = None
    turns: list[str] | None = None
    references: list[str] | None = None


class BadItem(Exception):
    """A record without a usable value in ``field``."""

    def __init__(self, field: str, problem: str):
        super().__init__(f"field {field!r}: {problem}")
        self.field = field


def to_item(record: dict[str, Any], number: int, config: BenchmarkConfig) -> Item:
    """The item in ``record`` (the ``number``-th of its source, from 1). Raises BadItem."""
    fields = config.fields
    item_id = _text(record, fields.id) if fields.id else f"{number:05d}"
    if fields.tests:
        return _programming_item(record, item_id, config)
    if config.judge:
        return _conversation(record, item_id, config)
    question = _text(record, fields.question)
    choices, letter = _choices(record, item_id, config)
    answer = letter or _text(record, fields.answer)
    if config.answer_after:
        answer = answer_after(answer, config.answer_after, fields.answer)
    solution = lookup(record, fields.solution) if fields.solution else None
    return Item(item_id, question, choices, answer, str(solution) if solution else None, _subject(record))


def _subject(record: dict[str, Any]) -> str:
    return next((str(record[name]) for name in SUBJECT_FIELDS if record.get(name)), "")


def _programming_item(record: dict[str, Any], item_id: str, config: BenchmarkConfig) -> Item:
    """Question and solution as they stand: in programs the white space at both ends counts."""
    fields = config.fields
    question, answer = _verbatim(record, fields.question), _verbatim(record, fields.answer)
    tests = "\n".join(_lines(record, name) for name in (fields.tests or "").split("|")).strip("\n")
    if not tests.strip():
        raise BadItem(fields.tests or "", "no tests")
    if fields.example:
        question = f"{question.rstrip()}\n{_lines(record, fields.example).splitlines()[0]}"
    entry_point = _text(record, fields.entry_point) if fields.entry_point else None
    if entry_point:
        tests += f"\n\ncheck({entry_point})"
    return Item(item_id, question, None, answer, None, _subject(record), tests, entry_point)


def _conversation(record: dict[str, Any], item_id: str, config: BenchmarkConfig) -> Item:
    """Turns and references as they stand. A baseline's answer is no right one, so nothing looks for it on the web."""
    fields = config.fields
    turns = _texts(record, fields.question)
    references = _texts(record, fields.answer)
    paired = config.task != "mt_bench"  # an answer beside another's: one turn, and the other's answer
    if not 1 <= len(turns) <= (1 if paired else 2):
        raise BadItem(fields.question, f"{len(turns)} turns")
    if paired and len(references) != 1:
        raise BadItem(fields.answer, f"{len(references)} answers to compare with")
    answer = "" if paired else "\n\n".join(references)
    return Item(
        item_id, "\n\n".join(turns), None, answer, None, _subject(record), turns=turns, references=references
    )  # fmt: skip


def _texts(record: dict[str, Any], name: str) -> list[str]:
    """A text, or a list of texts or of objects with a text as ``content``; missing and empty ones are none."""
    value = lookup(record, name)
    entries = value if isinstance(value, list) else [] if value is None else [value]
    texts = [entry.get("content") if isinstance(entry, dict) else entry for entry in entries]
    if not all(isinstance(text, str) for text in texts):
        raise BadItem(name, "neither a text nor a list of texts")
    return [str(text) for text in texts if str(text).strip()]


def _lines(record: dict[str, Any], name: str) -> str:
    value = lookup(record, name)
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    raise BadItem(name, "neither a text nor a list of texts")


def answer_after(text: str, marker: str, field: str = "answer") -> str:
    """The part of a worked solution that is its final answer. Raises BadItem when the marker is not in it."""
    at = text.rfind(marker)
    if at < 0:
        raise BadItem(field, f"{marker!r} does not occur in it")
    rest = text[at + len(marker) :]
    answer = _group(rest) if marker == BOXED else rest.strip().split("\n")[0].strip()
    if not answer:
        raise BadItem(field, f"nothing follows {marker!r}")
    return answer


def _group(text: str) -> str:
    r"""The content of the brace group that ``text`` starts with (or of ``\boxed 7``: the next word)."""
    text = text.lstrip()
    if not text.startswith("{"):
        return text.split("$")[0].split()[0] if text.split("$")[0].split() else ""
    depth = 0
    for position, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[1:position].strip()
    return ""


def _choices(record: dict[str, Any], item_id: str, config: BenchmarkConfig) -> tuple[list[str] | None, str | None]:
    """The options and the right one's letter; (None, None) for an item without options.

    ``fields.choices`` names a list, or several text fields joined by ``|``. In the second form the answer's
    own field is one of them and the options are put in an order that the item's id determines (GPQA).
    """
    name = config.fields.choices
    if name is None:
        return None, None
    if "|" in name:
        fields = name.split("|")
        fields.sort(key=lambda field: hashlib.sha256(f"{item_id}\x1f{field}".encode()).digest())
        return [_text(record, field) for field in fields], LETTERS[_position(fields, config.fields.answer)]
    value = lookup(record, name)
    if value is None:
        return None, None
    if (
        not isinstance(value, list)
        or not 2 <= len(value) <= len(LETTERS)
        or not all(isinstance(option, str) for option in value)
    ):
        raise BadItem(name, f"not a list of 2 to {len(LETTERS)} texts")
    return [option.strip() for option in value], _letter(
        lookup(record, config.fields.answer), value, config.fields.answer
    )


def _position(fields: list[str], answer: str) -> int:
    if answer not in fields:
        raise BadItem(answer, f"must be one of the choice fields {fields}")
    return fields.index(answer)


def _letter(answer: Any, choices: list[str], field: str) -> str:
    """The letter of an answer written as letter, 0-based index (MMLU), label '1'… (ARC) or the option's text."""
    letters = LETTERS[: len(choices)]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return letters[answer]
    if isinstance(answer, str):
        text = answer.strip()
        if len(bare := text.strip("().").upper()) == 1 and bare in letters:
            return bare
        if text in choices:
            return letters[choices.index(text)]
        if text.isdecimal() and 1 <= int(text) <= len(choices):
            return letters[int(text) - 1]
    raise BadItem(field, f"{answer!r} is none of the {len(choices)} choices")


def lookup(record: dict[str, Any], name: str) -> Any:
    """The value at a field name; dots step into nested objects and lists (-1: the last) unless it is a field itself."""
    if name in record:
        return record[name]
    value: Any = record
    for step in name.split("."):
        if isinstance(value, list) and re.fullmatch(r"-?\d+", step):
            value = value[int(step)] if -len(value) <= int(step) < len(value) else None
            continue
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value


def _text(record: dict[str, Any], name: str) -> str:
    return _verbatim(record, name).strip()


def _verbatim(record: dict[str, Any], name: str) -> str:
    value = lookup(record, name)
    text = "" if value is None else str(value)
    if not text.strip():
        raise BadItem(name, "missing or empty")
    return text
