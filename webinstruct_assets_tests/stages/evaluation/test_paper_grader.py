"""Rules of the paper's grader, and one test per fault of the original in which the two graders differ as they should."""

from pathlib import Path

import pytest

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.items import to_item
from webinstruct_assets.stages.benchmarks.sources import read_records
from webinstruct_assets.stages.evaluation.demonstrations import check_not_tested, demonstrations
from webinstruct_assets.stages.evaluation.graders.corrected import grade
from webinstruct_assets.stages.evaluation.graders.paper import Rules, extract, grade_as_paper, strip_string

CHOICES = ["Plants", "A planet", "I do not know", "Iron"]


@pytest.mark.parametrize(("rules", "completion", "extracted"), [
    ("gsm8k", "So 6 * 3 = 18. The answer is $1,018.00.", "1018"),
    ("gsm8k", "It is 5, then 7.", "7"),  # the last number where nothing is announced
    ("gsm8k", "The answer is 12 or 13.", "12"),  # the first one where it is
    ("gsm8k", "#### 42", "42"),
    ("gsm8k", "The answer is 3.\n\nProblem 2: … The answer is 9.", "3"),  # cut at the blank line: said twice
    ("gsm8k", "The answer is 1/2.", "0.5"),
    ("gsm8k", "Nothing.", ""),
    ("letter", "The answer is (C) or (D).", "C"),
    ("letter", "First B, later D", "D"),
    ("letter", "The answer is J.", "J"),
    ("letter_abcd", "The answer is J.", "J"),  # no letter among A to D: the text itself, which then counts as "A"
    ("letter", "#### B", "B"),
    ("math", "Hence $\\boxed{\\dfrac{1}{2}}$", "\\frac{1}{2}"),
    ("math", "The answer is $x = 5$.", "5"),
    ("math", "The answer is 12 apples.", "12"),
    ("math", "we get 3, so 4", "4"),
    ("theoremqa", "The answer is \\frac{1}{4}.", "0.25"),
    ("theoremqa", "The answer is 3\\pi.", "9.42"),
    ("theoremqa", "The answer is x = 50%.", "0.5"),
    ("theoremqa", "The answer is [1, 2].", "[1, 2]"),
    ("theoremqa", "The answer is (b).", "(b)"),
    ("text", "So the answer is ) ] }.", ") ] }"),
])  # fmt: skip
def test_extraction(rules: Rules, completion: str, extracted: str) -> None:
    assert extract(rules, completion) == extracted


@pytest.mark.parametrize(("text", "normal"), [
    ("\\tfrac12", "\\frac{1}{2}"), ("\\frac1{72}", "\\frac{1}{72}"), ("3/4", "\\frac{3}{4}"), ("\\sqrt3", "\\sqrt{3}"),
    ("k = 7", "7"), (".5", "0.5"), ("90^\\circ", "90"), ("10\\%", "10"), ("\\left(1, 2\\right)", "(1,2)"),
    ("5\\text{ cm}", "5"),
])  # fmt: skip
def test_normal_form_of_math(text: str, normal: str) -> None:
    assert strip_string(text) == normal


def both(
    rules: Rules, grader: str, completion: str, answer: str, choices: list[str] | None = None
) -> tuple[bool, bool]:
    return (
        grade_as_paper(rules, completion, answer).correct,
        grade(grader, completion, answer, choices).correct,
    )


# Faults of the original: (paper, corrected)


def test_an_invalid_answer_counts_as_a() -> None:
    verdict = grade_as_paper("letter", "Both are possible.", "A")
    assert (verdict.extracted, verdict.correct, verdict.failure) == (None, True, "no_answer")
    assert both("letter", "choice", "Both are possible.", "A", CHOICES) == (True, False)
    assert both("letter", "choice", "The answer is 7.", "A", CHOICES) == (True, False)


@pytest.mark.parametrize(("completion", "letter"), [
    ("It grows like a plant", "A"),
    ("Well, I think so", "I"),
    ("The answer is a matter of taste.", "A"),
])  # fmt: skip
def test_an_article_or_pronoun_counts_as_a_letter(completion: str, letter: str) -> None:
    assert both("letter", "choice", completion, letter, CHOICES) == (True, False)


@pytest.mark.parametrize(("completion", "answer"), [
    ("The answer is not known.", "False"),
    ("It cannot be decided, nobody knows", "False"),
    ("The answer is untrue.", "True"),
    ("The answer is yesterday.", "True"),
])  # fmt: skip
def test_a_part_of_a_word_counts_as_a_truth_value(completion: str, answer: str) -> None:
    assert both("theoremqa", "math", completion, answer) == (True, False)


@pytest.mark.parametrize(("completion", "answer"), [
    ("The answer is $\\sqrt{8}$.", "2\\sqrt{2}"),
    ("The answer is 0.5.", "\\frac{1}{2}"),
    ("The answer is $x+1$.", "1+x"),
    ("The answer is 256 \\pi.", "256 \\pi"),
    ("The answer is $x^2 + y^2 = 13$.", "x^2 + y^2 = 13"),
])  # fmt: skip
def test_math_is_compared_as_text(completion: str, answer: str) -> None:
    assert both("math", "math", completion, answer) == (False, True)


@pytest.mark.parametrize(("completion", "answer"), [
    ("The answer is 104.", "100.0"),
    ("The answer is 96.5.", "100.0"),
    ("The answer is 11760.4.", "11760"),  # integers are rounded first
    ("The answer is [2, 1].", "[1, 2]"),  # lists are sorted first
    ("The answer is [1.03, 2].", "[1.0, 2]"),
])  # fmt: skip
def test_numbers_are_compared_loosely(completion: str, answer: str) -> None:
    assert both("theoremqa", "math", completion, answer) == (True, False)


def test_tolerance_ends_at_four_percent() -> None:
    assert grade_as_paper("theoremqa", "The answer is 104.1.", "100.0").correct is False
    assert grade_as_paper("theoremqa", "The answer is 105.", "100").correct is False


def test_an_option_counts_wherever_it_is_mentioned() -> None:
    assert both("text", "text", "The answer is (B), since (A) is older.", "(A)") == (True, False)


def test_numbers_with_an_exponent_are_misread() -> None:
    assert both("theoremqa", "math", "The answer is 4e-05.", "4e-05") == (False, True)


def test_numbered_options_are_never_right() -> None:
    assert both("letter", "choice", "The answer is 2.", "2") == (False, True)


def test_programs_of_the_model_are_not_run(tmp_path: Path) -> None:
    """The original runs what contains ``print(`` as it is, and takes its output for the answer."""
    trace = tmp_path / "trace"
    completion = f"open({str(trace)!r}, 'w').write('x')\nprint(7)"
    assert grade_as_paper("gsm8k", completion, "7").extracted == "7"  # as text
    assert grade_as_paper("theoremqa", f"The answer is __import__('os').mkdir({str(trace)!r})", "7").correct is False
    assert not trace.exists()


GPQA = {
    "id": "Record ID", "question": "Question", "answer": "Correct Answer",
    "choices": "Correct Answer|Incorrect Answer 1|Incorrect Answer 2|Incorrect Answer 3",
}  # fmt: skip


def test_options_are_shuffled_the_same_every_time() -> None:
    """The original shuffles GPQA's options without a seed, so that its scores cannot be repeated."""
    config = BenchmarkConfig.model_validate({"description": "", "fields": GPQA, "shots": 0, "grader": "choice"})
    record = {
        "Question": "Which?",
        "Correct Answer": "p",
        **{f"Incorrect Answer {n}": text for n, text in ((1, "q"), (2, "r"), (3, "s"))},
    }
    items = [to_item({**record, "Record ID": f"rec{number}"}, number, config) for number in range(60)]
    again = [to_item({**record, "Record ID": f"rec{number}"}, number, config) for number in range(60)]
    assert items == again
    assert {item.answer for item in items} == set("ABCD")
    assert all(item.choices and item.choices["ABCD".index(item.answer)] == "p" for item in items)


def test_a_demonstration_that_is_a_test_item_stops_the_evaluation(workspace: Workspace, tmp_path: Path) -> None:
    """Two of the five demonstrations that the original shows for GPQA are items of the diamond set."""
    config = workspace.files.benchmarks["gpqa-diamond"]
    records = read_records(Path(__file__).parent / "fixtures/gpqa-diamond.jsonl")
    items = [to_item(record, number, config) for number, record in enumerate(records, 1)]
    questions = [item.question for item in items]
    ours = demonstrations("gpqa-diamond", config, workspace.root)
    check_not_tested("ours", ours, questions)
    with pytest.raises(BadInput, match=f"record {items[1].item_id!r}: its question is an item"):
        check_not_tested("the original's", [*ours[:4], items[1]], questions)


def test_the_originals_file_names_one_subject_for_every_item(shared_real: Path) -> None:
    """So it makes no average over subjects: one label is no division of a set."""
    records = read_records(shared_real / "benchmarks/mmlu_stem.json")
    assert {record["subject"] for record in records} == {"high_school_computer_science"}
