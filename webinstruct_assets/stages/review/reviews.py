"""What reviewers said: append-only files, one per snapshot and reviewer, one JSON object a line.

A reviewer who changes their mind adds a line; the last one on a pair counts. Nothing here reads or writes the lake.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.ids import digest_json
from webinstruct_assets.core.journal import append_line
from webinstruct_assets.core.keys import check_name, check_snapshot

# The paper's quality check of 50 refined pairs has these five outcomes.
Category = Literal["correct_enhanced", "correct_unchanged", "wrong_question", "wrong_answer", "wrong_reasoning"]
CATEGORIES: dict[str, str] = {
    "correct_enhanced": "correct, and better than as extracted",
    "correct_unchanged": "correct, no better than as extracted",
    "wrong_question": "the question is wrong or cannot be understood",
    "wrong_answer": "the final answer is wrong",
    "wrong_reasoning": "the final answer is right, the reasoning is not",
}
assert set(CATEGORIES) == set(get_args(Category))
MAX_NOTE = 2000  # characters


class Review(BaseModel):
    """One verdict. ``pair``: id of the refined pair; ``content``: digest of the texts that were shown; ``at``: UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pair: str
    content: str
    category: Category
    note: str = Field("", max_length=MAX_NOTE)
    reviewer: str
    at: str


def content_digest(question: str, answer: str) -> str:
    """What a verdict was given on: a pair that was refined anew has the old id and needs a new verdict."""
    return digest_json([question, answer])[:16]


def now() -> str:
    """The time of a verdict."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def review_file(folder: Path, snapshot: str, reviewer: str) -> Path:
    """Where a reviewer's verdicts on a snapshot are kept."""
    return folder / check_snapshot(snapshot) / f"{check_name('reviewer', reviewer)}.jsonl"


def append(folder: Path, snapshot: str, review: Review) -> None:
    """Adds one verdict to its reviewer's file."""
    append_line(review_file(folder, snapshot, review.reviewer), review.model_dump_json())


def files(folder: Path, snapshot: str) -> list[Path]:
    """Review files of a snapshot, in reviewers' order."""
    return sorted((folder / check_snapshot(snapshot)).glob("*.jsonl"))


def read(path: Path) -> list[Review]:
    """All lines of one file. Raises BadInput naming file, line and field."""
    found = []
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            review = Review.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "(whole line)"
            raise BadInput(
                f"{path} line {number}: field {where}: {first['msg']}", "correct or remove the line"
            ) from error
        if review.reviewer != path.stem:
            raise BadInput(
                f"{path} line {number}: field reviewer: {review.reviewer!r} in {path.stem}'s file",
                "a reviewer's verdicts belong in a file of their own name",
            )
        found.append(review)
    return found


def latest(reviews: Sequence[Review]) -> dict[str, Review]:
    """Pair id -> the last verdict on it."""
    return {review.pair: review for review in reviews}
