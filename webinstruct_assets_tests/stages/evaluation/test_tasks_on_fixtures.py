"""Benchmarks whose data nobody has here: their configuration reads records of the source's shape, and their task asks,
grades and scores them. The fixtures were written for this project in the fields that the sources document.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.benchmarks.items import Item, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES
from webinstruct_assets.stages.evaluation.demonstrations import demonstrations, document, shown_document
from webinstruct_assets.stages.evaluation.harness import Answer, evaluate
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT
from webinstruct_assets_tests.stages.evaluation.test_benchmark_scores import made_from

FIXTURES = Path(__file__).parent / "fixtures"
WITH_OPTIONS = ["gpqa-diamond", "mmlu", "mmlu-pro"]
SPLITS = {"mmlu": "mmlu-dev.jsonl", "mmlu-pro": "mmlu-pro-validation.jsonl"}
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
    if name in SPLITS:
        config = config.model_copy(update={"fewshot": FIXTURES / SPLITS[name]})
    file = FIXTURES / ("mbpp.jsonl" if name.startswith("mbpp") else f"{name}.jsonl")
    items = [to_item(record, number, config) for number, record in enumerate(read_records(file), 1)]
    shown = [shown_document(item) for item in demonstrations(name, config, workspace.root)]
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


def to_hub(monkeypatch: pytest.MonkeyPatch, splits: dict[str, str]) -> list[tuple[str, str, str]]:
    """``load_dataset`` reads these files for splits; returns what it was asked for."""
    asked = []

    def load_dataset(hub: str, part: str, *, split: str, revision: str) -> list[dict[str, object]]:
        asked.append((hub, split, revision))
        return read_records(FIXTURES / splits[split])

    import datasets

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


@pytest.mark.parametrize(("name", "split", "file"), [(n, f.split("-")[-1].split(".")[0], f) for n, f in SPLITS.items()])
def test_demonstrations_of_each_items_subject_come_from_the_split_for_them(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, split: str, file: str
) -> None:
    """From the same hub dataset and revision as the items, through the stages, and never a test item."""
    asked = to_hub(monkeypatch, {"test": f"{name}.jsonl", split: file})
    ws = Workspace.open(home)
    made_from(ws, TRAINED_CHECKPOINT, PartitionKey.of({"recipe": "base-smollm2"}), [])
    execute(BENCHMARK_ITEMS, PartitionKey.of({"benchmark": name}), ws, log=print, run_id="test")
    items = [
        to_item(record, n, ws.files.benchmarks[name])
        for n, record in enumerate(read_records(FIXTURES / f"{name}.jsonl"), 1)
    ]
    client = Recorded(items, lambda item: f"So it is. The answer is ({item.answer}).")

    @contextmanager
    def llm(self: Workspace, *_: object) -> Iterator[Recorded]:
        yield client

    monkeypatch.setattr(Workspace, "llm", llm)
    at = PartitionKey.of({"benchmark": name, "recipe": "base-smollm2"})
    manifest = execute(BENCHMARK_SCORES, at, ws, log=print, run_id="test")
    config = ws.files.benchmarks[name]
    assert asked == [(config.hub, "test", config.revision), (config.hub, split, config.revision)]
    assert manifest.config["fewshot_split"] == split and manifest.metrics["accuracy"] == 1
    demos = [to_item(record, n, config) for n, record in enumerate(read_records(FIXTURES / file), 1)]
    for request, item in zip(client.asked, items, strict=True):
        shown, _, last = (request.prompt or "").rpartition("Problem:\n")
        assert shown.count("Problem:\n") == 5 and last.startswith(item.question)
        own = [demo for demo in demos if demo.subject == item.subject]
        assert all(demo.question in shown and f"The answer is ({demo.answer})." in shown for demo in own)
        assert shown.count("Let's think step by step.") == 5  # MMLU-Pro's solutions begin with these words too
        assert not any(tested.question in shown for tested in items)

    # A demonstration that is a test item stops the evaluation, as does a subject without any.
    (home / "config/benchmarks" / f"{name}.yaml").write_text(
        (home / "config/benchmarks" / f"{name}.yaml")
        .read_text()
        .replace(f"fewshot_split: {split}", "fewshot_split: test")
    )
    with pytest.raises(BadInput, match=r"split test: (1 demonstrations of subject|record .* is an item)"):
        execute(BENCHMARK_SCORES, at, Workspace.open(home), log=print, run_id="test")


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(workspace: Workspace, name: str) -> None:
    # A model that goes on after its program: endpoints take four stop strings, the tasks have more.
    client, items, answers = run(workspace, name, lambda item: f"{item.answer.rstrip()}\nassert False, 'more'\nprint(")
    assert all(answer.verdicts.corrected.correct for answer in answers)
    assert [answer.reply.text for answer in answers] == [item.answer.rstrip() for item in items]
    for request, item in zip(client.asked, items, strict=True):
        expected = item.question if name.startswith("humaneval") else f'"""\n{item.question}\n"""\n'
        assert request.prompt == expected
        assert request.temperature == 0.0 and 0 < len(request.stop) <= 4
    _, _, wrong = run(workspace, name, lambda item: "    raise ValueError\n")
    assert not any(answer.verdicts.corrected.correct for answer in wrong)
