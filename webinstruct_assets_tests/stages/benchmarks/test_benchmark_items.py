"""benchmark_items: every shape of source that ../shared/real has, and every way a file can be wrong."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.core.config import BenchmarkConfig
from webinstruct_assets.core.errors import BadInput, ConfigError, MissingInput
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute, identify
from webinstruct_assets.core.workspace import PROJECT_ROOT, Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.benchmarks.items import BadItem, to_item
from webinstruct_assets.stages.benchmarks.sources import read_records

KEY = PartitionKey.of({"benchmark": "trial"})


def configure(home: Path, file: Path | None, fields: dict[str, str], **more: Any) -> Workspace:
    """A workspace with the benchmark ``trial``."""
    content = {
        "description": "trial",
        "file": str(file) if file else None,
        "fields": fields,
        "fewshot": "none.jsonl",
        "shots": 0,
        "grader": "mixed",
    }
    (home / "config/benchmarks/trial.yaml").write_text(yaml.safe_dump({**content, **more}))
    return Workspace.open(home)


def load(ws: Workspace) -> tuple[Manifest, pl.DataFrame]:
    manifest = execute(BENCHMARK_ITEMS, KEY, ws, log=lambda line: None, run_id="test")
    return manifest, ws.lake.read(manifest)


def item(record: dict[str, Any], fields: dict[str, str], **more: Any) -> Any:
    config = {"description": "", "fields": fields, "fewshot": "x", "shots": 0, "grader": "mixed", **more}
    return to_item(record, 1, BenchmarkConfig.model_validate(config))


REAL = {
    "gsm8k_test.jsonl": ({"question": "question", "answer": "answer", "solution": "answer"}, "#### ", 1319, "18"),
    "math_500_of_test.jsonl": ({"id": "id", "question": "problem", "answer": "solution"}, "\\boxed", 500, "i"),
    "theoremqa_test.json": ({"id": "id", "question": "Question", "answer": "Answer"}, None, 800, "11760"),
    "mmlu_stem.json": ({"question": "question", "answer": "answer", "choices": "choices"}, None, 3134, "C"),
    "arc_challenge.json": ({"question": "question", "answer": "answer"}, None, 1172, "C"),
    "bbh.json": ({"question": "question", "answer": "answer"}, None, 6511, "False"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_file(home: Path, shared_real: Path, name: str) -> None:
    fields, after, count, first = REAL[name]
    manifest, rows = load(configure(home, shared_real / "benchmarks" / name, fields, answer_after=after))
    assert (manifest.rows_in, manifest.rows, manifest.rejected) == (count, count, {})
    assert rows["answer"][0] == first
    assert rows["id"].n_unique() == count
    assert not rows["question"].is_null().any()


def test_gzipped_file_and_its_digest_is_the_identity(home: Path, shared_real: Path) -> None:
    text = (shared_real / "benchmarks/gsm8k_test.jsonl").read_bytes()[:200_000].rpartition(b"\n")[0]
    file = home / "part.jsonl.gz"
    file.write_bytes(gzip.compress(text))
    ws = configure(home, file, {"question": "question", "answer": "answer"}, answer_after="#### ")
    manifest, rows = load(ws)
    assert rows.height == text.count(b"\n") + 1
    before = identify(BENCHMARK_ITEMS, KEY, ws).fingerprint
    file.write_bytes(gzip.compress(text.replace(b"Janet", b"Agnes")))
    assert identify(BENCHMARK_ITEMS, KEY, ws).fingerprint != before == manifest.fingerprint


def test_records_without_a_field_are_rejects_naming_record_and_field(home: Path) -> None:
    records = [
        {"id": "a", "q": "What is 1+1?", "a": "2"},
        {"id": "b", "q": "What?"},
        {"id": "a", "q": "Again?", "a": "3"},
        {"q": " ", "id": "d", "a": "1"},
    ]
    file = home / "items.json"
    file.write_text(json.dumps(records))
    ws = configure(home, file, {"id": "id", "question": "q", "answer": "a"})
    manifest, rows = load(ws)
    assert rows["item_id"].to_list() == ["a"]
    assert manifest.rejected == {"duplicate_id": 1, "missing_field": 2}
    details = pl.read_parquet(ws.lake.reject_paths(manifest))["detail"].to_list()
    assert any("record 2: field 'a': missing or empty" in detail for detail in details)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("x.json", b'{"question": "q"}', ["x.json", "record 1", "list"]),
        ("x.json", b'[{"question": "q", "answer": "a"}, 7]', ["x.json", "record 2", "int"]),
        ("x.jsonl", b'{"question": "q", "answer": "a"}\n{"question": \n', ["x.jsonl", "record 2", "line 2"]),
        ("x.jsonl", b'{"Frage": "q", "answer": "a"}\n', ["x.jsonl", "record 1", "question"]),
        ("x.jsonl", b"", ["x.jsonl", "empty"]),
        ("x.jsonl", b"\xff\xfe\x00", ["x.jsonl", "record 1 (line 1)", "'utf-8' codec"]),
        ("x.jsonl.gz", b"not gzip", ["x.jsonl.gz", "gzipped"]),
        ("x.jsonl.gz", gzip.compress(b"{}" * 9999)[:12] + b"damaged", ["x.jsonl.gz", "not readable"]),
        ("x.json", b"[" * 100_000, ["x.json", "too deep"]),
        ("x.jsonl", b'{"question": ' + b"[" * 100_000 + b"\n", ["x.jsonl", "record 1", "too deep"]),
    ],
)
def test_wrong_shape(home: Path, file: str, content: bytes, words: list[str]) -> None:
    (home / file).write_bytes(content)
    with pytest.raises(BadInput) as caught:
        load(configure(home, home / file, {"question": "question", "answer": "answer"}))
    assert all(word in caught.value.problem for word in words), caught.value.problem
    assert caught.value.fix


def test_missing_file_names_benchmark_and_fix(home: Path) -> None:
    with pytest.raises(MissingInput, match=r"'trial'.*gone\.jsonl") as caught:
        load(configure(home, Path("data/gone.jsonl"), {"question": "q", "answer": "a"}))
    assert "config/benchmarks/trial.yaml" in caught.value.fix


def test_neither_file_nor_hub(home: Path) -> None:
    with pytest.raises(ConfigError, match="neither 'file' nor 'hub'"):
        load(configure(home, None, {"question": "q", "answer": "a"}))


def test_unknown_benchmark(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="no benchmark 'trial'"):
        load(workspace)


def test_hub_shapes() -> None:
    """ARC's nested choices with either kind of label, and GPQA's four text fields in an order fixed by the id."""
    arc = {"id": "id", "question": "question", "answer": "answerKey", "choices": "choices.text"}
    record = {
        "id": "x",
        "question": "Which?",
        "choices": {"text": ["p", "q", "r"], "label": ["A", "B", "C"]},
        "answerKey": "B",
    }
    assert item(record, arc).answer == "B"
    assert item({**record, "answerKey": "3"}, arc).answer == "C"
    with pytest.raises(BadItem, match="none of the 3 choices"):
        item({**record, "answerKey": "E"}, arc)
    gpqa = {
        "id": "Record ID",
        "question": "Question",
        "answer": "Correct Answer",
        "choices": "Correct Answer|Incorrect Answer 1|Incorrect Answer 2",
    }
    letters = set()
    for number in range(20):
        record = {
            "Record ID": f"rec{number}",
            "Question": "?",
            "Correct Answer": "right",
            "Incorrect Answer 1": "w1",
            "Incorrect Answer 2": "w2",
        }
        one, two = item(record, gpqa), item(record, gpqa)
        assert one == two and one.choices["ABC".index(one.answer)] == "right"
        letters.add(one.answer)
    assert letters == {"A", "B", "C"}


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("so $\\boxed{3}$ no, $\\boxed{\\frac{1}{\\sqrt{2}}}$.", "\\frac{1}{\\sqrt{2}}"),
        ("therefore $\\boxed 7$ apples", "7"),
        ("$\\boxed{\\text{(A)}}$", "\\text{(A)}"),
    ],
)
def test_boxed_answer(solution: str, answer: str) -> None:
    assert item({"q": "?", "s": solution}, {"question": "q", "answer": "s"}, answer_after="\\boxed").answer == answer


def test_answer_without_marker() -> None:
    with pytest.raises(BadItem, match="#### "):
        item({"q": "?", "s": "no mark"}, {"question": "q", "answer": "s"}, answer_after="#### ")


def test_demonstrations_are_no_items_of_the_real_sets(shared_real: Path) -> None:
    from webinstruct_assets.stages.evaluation.graders.corrected import same_words

    shown = {
        same_words(record["question"])
        for path in (PROJECT_ROOT / "data/benchmarks").glob("*-fewshot.jsonl")
        for record in read_records(path)
    }
    assert len(shown) == 100  # BBH's three tasks of object swapping show the same, as do its three of deduction
    for name, (fields, *_) in REAL.items():
        tested = {
            same_words(record[fields["question"]].split("\nOptions are:")[0])
            for record in read_records(shared_real / "benchmarks" / name)
        }
        assert not shown & tested, name


HUMANEVAL = {
    "id": "task_id", "question": "prompt", "answer": "canonical_solution", "tests": "test", "entry_point": "entry_point",
}  # fmt: skip
MBPP = {
    "id": "task_id",
    "question": "prompt",
    "answer": "code",
    "tests": "test_imports|test_list",
    "example": "test_list",
}


def test_programs_keep_their_white_space(home: Path, shared_real: Path) -> None:
    file = shared_real / "benchmarks/HumanEval.jsonl.gz"
    ws = configure(home, file, HUMANEVAL, grader="code", task="code_completion")
    manifest, rows = load(ws)
    assert (manifest.rows_in, manifest.rows, manifest.rejected) == (164, 164, {})
    first = rows.row(0, named=True)
    assert first["item_id"] == "HumanEval/0" and first["entry_point"] == "has_close_elements"
    assert first["question"].endswith('    """\n') and first["answer"].startswith("    for idx")
    assert first["tests"].endswith("\n\ncheck(has_close_elements)")


def test_tests_in_a_list_and_the_one_that_is_shown() -> None:
    record = {
        "task_id": 7, "prompt": "Write a function to double a number. ", "code": "def double(n):\n    return 2 * n",
        "test_imports": ["import math"], "test_list": ["assert double(2) == 4", "assert double(math.pi) == math.tau"],
    }  # fmt: skip
    code = {"grader": "code", "task": "code_from_description"}
    found = item(record, MBPP, **code)
    assert found.question == "Write a function to double a number.\nassert double(2) == 4"
    assert found.tests == "import math\nassert double(2) == 4\nassert double(math.pi) == math.tau"
    assert found.entry_point is None
    with pytest.raises(BadItem, match=r"'test_list': neither a text nor a list"):
        item({**record, "test_list": 3}, MBPP, **code)
    with pytest.raises(BadItem, match="no tests"):
        item({**record, "test_imports": [], "test_list": [""]}, MBPP, **code)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"grader": "code"}, "fields.tests"),
        ({"shots": 2, "fewshot": None}, "fewshot"),
        ({"task": "code_completion"}, "grader `code`"),
    ],
)
def test_settings_that_contradict_each_other(home: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        configure(home, Path("x.json"), {"question": "q", "answer": "a"}, **more)


def test_every_set_of_the_hub_is_pinned_to_a_commit(workspace: Workspace) -> None:
    """Offline the files say which data is meant; the demonstrations' split and files beside it are of the same commit."""
    hubs = {name: config for name, config in workspace.files.benchmarks.items() if config.hub}
    assert len(hubs) == 16
    assert {name for name, config in hubs.items() if not re.fullmatch("[0-9a-f]{40}", config.revision or "")} == set()
