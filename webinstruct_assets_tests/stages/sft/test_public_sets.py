"""public_sets: every schema of the paper's public sets, every way a row can be wrong, and benchmark items in them."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from webinstruct_assets.core.config import DatasetConfig
from webinstruct_assets.core.errors import BadInput, ConfigError, MissingInput
from webinstruct_assets.core.ids import digest_file, row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute, identify
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.benchmarks.benchmark_items import BENCHMARK_ITEMS
from webinstruct_assets.stages.sft.public_rows import BadRow, messages_of
from webinstruct_assets.stages.sft.public_sets import PUBLIC_SETS
from webinstruct_assets.stages.sft.sft_dataset import SFT_DATASET, of_conversations
from webinstruct_assets.takedown import take_down

BENCHMARK = PartitionKey.of({"benchmark": "demo-stem"})
KEY = PartitionKey.of({"dataset": "trial"})
SHAREGPT = {"conversation": {"turns": "conversations", "role": "from", "content": "value"}}
MESSAGES = {"conversation": {"turns": "messages"}}


def config(**content: Any) -> DatasetConfig:
    return DatasetConfig.model_validate({"description": "t", "source": "path:x", **content})


def pair(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


OPENHERMES = {
    "source": "airoboros2.2", "category": "orca", "id": None, "system_prompt": None, "skip_prompt_formatting": False,
    "conversations": [
        {"from": "system", "value": "You are terse.", "weight": None}, {"from": "human", "value": "2 + 2?", "weight": 0.0},
        {"from": "gpt", "value": "4", "weight": 1.0},
    ],
}  # fmt: skip
CODE_FEEDBACK = {
    "id": 7,
    "messages": [*pair("Write a loop.", "for i in x: ..."), *pair("It fails: NameError", "x = range(3)")],
}


@pytest.mark.parametrize(
    ("schema", "record", "messages"),
    [
        (SHAREGPT, OPENHERMES, [{"role": "system", "content": "You are terse."}, *pair("2 + 2?", "4")]),
        (MESSAGES, CODE_FEEDBACK, CODE_FEEDBACK["messages"]),
        ({"pair": {"question": "instruction", "answer": "output"}},  # MATH-plus, MathInstruct
         {"source": "data/CoT/gsm_train.json", "instruction": "Q", "output": "A"}, pair("Q", "A")),
        ({"pair": {"question": "query", "answer": "response"}},  # MetaMathQA
         {"type": "MATH_AnsAug", "query": "Q", "original_question": "O", "response": "A"}, pair("Q", "A")),
        ({"pair": {"question": "question", "answer": "answer"}}, {"question": "Q", "answer": "A"}, pair("Q", "A")),  # Orca-Math
        (SHAREGPT, {"conversations": [{"from": "system", "value": ""}, *OPENHERMES["conversations"][1:]]}, pair("2 + 2?", "4")),
    ],
)  # fmt: skip
def test_schemas(schema: dict[str, Any], record: dict[str, Any], messages: list[dict[str, str]]) -> None:
    assert messages_of(record, config(**schema)) == messages


def turns(*items: Any) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": value} for role, value in items]}


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ([1], "unreadable", "list instead of an object"),
        ({}, "bad_field", "conversations: NoneType instead of a list"),
        ({"conversations": ["hello"]}, "bad_field", r"conversations\[0\]: str"),
        (turns(("human", "a"), ("tool", "b")), "bad_field", r"conversations\[1\]\.from: 'tool'"),
        (turns(("human", "a"), ("gpt", 3)), "bad_field", r"conversations\[1\]\.value: int"),
        (turns(("human", "a"), ("gpt", " ")), "bad_field", r"conversations\[1\]\.value: empty"),
        (turns(), "bad_order", "no turn"),
        (turns(("human", "a")), "bad_order", "user"),
        (turns(("gpt", "a"), ("human", "b")), "bad_order", "assistant, user"),
        (turns(("human", "a"), ("human", "b")), "bad_order", "user, user"),
        (turns(("human", "a"), ("gpt", "b"), ("system", "c")), "bad_order", "alternate"),
    ],
)
def test_bad_rows_have_a_reason(record: Any, reason: str, detail: str) -> None:
    with pytest.raises(BadRow, match=detail) as caught:
        messages_of(record, config(**SHAREGPT))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"source": "path:x"}, "exactly one of"),
        ({"source": "path:x", **SHAREGPT, "pair": {"question": "q", "answer": "a"}}, "exactly one of"),
        ({"source": "hub:a/b", **SHAREGPT}, "revision"),
        ({"source": "path:x", "revision": "abc", **SHAREGPT}, "revision"),
        ({"source": "ftp:x", **SHAREGPT}, "field 'source'"),
        ({"source": "path:x", "conversation": {"turns": "t", "roles": {"human": "bot"}}}, "roles.human"),
    ],
)
def test_bad_files_are_refused(home: Path, content: dict[str, Any], problem: str) -> None:
    write(home, **content)
    with pytest.raises(ConfigError, match=rf"datasets/trial\.yaml.*{problem}"):
        Workspace.open(home)


def write(home: Path, **content: Any) -> None:
    (home / "config/datasets/trial.yaml").write_text(yaml.safe_dump({"description": "t", **content}))


def build(home: Path) -> tuple[Workspace, Manifest]:
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, BENCHMARK, ws, log=print, run_id="test")
    return ws, execute(PUBLIC_SETS, KEY, ws, log=print, run_id="test")


def test_the_demo_set_through_the_lake(home: Path) -> None:
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, BENCHMARK, ws, log=print, run_id="test")
    key = PartitionKey.of({"dataset": "demo-public"})
    manifest = execute(PUBLIC_SETS, key, ws, log=print, run_id="test")
    assert (manifest.rows_in, manifest.rows) == (20, 18)
    assert manifest.rejected == {"bad_order": 1, "contaminated": 1}
    rows = ws.lake.read(manifest)
    revision = f"sha256:{digest_file(home / 'data/demo/public/conversations.jsonl')}"
    assert rows["id"].to_list() == [row_id("ps", "demo-public", revision, row) for row in rows["row"]]
    assert set(rows["revision"]) == {revision} and rows["row"].to_list() == list(range(18))
    rejects = pl.read_parquet(ws.lake.reject_paths(manifest)).sort("reason")
    assert rejects["detail"].str.starts_with("row ").all()
    assert "demo-stem/demo-stem-005 (question)" in rejects["detail"][1]
    hits = pl.read_parquet(ws.lake.file(manifest, "hits.parquet"))
    assert set(hits["item_id"]) == {"demo-stem-005"} and set(hits["pair_id"]) == {rejects["id"][1]}


def test_a_row_that_is_taken_down_is_out_of_later_versions(home: Path) -> None:
    ws = Workspace.open(home)
    execute(BENCHMARK_ITEMS, BENCHMARK, ws, log=print, run_id="test")
    key, recipe = PartitionKey.of({"dataset": "demo-public"}), PartitionKey.of({"recipe": "demo-plus"})
    execute(PUBLIC_SETS, key, ws, log=print, run_id="test")
    before = execute(SFT_DATASET, recipe, ws, log=print, run_id="test")
    take_down(ws, "pair", ws.lake.read(before)["id"][0], "the author asked", "ada")
    public = execute(PUBLIC_SETS, key, ws, log=print, run_id="test")
    assert (public.rows, public.rejected["taken_down"]) == (17, 1)
    after = execute(SFT_DATASET, recipe, ws, log=print, run_id="test")
    assert (before.rows, after.rows, after.rejected) == (18, 17, {})


def test_lines_that_are_no_json_and_every_kind_of_file(home: Path, tmp_path: Path) -> None:
    records = [{"question": f"What is {number}?", "answer": "A number."} for number in range(3)]
    lines = "\n\n".join(map(json.dumps, records)).encode()
    (tmp_path / "a.jsonl").write_bytes(lines + b'\n{"question": \xff\n')
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as stream:
        stream.write(lines)
    pl.DataFrame(records).write_parquet(tmp_path / "a.parquet")
    kept = []
    for name, rejected in (("a.jsonl", {"unreadable": 1}), ("a.jsonl.gz", {}), ("a.parquet", {})):
        write(home, source=f"path:{tmp_path / name}", pair={"question": "question", "answer": "answer"})
        ws, manifest = build(home)
        assert manifest.rejected == rejected
        kept.append(ws.lake.read(manifest)["messages"].to_list())
    assert kept[0] == kept[1] == kept[2] == [pair(record["question"], "A number.") for record in records]
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match=r"a\.parquet: not readable as Parquet"):
        build(home)
    (tmp_path / "a.parquet").unlink()
    with pytest.raises(MissingInput, match=r"dataset 'trial': .*a\.parquet does not exist"):
        build(home)


def test_what_bears_on_the_rows_is_in_the_identity(home: Path, tmp_path: Path) -> None:
    fingerprints = set()
    execute(BENCHMARK_ITEMS, BENCHMARK, Workspace.open(home), log=print, run_id="test")
    for text, field in (('{"a": "x", "b": "y"}', "a"), ('{"a": "z", "b": "y"}', "a"), ('{"a": "z", "b": "y"}', "b")):
        (tmp_path / "a.jsonl").write_text(text)
        write(home, source=f"path:{tmp_path}/a.jsonl", pair={"question": field, "answer": "b"})
        fingerprints.add(identify(PUBLIC_SETS, KEY, Workspace.open(home)).fingerprint)
    assert len(fingerprints) == 3


def test_all_turns_of_a_conversation_are_compared() -> None:
    rows = pl.DataFrame({"id": ["ps-1"], "messages": [[*pair("a", "b"), *pair("c", "d e")]]})
    (row,) = of_conversations(rows, 3).to_dicts()
    assert (row["question"], row["answer"], row["answer_words"], row["group"]) == ("a\n\nc", "b\n\nd e", 3, 3)
