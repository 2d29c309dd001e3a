"""benchmark_scores: on recorded replies, then on the real server with a few items of each set."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.core.errors import MissingInput
from webinstruct_assets.core.keys import PartitionKey, Ref
from webinstruct_assets.core.llm.client import LlmReply, LlmRequest
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import Job, Stage, Unit, execute, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA, HITS_SCHEMA
from webinstruct_assets.stages.evaluation.benchmark_scores import BENCHMARK_SCORES, inputs
from webinstruct_assets.stages.evaluation.contamination import contaminated_items, data_behind
from webinstruct_assets.stages.evaluation.sandbox.run import sandbox_mode
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET
from webinstruct_assets.stages.training.trained_checkpoint import TRAINED_CHECKPOINT
from webinstruct_assets_tests.partitions import filled

REAL = {
    "gsm8k": ("gsm8k_test.jsonl", {"question": "question", "answer": "answer"}),
    "math": ("math_500_of_test.jsonl", {"id": "id", "question": "problem", "answer": "solution"}),
    "theoremqa": ("theoremqa_test.json", {"id": "id", "question": "Question", "answer": "Answer"}),
    "mmlu-stem": ("mmlu_stem.json", {"question": "question", "answer": "answer", "choices": "choices"}),
    "arc-challenge": ("arc_challenge.json", {"question": "question", "answer": "answer"}),
    "bbh": ("bbh.json", {"question": "question", "answer": "answer"}),
    "humaneval": (
        "HumanEval.jsonl.gz",
        {
            "id": "task_id",
            "question": "prompt",
            "answer": "canonical_solution",
            "tests": "test",
            "entry_point": "entry_point",
        },
    ),
}


def key(**dimensions: str) -> PartitionKey:
    return PartitionKey.of(dimensions)


def base_ready(home: Path) -> Workspace:
    """The demo environment with its base recipe's checkpoint made."""
    ws = Workspace.open(home)
    for stage in (SFT_DATASET, TRAINED_CHECKPOINT):
        execute(stage, key(recipe="base-smollm2"), ws, log=print, run_id="test")
    return ws


def shorten(home: Path, name: str, **changes: object) -> None:
    path = home / f"config/benchmarks/{name}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def test_a_recipe_needs_the_scores_of_its_base(workspace: Workspace) -> None:
    refs = [str(ref) for ref in inputs(workspace, key(benchmark="demo-stem", recipe="demo-sft"))]
    assert refs == [
        "benchmark_items/demo-stem",
        "trained_checkpoint/demo-sft",
        "benchmark_scores/demo-stem|base-smollm2",
    ]
    assert len(inputs(workspace, key(benchmark="demo-stem", recipe="base-smollm2"))) == 2
    with pytest.raises(MissingInput, match="benchmark_items/demo-stem"):
        execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe="demo-sft"), workspace, log=print, run_id="test")


def made_from(
    ws: Workspace, stage: Stage, at: PartitionKey, parents: Sequence[Ref], hits: Sequence[str] = ()
) -> Manifest:
    """A partition of ``stage`` with one row that pins ``parents``; ``hits``: items in its hits file, common wording with a "?"."""

    def run(job: Job) -> None:
        job.unit("00000", lambda: Unit(rows=[filled(stage, id=f"{stage.prefix}-1")], rows_in=1))
        if stage is DECONTAMINATED_QA:
            found = [
                {"benchmark": name, "item_id": item.removesuffix("?"), "common": item.endswith("?")}
                for name, _, item in (hit.partition("/") for hit in hits)
            ]
            columns = ("benchmark", "item_id", "common")
            frame = pl.DataFrame(found, schema={name: HITS_SCHEMA[name] for name in columns})
            frame.write_parquet(job.folder / "hits.parquet")

    made = Stage(
        asset=stage.asset, dimensions=stage.dimensions, prefix=stage.prefix, schema=stage.schema, run=run,
        inputs=lambda ws, key: parents, settings=lambda ws, key: {"hits": list(hits)}, sources=stage.sources,
    )  # fmt: skip
    return execute(made, at, ws, log=print, run_id="test")


def trained(ws: Workspace, recipe: str, parents: Sequence[Ref]) -> None:
    """A checkpoint of ``recipe`` whose training set pins ``parents``."""
    data = SFT_DATASET.ref(key(recipe=recipe))
    made_from(ws, SFT_DATASET, data.key, parents)
    made_from(ws, TRAINED_CHECKPOINT, data.key, [data])


class Recorded:
    """A model whose replies were written down: right about every third item, silent about every fifth."""

    def __init__(self, answers: dict[str, str], shift: int):
        self.answers, self.shift = answers, shift

    def complete(
        self, requests: Sequence[LlmRequest], on_reply: Callable[[int, LlmReply], None] | None = None
    ) -> list[LlmReply]:
        replies = []
        for number, request in enumerate(requests):
            last = (request.prompt or "").rpartition("Problem:\n")[2]
            answer = next(answer for question, answer in self.answers.items() if last.startswith(question))
            text = f"We see. The answer is {answer}." if (number + self.shift) % 3 == 0 else "The answer is 12345."
            replies.append(LlmReply("I do not know" if number % 5 == 4 else text, "stop", 50, 8))
        return replies


def recorded(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever model is served answers from the record."""
    items = ws.lake.read(ws.lake.require(Ref("benchmark_items", key(benchmark="demo-stem")), "test"))
    answers = dict(zip(items["question"], items["answer"], strict=True))

    @contextmanager
    def llm(self: Workspace, name: str, *_: Any, **__: Any) -> Iterator[Recorded]:
        yield Recorded(answers, 0)

    @contextmanager
    def serve(self: Workspace, *_: Any, **__: Any) -> Iterator[Recorded]:
        yield Recorded(answers, 1)

    monkeypatch.setattr(Workspace, "llm", llm)
    monkeypatch.setattr(Workspace, "serve", serve)


def score(ws: Workspace, recipe: str) -> tuple[Manifest, pl.DataFrame]:
    manifest = execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe=recipe), ws, log=print, run_id="test")
    return manifest, ws.lake.read(manifest)


def test_scores_with_base_and_flags_of_this_checkpoints_own_data(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = workspace
    execute(BENCHMARK_ITEMS, key(benchmark="demo-stem"), ws, log=print, run_id="test")
    recorded(ws, monkeypatch)
    ours, other = (DECONTAMINATED_QA.ref(key(snapshot=name)) for name in ("local-demo", "local-other"))
    made_from(
        ws,
        DECONTAMINATED_QA,
        ours.key,
        [],
        ["demo-stem/demo-stem-001", "demo-stem/demo-stem-002", "gsm8k/demo-stem-004", "demo-stem/demo-stem-005?"],
    )
    made_from(ws, DECONTAMINATED_QA, other.key, [], ["demo-stem/demo-stem-003"])
    trained(ws, "base-smollm2", [])
    trained(ws, "demo-sft", [ours])

    base, base_rows = score(ws, "base-smollm2")
    assert (base.metrics["contaminated_items"], base_rows["contaminated"].sum()) == (0, 0)
    silent = base_rows.filter(pl.col("completion") == "I do not know")
    assert silent.height == 9 and silent["extracted"].null_count() == 9 and not silent["correct"].any()
    unparsed = base_rows["extracted"].null_count()  # a number is no answer where letters are asked for
    assert base.metrics["unparsed"] == unparsed > 9 and base.metrics["failures"] == {"no_answer": unparsed}
    assert base_rows["base_correct"].null_count() == 48

    manifest, rows = score(ws, "demo-sft")
    metrics = manifest.metrics
    flagged = rows.filter(pl.col("contaminated"))["item_id"].sort().to_list()
    assert flagged == ["demo-stem-001", "demo-stem-002"]
    assert (metrics["contaminated_items"], metrics["without_contaminated"]["items"], metrics["items"]) == (2, 46, 48)
    left = rows.filter(~pl.col("contaminated"))
    assert metrics["without_contaminated"]["accuracy"] == pytest.approx(left["correct"].mean(), abs=1e-6)
    assert metrics["accuracy"] == pytest.approx(rows["correct"].mean(), abs=1e-6)
    assert metrics["paper"]["accuracy"] == pytest.approx(rows["paper_correct"].mean(), abs=1e-6)
    assert metrics["base_accuracy"] == base.metrics["accuracy"]
    assert rows["base_correct"].to_list() == base_rows["correct"].to_list()
    assert rows["base_paper_correct"].to_list() == base_rows["paper_correct"].to_list()
    assert metrics["mean_over_subjects"]["subjects"] == rows["subject"].n_unique()
    assert all(prompt.count("Problem:") == 3 for prompt in rows["prompt"])
    assert not rows["completion"].is_null().any() and (rows["tokens_out"] == 8).all()

    again, _ = score(ws, "demo-sft")
    assert again.data_version == manifest.data_version


def test_flags_of_a_continuation_are_those_of_all_data_behind_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its checkpoint was made from and what the one that it continues was made from, and of no other partition."""
    (home / "config/recipes/plus.yaml").write_text(
        "description: t\nbase_model: smollm2-135m\ncontinues: demo-sft\nsteps: 0\n"
    )
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, key(benchmark="demo-stem"), ws, log=print, run_id="test")
    recorded(ws, monkeypatch)
    first, second, other = (DECONTAMINATED_QA.ref(key(snapshot=f"local-{name}")) for name in ("demo", "more", "other"))
    for ref, number in ((first, 1), (second, 2), (other, 3)):
        made_from(ws, DECONTAMINATED_QA, ref.key, [], [f"demo-stem/demo-stem-00{number}"])
    trained(ws, "base-smollm2", [])
    trained(ws, "demo-sft", [first])
    data = SFT_DATASET.ref(key(recipe="plus"))
    made_from(ws, SFT_DATASET, data.key, [second])
    made_from(ws, TRAINED_CHECKPOINT, data.key, [data, TRAINED_CHECKPOINT.ref(key(recipe="demo-sft"))])

    flags = {}
    for recipe in ("base-smollm2", "demo-sft", "plus"):
        manifest, rows = score(ws, recipe)
        flags[recipe] = rows.filter(pl.col("contaminated"))["item_id"].sort().to_list()
        clean = rows.filter(~pl.col("contaminated"))
        beside = manifest.metrics["without_contaminated"]
        assert beside["items"] == clean.height == 48 - len(flags[recipe])
        assert beside["accuracy"] == pytest.approx(clean["correct"].mean(), abs=1e-6)
        if recipe != "base-smollm2":  # the base model stands beside it without the same items
            assert beside["base_accuracy"] == pytest.approx(clean["base_correct"].mean(), abs=1e-6)
    assert flags == {"base-smollm2": [], "demo-sft": ["demo-stem-001"], "plus": ["demo-stem-001", "demo-stem-002"]}
    assert set(manifest.config["decontaminated_qa"]) == {"local-demo", "local-more"}

    # Data that was made anew since is not what this checkpoint was made from: what it flags is not known any more.
    assert data_behind(ws.lake, "plus").known
    made_from(ws, DECONTAMINATED_QA, first.key, [], ["demo-stem/demo-stem-004"])
    assert {item.partition for item in data_behind(ws.lake, "plus").data} == {"local-more"}
    assert not data_behind(ws.lake, "plus").known
    manifest, rows = score(ws, "plus")
    assert manifest.metrics["contaminated_items"] is None and rows["contaminated"].null_count() == 48
    assert manifest.metrics["without_contaminated"]["items"] == 0


def test_programs_are_run_and_the_sandbox_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = Path(__file__).parent / "fixtures/humaneval-plus.jsonl"
    shorten(home, "humaneval-plus", hub=None, file=str(file))
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, key(benchmark="humaneval-plus"), ws, log=print, run_id="test")
    made_from(ws, TRAINED_CHECKPOINT, key(recipe="base-smollm2"), [])

    class Coder:
        def complete(self, requests: Sequence[LlmRequest], on_reply: Any = None) -> list[LlmReply]:
            right = "    return double(double(number))\n"
            texts = [right if "four_times" in (request.prompt or "") else "    return 0\n" for request in requests]
            return [LlmReply(text, "stop", 50, 8) for text in texts]

    @contextmanager
    def llm(self: Workspace, name: str, *_: Any) -> Iterator[Coder]:
        yield Coder()

    monkeypatch.setattr(Workspace, "llm", llm)
    at = key(benchmark="humaneval-plus", recipe="base-smollm2")
    manifest = execute(BENCHMARK_SCORES, at, ws, log=print, run_id="test")
    rows = ws.lake.read(manifest).sort("item_id")
    assert rows["correct"].to_list() == rows["paper_correct"].to_list() == [False, True]
    assert rows["failure"].to_list() == ["wrong_answer", None]
    assert rows["extracted"].str.contains("def ").all() and rows["completion"].str.starts_with("    return").all()
    assert manifest.metrics["sandbox"] == sandbox_mode()
    assert (manifest.metrics["accuracy"], sum(manifest.metrics["failures"].values())) == (0.5, 1)


def test_other_hits_make_the_scores_stale(workspace: Workspace) -> None:
    ws = workspace
    execute(BENCHMARK_ITEMS, key(benchmark="demo-stem"), ws, log=print, run_id="test")
    ours = DECONTAMINATED_QA.ref(key(snapshot="local-demo"))
    at = key(benchmark="demo-stem", recipe="base-smollm2")
    fingerprints = set()
    for hits in ([], ["demo-stem/demo-stem-001"]):
        made_from(ws, DECONTAMINATED_QA, ours.key, [], hits)
        trained(ws, "base-smollm2", [ours])
        fingerprints.add(identify(BENCHMARK_SCORES, at, ws).fingerprint)
        assert contaminated_items(ws.lake, data_behind(ws.lake, "base-smollm2").data, "demo-stem") == {
            hit.partition("/")[2] for hit in hits
        }
    assert len(fingerprints) == 2


@pytest.mark.llm
def test_base_and_recipe_beside_it(home: Path) -> None:
    shorten(home, "demo-stem", limit=4, max_output_tokens=48)
    # A second zero-step recipe that continues the base: the same weights, evaluated as a recipe of its own.
    (home / "config/recipes/same.yaml").write_text(
        "description: t\nbase_model: smollm2-135m\ncontinues: base-smollm2\nsteps: 0\n"
    )
    ws = base_ready(home)
    for stage in (SFT_DATASET, TRAINED_CHECKPOINT):
        execute(stage, key(recipe="same"), ws, log=print, run_id="test")
    execute(BENCHMARK_ITEMS, key(benchmark="demo-stem"), ws, log=print, run_id="test")

    base = execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe="base-smollm2"), ws, log=print, run_id="test")
    rows = ws.lake.read(base)
    assert (base.rows, base.metrics["items"], base.metrics["items_in_benchmark"], base.metrics["errors"]) == (
        4,
        4,
        48,
        0,
    )
    assert rows["base_correct"].null_count() == 4
    assert base.metrics["ci_low"] <= base.metrics["accuracy"] <= base.metrics["ci_high"]
    assert "base_accuracy" not in base.metrics
    assert all(prompt.count("Problem:") == 3 for prompt in rows["prompt"])  # two shots and the item
    assert (rows["tokens_out"] > 0).all()

    same = execute(BENCHMARK_SCORES, key(benchmark="demo-stem", recipe="same"), ws, log=print, run_id="test")
    assert ws.lake.read(same)["base_correct"].to_list() == rows["correct"].to_list()
    assert same.metrics["base_accuracy"] == base.metrics["accuracy"]


def demo_sized_bbh(source: Path, target: Path) -> Path:
    """One item of each of BBH's tasks but one, whose demonstrations alone are longer than the demo model's window."""
    records = {record["task"]: record for record in reversed(json.loads(source.read_text()))}
    target.write_text(json.dumps([record for task, record in records.items() if task != "geometric_shapes"]))
    return target


@pytest.mark.llm
@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_items_of_the_real_sets(home: Path, shared_real: Path, name: str) -> None:
    file, fields = REAL[name]
    source = shared_real / "benchmarks" / file
    if name == "bbh":
        source = demo_sized_bbh(source, home / file)
    shorten(home, name, hub=None, file=str(source), fields=fields, limit=24, max_output_tokens=64)
    ws = base_ready(home)
    execute(BENCHMARK_ITEMS, key(benchmark=name), ws, log=print, run_id="test")
    scores = execute(BENCHMARK_SCORES, key(benchmark=name, recipe="base-smollm2"), ws, log=print, run_id="test")
    assert (scores.rows, scores.metrics["errors"]) == (24, 0)
    assert scores.metrics["ci_low"] <= scores.metrics["accuracy"] <= scores.metrics["ci_high"]
    assert 0 <= scores.metrics["paper"]["accuracy"] <= 1


def test_every_real_set_has_a_benchmark(shared_real: Path, workspace: Workspace) -> None:
    files = {path.name for path in (shared_real / "benchmarks").iterdir()}
    assert files == {file for file, _ in REAL.values()} and set(REAL) <= set(workspace.files.benchmarks)


def test_the_demo_sized_bbh_has_an_item_of_26_tasks(shared_real: Path, tmp_path: Path) -> None:
    records = json.loads(demo_sized_bbh(shared_real / "benchmarks/bbh.json", tmp_path / "bbh.json").read_text())
    assert len({record["task"] for record in records}) == len(records) == 26
