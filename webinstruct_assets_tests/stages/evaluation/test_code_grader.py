"""The grader of programs: HumanEval's own solutions pass, broken ones do not; forms of completions."""

import ast
from collections.abc import Callable, Sequence
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


class Wrapped(ast.NodeTransformer):
    """Every result of the item's function comes in a list, or twice; functions inside of it stay as they are."""

    def __init__(self, function: str, wrap: Callable[[ast.expr], ast.expr]):
        self.function, self.wrap, self.depth = function, wrap, 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if self.depth or node.name != self.function:
            return node
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1
        return node

    def visit_Return(self, node: ast.Return) -> ast.AST:
        return ast.Return(self.wrap(node.value or ast.Constant(None))) if self.depth else node


def broken(item: Item) -> list[str]:
    """Programs near the right one that are wrong: no result, the result in a list, the result twice."""
    wraps: list[Callable[[ast.expr], ast.expr]] = [
        lambda value: ast.Constant(None),
        lambda value: ast.List([value], ast.Load()),
        lambda value: ast.Tuple([value, value], ast.Load()),
    ]
    programs = []
    for wrap in wraps:
        tree = Wrapped(str(item.entry_point), wrap).visit(ast.parse(item.question + item.answer))
        programs.append(f"```python\n{ast.unparse(ast.fix_missing_locations(tree))}\n```")
    return programs


def check_humaneval(workspace: Workspace, shared_real: Path, step: int) -> int:
    config = workspace.files.benchmarks["humaneval"]
    items = items_of(config, shared_real / "benchmarks/HumanEval.jsonl.gz")[::step]
    right = graded(config, items, [item.answer for item in items])
    assert [item.item_id for item, v in zip(items, right, strict=True) if not v.corrected.correct] == []
    assert all(verdicts.paper == verdicts.corrected for verdicts in right)
    for completions in zip(*map(broken, items), strict=True):
        wrong = graded(config, items, completions)
        assert [item.item_id for item, v in zip(items, wrong, strict=True) if v.corrected.correct] == []
        assert {verdicts.corrected.failure for verdicts in wrong} <= {"wrong_answer", "exception"}
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
