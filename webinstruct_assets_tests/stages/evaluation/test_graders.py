"""Graders on every item of the real sets: gold answers are right, changed ones wrong; then the awkward forms."""

from decimal import Decimal
from pathlib import Path

import pytest

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.stages.benchmarks.items import Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records
from webinstruct_assets.stages.evaluation.graders import grade, to_number

SETS = {
    "arc_challenge.json": ({"question": "question", "answer": "answer"}, None, "choice"),
    "bbh.json": ({"question": "question", "answer": "answer"}, None, "text"),
    "mmlu_stem.json": ({"question": "question", "answer": "answer", "choices": "choices"}, None, "choice"),
    "theoremqa_test.json": ({"id": "id", "question": "Question", "answer": "Answer"}, None, "math"),
    "gsm8k_test.jsonl": ({"question": "question", "answer": "answer"}, "#### ", "math"),
    "math_500_of_test.jsonl": ({"id": "id", "question": "problem", "answer": "solution"}, "\\boxed", "math"),
}
# Items whose gold answer the grader cannot recognise, by set and item id.
EXCEPTIONS: dict[str, set[str]] = {}


def changed(grader: str, item: Item) -> list[str]:
    """Answers near the gold one that are wrong."""
    if grader == "choice":
        return ["BCDA2341"["ABCD1234".index(item.answer)]]
    if grader == "text":
        flipped = {
            "True": "False",
            "False": "True",
            "Yes": "No",
            "No": "Yes",
            "yes": "no",
            "no": "yes",
            "valid": "invalid",
            "invalid": "valid",
        }
        return [flipped.get(item.answer, "x " + item.answer)]
    flipped = {"True": "False", "False": "True"}
    if item.answer in flipped:
        return [flipped[item.answer]]
    number = to_number(item.answer)
    # A gold like 0.0001 is within rounding of many numbers, but never of itself plus one.
    return (
        ["7919.5", str(number + 1), str(-number if number else Decimal(7))]
        if number is not None
        else ["7919.5", "x^{97}"]
    )


@pytest.mark.parametrize("name", SETS)
def test_every_real_item(shared_real: Path, name: str) -> None:
    fields, after, grader = SETS[name]
    config = BenchmarkConfig.model_validate(
        {"description": "", "fields": fields, "fewshot": "x", "shots": 0, "grader": grader, "answer_after": after}
    )
    records = read_records(shared_real / "benchmarks" / name)
    wrong, right = set(), set()
    for number, record in enumerate(records, 1):
        item = to_item(record, number, config)
        if not grade(grader, f"First we look at it. The answer is {item.answer}.", item.answer, item.choices).correct:
            wrong.add(item.item_id)
        for answer in changed(grader, item):
            if grade(grader, f"First we look at it. The answer is {answer}.", item.answer, item.choices).correct:
                right.add((item.item_id, item.answer, answer))
    assert wrong == EXCEPTIONS.get(name, set())
    assert not right


@pytest.mark.parametrize(
    ("completion", "answer", "extracted", "correct"),
    [
        ("So 6 * 3 = 18. The answer is 18.", "18", "18", True),
        ("The answer is $18 dollars.", "18", "$18 dollars", True),
        ("The answer is 1,234", "1234", "1,234", True),
        ("the final answer is: 20%.", "20", "20%", True),
        ("The answer is 7. Wait. The answer is 8.", "8", "8", True),
        ("The answer is $\\frac{1}{2}$.", "0.5", "$\\frac{1}{2}$", True),
        ("Hence \\boxed{\\sqrt{8}}", "2\\sqrt{2}", "\\sqrt{8}", True),
        ("The answer is $x=3$.", "3", "$x=3$", True),
        ("The answer is 3.1416.", "3.14", "3.1416", True),
        ("The answer is 3.15.", "3.14", "3.15", False),
        ("The answer is 14.", "3.14", "14", False),
        ("The answer is 104.", "100", "104", False),  # no 4 % tolerance
        ("The answer is [1, 2].", "[1, 2]", "[1, 2]", True),
        ("The answer is (2, 1).", "(1,2)", "(2, 1)", False),
        ("The answer is not known.", "False", "not known", False),  # no substring yes/no
        ("The answer is yes.", "True", "yes", True),
        ("The answer is (b).", "(b)", "(b)", True),
        ("It could be 18", "18", None, False),
        ("The answer is", "18", None, False),
        ("", "18", None, False),
    ],
)
def test_math(completion: str, answer: str, extracted: str | None, correct: bool) -> None:
    verdict = grade("math", completion, answer)
    assert (verdict.extracted, verdict.correct) == (extracted, correct)


CHOICES = ["Plants", "A planet", "I do not know", "Iron"]


@pytest.mark.parametrize(
    ("completion", "extracted"),
    [
        ("The answer is (C).", "C"),
        ("The answer is C", "C"),
        ("The answer is **B**.", "B"),
        ("The answer is $\\boxed{D}$", "D"),
        ("The answer is (A) Plants.", "A"),
        ("The answer is D. Iron", "D"),
        ("The answer is a.", "A"),
        ("The answer is iron.", "D"),
        ("The answer is A planet.", "B"),  # the option, not the letter of its article
        ("The answer is a matter of taste.", None),
        ("The answer is I am not sure.", None),
        ("Both are possible.", None),  # no "A" where nothing was said
    ],
)
def test_choice(completion: str, extracted: str | None) -> None:
    verdict = grade("choice", completion, "B", CHOICES)
    assert (verdict.extracted, verdict.correct) == (extracted, extracted == "B")


def test_mixed_takes_the_form_of_the_item() -> None:
    assert grade("mixed", "The answer is (B).", "B", CHOICES).correct
    assert grade("mixed", "The answer is 5/2.", "2.5", None).correct


@pytest.mark.parametrize(("completion", "answer", "correct"), [
    ("The answer is ember lantern quartz.", "ember lantern quartz", True),
    ("The answer is B.", "(B)", True),
    ("The answer is (B) the red book.", "(B)", True),
    ("The answer is bed.", "(B)", False),
    ("The answer is invalid.", "valid", False),
    ("The answer is ) ] }", ") ] }", True),
])  # fmt: skip
def test_text(completion: str, answer: str, correct: bool) -> None:
    assert grade("text", completion, answer).correct is correct


def test_a_thread_that_is_not_the_main_one_can_grade() -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(grade, "math", "The answer is $\\sqrt{8}$.", "2\\sqrt{2}").result().correct
