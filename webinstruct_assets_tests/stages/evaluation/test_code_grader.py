"""The grader of programs: HumanEval's own solutions pass, broken ones do not; forms of completions."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.items import Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records
from webinstruct_assets.stages.evaluation.demonstrations import document
from webinstruct_assets.stages.evaluation.graders.code import grade_program, solution
from webinstruct_assets.stages.evaluation.grading import Verdicts, grade_documents

HEAD = 'import math\n\ndef area(radius):\n    """Area of a circle.\n    """\n'
TESTS = "def check(candidate):\n    assert abs(candidate(1) - 3.14159) < 1e-4\n\ncheck(area)"
BODY = "    return math.pi * radius ** 2\n"


def items_of(config: BenchmarkConfig, path: Path) -> list[Item]:
    return [to_item(record, number, config) for number, record in enumerate(read_records(path), 1)]


def graded(config: BenchmarkConfig, items: Sequence[Item], completions: Sequence[str]) -> list[Verdicts]:
    return grade_documents(config, [(document(item), text) for item, text in zip(items, completions, strict=True)])


def broken(item: Item) -> list[str]:
    """Solutions near the right one that are wrong: no result, the right one in a list, and the right one said twice."""
    inner = item.answer.rstrip()
    wrapped = f"    def _inner():\n{inner.replace(chr(10), chr(10) + '    ').replace('    ', '        ', 1)}\n"
    return ["    return None\n", f"{wrapped}    return [_inner()]\n", f"{wrapped}    return _inner(), _inner()\n"]


def check_humaneval(workspace: Workspace, shared_real: Path, step: int) -> int:
    config = workspace.files.benchmarks["humaneval"]
    items = items_of(config, shared_real / "benchmarks/HumanEval.jsonl.gz")[::step]
    right = graded(config, items, [item.answer for item in items])
    assert [item.item_id for item, v in zip(items, right, strict=True) if not v.corrected.correct] == []
    assert all(verdicts.paper == verdicts.corrected for verdicts in right)
    for completions in zip(*map(broken, items), strict=True):
        wrong = graded(config, items, completions)
        assert [item.item_id for item, v in zip(items, wrong, strict=True) if v.corrected.correct] == []
        assert all(verdicts.corrected.failure in ("wrong_answer", "exception") for verdicts in wrong)
    return len(items)


def test_sample_of_humaneval(workspace: Workspace, shared_real: Path) -> None:
    assert check_humaneval(workspace, shared_real, 16) == 11


@pytest.mark.slow
def test_every_item_of_humaneval(workspace: Workspace, shared_real: Path) -> None:
    assert check_humaneval(workspace, shared_real, 1) == 164


@pytest.mark.parametrize("name", ["mbpp", "mbpp-plus"])
def test_problems_from_descriptions(workspace: Workspace, name: str) -> None:
    config = workspace.files.benchmarks[name]
    items = items_of(config, Path(__file__).parent / "fixtures/mbpp.jsonl")
    assert all(v.corrected.correct for v in graded(config, items, [item.answer for item in items]))
    fenced = [f"Here it is:\n```python\n{item.answer}\n```\nIt works." for item in items]
    assert all(v.corrected.correct for v in graded(config, items, fenced))
    wrong = graded(config, items, [item.answer.replace("return", "return not") for item in items])
    assert [v.corrected.failure for v in wrong] == ["wrong_answer"] * 3


def test_the_plus_tests_find_more(workspace: Workspace) -> None:
    path = Path(__file__).parent / "fixtures/mbpp.jsonl"
    swapped = "def second_largest(numbers):\n    return {3: 5, -1: -2}[numbers[0]]"
    for name, correct in (("mbpp", True), ("mbpp-plus", False)):
        config = workspace.files.benchmarks[name]
        (found,) = graded(config, items_of(config, path)[:1], [swapped])
        assert found.corrected.correct is correct


@pytest.mark.parametrize(("completion", "failure"), [
    (BODY, None),
    (f"```python\n{HEAD}{BODY}```", None),
    (f"```python\ndef area(radius):\n{BODY}```", None),  # the import is taken from the question
    (f"Sure:\n```\ndef area(radius):\n{BODY}\n```\nand so on\n```\nprint(area(1))\n```", None),
    ("    return radius\n", "wrong_answer"),
    ("    return open('/etc/passwd').read()\n", "exception"),
    ("I cannot do that.", "syntax_error"),
    ("  \n", "no_answer"),
])  # fmt: skip
def test_forms_of_completions(completion: str, failure: str | None) -> None:
    verdict = grade_program(completion, HEAD, TESTS, "area")
    assert (verdict.correct, verdict.failure) == (failure is None, failure)
    assert (verdict.extracted is None) == (failure == "no_answer")


def test_a_completion_goes_on_where_the_head_ends() -> None:
    assert solution(BODY, HEAD, "area") == HEAD + BODY
    assert solution("def area(r): return 1", "Write area.", None) == "def area(r): return 1"
