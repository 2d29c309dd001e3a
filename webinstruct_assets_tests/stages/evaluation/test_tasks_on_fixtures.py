"""Benchmarks whose data nobody has here: their configuration reads records of the source's shape, and their task asks,
grades and scores them. The fixtures were written for this project in the fields that the sources document.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.items import Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records
from webinstruct_assets.stages.evaluation.demonstrations import demonstrations, document, shown_document
from webinstruct_assets.stages.evaluation.harness import Answer, evaluate

FIXTURES = Path(__file__).parent / "fixtures"
WITH_OPTIONS = ["gpqa-diamond", "mmlu", "mmlu-pro"]
PROGRAMS = ["humaneval-plus", "mbpp", "mbpp-plus"]


class Recorded:
    """A model that answers the question at the end of the prompt by ``answer``."""

    def __init__(self, items: Sequence[Item], answer: Callable[[Item], str]):
        self.items, self.answer, self.asked = items, answer, list[LlmRequest]()

    def complete(
        self, requests: Sequence[LlmRequest], on_reply: Callable[[int, LlmReply], None] | None = None
    ) -> list[LlmReply]:
        self.asked += requests
        return [LlmReply(self.answer(self.item_of(request.prompt or "")), "stop", 100, 20) for request in requests]

    def item_of(self, prompt: str) -> Item:
        return max(self.items, key=lambda item: prompt.rfind(item.question.strip()))


def run(workspace: Workspace, name: str, answer: Callable[[Item], str]) -> tuple[Recorded, list[Item], list[Answer]]:
    config = workspace.files.benchmarks[name]
    file = FIXTURES / ("mbpp.jsonl" if name.startswith("mbpp") else f"{name}.jsonl")
    items = [to_item(record, number, config) for number, record in enumerate(read_records(file), 1)]
    path = workspace.path(config.fewshot) if config.fewshot else None
    shown = [shown_document(item) for item in demonstrations(name, config, path)]
    client = Recorded(items, answer)
    answers = evaluate(name, config, [document(item) for item in items], shown, client, lambda: None)  # type: ignore[arg-type]
    return client, items, answers


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_options(workspace: Workspace, name: str) -> None:
    client, items, answers = run(workspace, name, lambda item: f"So it is. The answer is ({item.answer}).")
    assert all(answer.verdicts.corrected.correct and answer.verdicts.paper.correct for answer in answers)
    for request, item in zip(client.asked, items, strict=True):
        prompt = request.prompt or ""
        last = prompt.rpartition("Problem:\n")[2]
        assert prompt.count("Problem:") == 6  # five shots and the item
        assert item.choices and all(f"({'ABCDEFGHIJ'[n]}) {text}" in last for n, text in enumerate(item.choices))
        assert last.endswith("Solution: Let's think step by step.")
    _, _, others = run(workspace, name, lambda item: f"The answer is ({'A' if item.answer != 'A' else 'B'}).")
    assert not any(answer.verdicts.corrected.correct or answer.verdicts.paper.correct for answer in others)
    _, _, silent = run(workspace, name, lambda item: "Who knows")
    assert [answer.verdicts.corrected.failure for answer in silent] == ["no_answer"] * 3
    assert [answer.verdicts.paper.correct for answer in silent] == [item.answer == "A" for item in items]


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(workspace: Workspace, name: str) -> None:
    client, items, answers = run(workspace, name, lambda item: item.answer)
    assert all(answer.verdicts.corrected.correct for answer in answers)
    for request, item in zip(client.asked, items, strict=True):
        expected = item.question if name.startswith("humaneval") else f'"""\n{item.question}\n"""\n'
        assert request.prompt == expected
        assert request.temperature == 0.0 and "\nassert" in "|".join(request.stop)
    _, _, wrong = run(workspace, name, lambda item: "    raise ValueError\n")
    assert not any(answer.verdicts.corrected.correct for answer in wrong)
