"""The lm-eval task on our documents: the prompt it builds, and that its scores are the graders'."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.errors import BadInput, MissingInput
from webinstruct_assets.core.intervals import wilson
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.items import Item
from webinstruct_assets.stages.evaluation.demonstrations import (
    check_not_tested,
    check_subjects,
    demonstrations,
    document,
    shown_document,
    shown_from,
)
from webinstruct_assets.stages.evaluation.grading import grade_document
from webinstruct_assets.stages.evaluation.harness import benchmark_task, benchmark_tasks, evaluate, request_of

FIXTURES = Path(__file__).parent / "fixtures"
CONFIG = BenchmarkConfig.model_validate(
    {
        "description": "",
        "fields": {"question": "q", "answer": "a"},
        "fewshot": "x",
        "shots": 1,
        "grader": "mixed",
        "max_output_tokens": 99,
    }
)
FREE = document(Item("i1", "What is 2 + 3?", None, "5", None, "maths"))
CHOICE = document(Item("i2", "Which is a metal?", ["Iron", "Oak"], "A", None, "chemistry"))
SUBJECTS = ["boolean_expressions", "word_sorting"]
SHOWN = shown_document(Item("d1", "What is 1 + 1?", None, "2", "One and one make two.", "maths"))


def prompts(documents: list[dict[str, Any]], shown: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    task = benchmark_task("trial", CONFIG, documents, shown)
    task.build_all_requests(rank=0, world_size=1)
    return [instance.args for instance in task.instances]


def test_prompt_is_the_papers_form() -> None:
    (free, generation), (choice, _) = prompts([FREE, CHOICE], [SHOWN])
    start = (
        "You are supposed to provide a solution to a given problem.\n\n\n"
        "Problem:\nWhat is 1 + 1?\nSolution: Let's think step by step. One and one make two. The answer is 2.\n\n"
    )
    assert free == start + "Problem:\nWhat is 2 + 3?\nSolution: Let's think step by step."
    assert (
        choice
        == start + "Problem:\nWhich is a metal?\nOptions:\n(A) Iron\n(B) Oak\nSolution: Let's think step by step."
    )
    request = request_of(free, generation)
    assert (request.max_tokens, request.temperature, request.stop[0]) == (99, 0.0, "Problem:")


def test_no_shots() -> None:
    ((prompt, _),) = prompts([FREE], [])
    assert prompt.count("Problem:") == 1


def test_text_of_an_item_is_never_a_template() -> None:
    ((prompt, _),) = prompts([document(Item("i", "What is {{ 7*7 }} \\frac{{1}}{{2}}?", None, "[1]", None, ""))], [])
    assert "{{ 7*7 }} \\frac{{1}}{{2}}?" in prompt


def test_score_of_the_harness_is_the_graders() -> None:
    task = benchmark_task("trial", CONFIG, [FREE, CHOICE], [SHOWN])
    assert task.process_results(FREE, ["2 and 3 make 5. The answer is 5."]) == {"exact_match": 1.0}
    assert task.process_results(CHOICE, ["The answer is (B)."]) == {"exact_match": 0.0}


# Benchmarks whose demonstrations are a split of the source, with a fixture of that split's schema.
SPLITS = {"mmlu": "mmlu-dev.jsonl", "mmlu-pro": "mmlu-pro-validation.jsonl"}


def asked_by_us(workspace: Workspace) -> dict[str, BenchmarkConfig]:
    """The benchmarks that lm-eval runs; a split of the hub is the fixture of it."""
    found = {name: config for name, config in workspace.files.benchmarks.items() if config.judge is None}
    assert {name for name, config in found.items() if config.fewshot_split} == set(SPLITS)
    return {
        name: config.model_copy(update={"fewshot": FIXTURES / SPLITS[name]}) if name in SPLITS else config
        for name, config in found.items()
    }


def test_every_benchmark_of_the_repo_has_a_task(workspace: Workspace) -> None:
    for name, config in asked_by_us(workspace).items():
        shown = [shown_document(item) for item in demonstrations(name, config, workspace.root)]
        subjects = {item["subject"] for item in shown} if config.fewshot_by_subject else {""}
        assert len(shown) == config.shots * len(subjects)
        assert all(re.search("the answer is", item["target"], re.I) for item in shown)
        documents = [
            {**item, "item_id": f"{subject}{item['item_id']}", "subject": subject}
            for subject in subjects
            for item in (FREE, CHOICE)
        ]
        tasks = benchmark_tasks(name, config, documents, shown)
        assert {task.config.num_fewshot for task in tasks.values()} == {config.shots}


def test_demonstrations_state_their_own_answers(workspace: Workspace) -> None:
    """Both graders read the gold answer out of every demonstration that is shown to a model."""
    for name, config in asked_by_us(workspace).items():
        for item in demonstrations(name, config, workspace.root):
            shown = shown_document(item)
            verdicts = grade_document(config, shown, shown["target"])
            assert (verdicts.corrected.correct, verdicts.paper.correct) == (True, True), (name, item.item_id, verdicts)


def test_demonstrations_of_the_items_own_subject(workspace: Workspace) -> None:
    config = workspace.files.benchmarks["bbh"]
    shown = demonstrations("bbh", config, workspace.root)
    assert len({item.subject for item in shown}) == 27
    documents = [document(Item(f"i{n}", "True or False is", None, "True", None, s)) for n, s in enumerate(SUBJECTS)]
    tasks = benchmark_tasks("bbh", config, documents, [shown_document(item) for item in shown])
    for subject, task in zip(SUBJECTS, tasks.values(), strict=True):
        task.build_all_requests(rank=0, world_size=1)
        ((prompt, _),) = [instance.args for instance in task.instances]
        own = [item for item in shown if item.subject == subject]
        assert all(item.question in prompt for item in own)
        assert prompt.count("Problem:") == 4
    where = shown_from(config)
    check_subjects(where, shown, SUBJECTS)
    with pytest.raises(BadInput, match="no demonstration of subject 'chess'"):
        check_subjects(where, shown, [*SUBJECTS, "chess"])


class RecordedClient:
    """Replies that were written down, by a word of the prompt's last question."""

    def __init__(self, replies: dict[str, str]):
        self.replies = replies

    def complete(self, requests: list[LlmRequest], on_reply: Callable[[int, LlmReply], None]) -> list[LlmReply]:
        answers = []
        for number, request in enumerate(requests):
            last = (request.prompt or "").rpartition("Problem:")[2] or request.prompt or ""
            text = next(text for word, text in self.replies.items() if word in last)
            answers.append(LlmReply(text, "stop", 10, 3))
            on_reply(number, answers[-1])
        return answers


def test_evaluation_returns_answers_in_the_items_order() -> None:
    client = RecordedClient({"2 + 3": "The answer is 5.", "metal": "The answer is (B)."})
    heard: list[int] = []
    config = CONFIG.model_copy(update={"fewshot_by_subject": True})
    shown = [{**SHOWN, "subject": subject} for subject in ("chemistry", "maths")]
    answers = evaluate("trial", config, [CHOICE, FREE], shown, client, lambda: heard.append(1))  # type: ignore[arg-type]
    assert [(a.verdicts.corrected.extracted, a.verdicts.corrected.correct) for a in answers] == [
        ("B", False),
        ("5", True),
    ]
    assert [a.verdicts.paper.correct for a in answers] == [False, True]
    assert ["metal" in a.prompt for a in answers] == [True, False]
    assert len(heard) == 2


def test_paper_shots(workspace: Workspace) -> None:
    expected = {
        "theoremqa": 5, "math": 4, "gsm8k": 4, "gpqa-diamond": 5, "mmlu-stem": 5, "bbh": 3, "arc-challenge": 8, "mmlu": 5,
        "mmlu-pro": 5, "humaneval": 0, "humaneval-plus": 0, "mbpp": 0, "mbpp-plus": 0,
    }  # fmt: skip
    assert {name: config.shots for name, config in workspace.files.benchmarks.items() if name in expected} == expected


def test_bad_demonstrations(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="'trial'"):
        demonstrations("trial", CONFIG, tmp_path)
    path = tmp_path / "shots.jsonl"
    config = CONFIG.model_copy(update={"fewshot": path})
    path.write_text('{"id": "d1", "question": "?", "answer": "1"}\n')
    with pytest.raises(BadInput, match="record 1: field 'solution'"):
        demonstrations("trial", config, tmp_path)
    path.write_text('{"id": "d1", "question": "What is one?", "answer": "1", "solution": "It is 1."}\n')
    with pytest.raises(BadInput, match="1 demonstrations, benchmark 'trial' is run with 2"):
        demonstrations("trial", config.model_copy(update={"shots": 2}), tmp_path)
    shown = demonstrations("trial", config, tmp_path)
    check_not_tested(str(path), shown, ["What is two?"])
    with pytest.raises(BadInput, match="'d1': its question is an item"):
        check_not_tested(str(path), shown, ["what is  ONE?"])


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (24, 48, 0.3639, 0.6361)],
)
def test_wilson(correct: int, total: int, low: float, high: float) -> None:
    assert wilson(correct, total) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))


def test_reply_without_text_is_unparsed() -> None:
    from webinstruct_assets.stages.evaluation.graders.corrected import grade

    reply = LlmReply("", None, 0, 0, error="too long")
    assert grade("math", reply.text, "5").extracted is None
