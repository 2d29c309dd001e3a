"""deduplicated_qa: planted duplicates go with the counts expected, different exercises stay, whatever was killed."""

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webinstruct_assets.core.config import DuplicatesConfig
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.manifest import Manifest
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.duplicates import deduplicated_qa, near
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.duplicates.near import Block, clusters
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
QUESTION = (
    "A block of 4 kg slides down a smooth ramp that is inclined at 30 degrees. What is its acceleration along the ramp?"
)
ANSWER = (
    "Only the part of its weight along the ramp counts, so the acceleration is 9.8 times the sine of 30 degrees, 4.9."
)


def run(workspace: Workspace, pairs: dict[str, tuple[str, str]]) -> Manifest:
    rows = [
        filled(DECONTAMINATED_QA, id=f"dq-{name}", parent_id=f"qa-{name}", question=question, answer=answer)
        for name, (question, answer) in pairs.items()
    ]
    publish(workspace, DECONTAMINATED_QA, SNAPSHOT, rows)
    return execute(DEDUPLICATED_QA, SNAPSHOT, workspace, log=print, run_id="test")


def rejects(workspace: Workspace, manifest: Manifest) -> dict[str, tuple[str, str]]:
    paths = workspace.lake.reject_paths(manifest)
    frame = pl.read_parquet(paths) if paths else pl.DataFrame()
    return {row["id"]: (row["reason"], row["detail"]) for row in frame.iter_rows(named=True)}


def test_planted_duplicates_go_and_others_stay(workspace: Workspace) -> None:
    pairs = {
        "1": (QUESTION, ANSWER),
        "2": (QUESTION.upper(), f"  {ANSWER}\n"),  # exact but for case and spacing
        "3": (QUESTION.replace("smooth", "perfectly smooth"), ANSWER + " This is half of the free fall's."),  # near, longer
        "4": (QUESTION.replace("A block", "One block"), "Take the sine of 30 degrees, one half: 4.9 metres per second squared."),
        "5": (QUESTION.replace("4 kg", "5 kg"), ANSWER),  # another exercise: another number
        "6": (QUESTION.replace("What is its", "What is not its"), ANSWER),  # asks for the contrary
        "7": ("Is it so?", "Yes, because of the law of large numbers."),
        "8": ("Is it so?", "No, energy is conserved."),  # a short question alone says nothing
        "9": ("Why is the sky blue?", "Air scatters light of short waves much more than that of long ones."),
    }  # fmt: skip
    manifest = run(workspace, pairs)
    kept = {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}
    assert set(kept) == {"dq-3", "dq-5", "dq-6", "dq-7", "dq-8", "dq-9"}  # of a cluster the longest answer
    assert kept["dq-3"]["n_duplicates"] == 3 and kept["dq-9"]["n_duplicates"] == 0
    gone = rejects(workspace, manifest)
    assert {name: reason for name, (reason, _) in gone.items()} == dict.fromkeys(
        ["dq-1", "dq-2", "dq-4"], "duplicate_near"
    )
    assert all(row_id("dd", "dq-3") in detail and "(dq-3): question " in detail for _, detail in gone.values())
    assert manifest.rows_in == 9 == manifest.rows + manifest.rejected_total
    listed = pl.read_parquet(workspace.lake.file(manifest, "clusters.parquet"))
    assert dict(listed.select("id", "kept").iter_rows()) == dict.fromkeys(["dq-1", "dq-2", "dq-3", "dq-4"], "dq-3")
    assert (manifest.metrics["clusters"], manifest.metrics["largest_cluster"]) == (1, 4)


def test_exact_duplicates_name_the_one_that_stays(workspace: Workspace) -> None:
    manifest = run(
        workspace, {"b": (r"Solve $x + 1 = 2$.", "1"), "a": (r"solve \(x+1=2\)", "1."), "c": ("Solve x - 1 = 2.", "1")}
    )
    assert workspace.lake.read(manifest)["parent_id"].to_list() == ["dq-a", "dq-c"]
    reason, detail = rejects(workspace, manifest)["dq-b"]
    assert reason == "duplicate_exact" and detail == f"same question and answer as {row_id('dd', 'dq-a')} (dq-a)"


@pytest.mark.parametrize("left", ["nothing", "bands", "candidates"])
def test_a_killed_run_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """Whatever step it died in, the next run makes the same bytes from what was finished."""
    chooser = random.Random(0)
    pairs = {f"{n:03}": (f"{QUESTION} {chooser.random()}", f"{ANSWER} {n}") for n in range(60)}
    pairs |= {f"copy-{n:03}": (pairs[f"{n:03}"][0].lower(), pairs[f"{n:03}"][1]) for n in range(0, 60, 3)}
    whole = run(workspace, pairs)
    assert whole.rejected == {"duplicate_exact": 20}
    folder = workspace.lake.folder(DEDUPLICATED_QA.ref(SNAPSHOT))
    (folder / "manifest.json").unlink()
    for path in (folder / whole.data_dir).glob("*"):
        path.unlink()

    class Killed(Exception):
        pass

    step = {"nothing": "_bands", "bands": "_candidates", "candidates": "flatten"}[left]

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if step == "flatten":
            patch.setattr(near._Verifier, "block", die)
        else:
            patch.setattr(near, step, die)
        with pytest.raises(Killed):
            execute(DEDUPLICATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    with monkeypatch.context() as patch:
        if left != "nothing":
            patch.setattr(near, "_bands", die)  # done already, so it is not asked for again
        again = execute(DEDUPLICATED_QA, SNAPSHOT, workspace, log=print, run_id="test")
    assert again.data_version == whole.data_version


def test_blocks_do_not_change_the_clusters(tmp_path: Path) -> None:
    chooser = random.Random(1)
    pairs = [(f"{QUESTION} {n // 3}", " ".join(chooser.choices(ANSWER.split(), k=25))) for n in range(90)]
    frame = pl.DataFrame({"question": [q for q, _ in pairs], "answer": [a for _, a in pairs]})
    found = []
    for size in (90, 7):
        blocks = [
            Block(first, min(size, 90 - first), lambda first=first, size=size: frame[first : first + size])
            for first in range(0, 90, size)
        ]
        found.append(clusters(blocks, DuplicatesConfig(), tmp_path / str(size))[0].tolist())
    assert found[0] == found[1] == [n - n % 3 for n in range(90)]


WORDS = [
    "the",
    "mass",
    "of",
    "a",
    "body",
    "is",
    "what",
    "moves",
    "it",
    "when",
    "forces",
    "act",
    "on",
    "its",
    "centre",
    "and",
    "nothing",
    "else",
    "3",
    "7",
    "not",
]


def compared(chooser: random.Random, scratch: Path) -> tuple[int, int]:
    """Joins that comparing all pairs makes, and how many of them LSH missed; it makes no others."""
    pairs: list[tuple[str, str]] = []
    for _ in range(30):
        if pairs and chooser.random() < 0.5:
            question, answer = (text.split() for text in chooser.choice(pairs))
            side = question if chooser.random() < 0.5 else answer
            side[chooser.randrange(len(side))] = chooser.choice(WORDS)
            pairs.append((" ".join(question), " ".join(answer)))
        else:
            pairs.append((" ".join(chooser.choices(WORDS, k=20)), " ".join(chooser.choices(WORDS, k=20))))
    frame = pl.DataFrame({"question": [q for q, _ in pairs], "answer": [a for _, a in pairs]})
    rule = DuplicatesConfig()
    found, edges = clusters([Block(0, 30, lambda: frame)], rule, scratch)

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[place : place + rule.shingle]) for place in range(len(words) - rule.shingle + 1)}

    def similar(one: str, other: str) -> float:
        if sorted(w for w in one.split() if w in ("3", "7", "not")) != sorted(
            w for w in other.split() if w in ("3", "7", "not")
        ):
            return 0.0
        a, b = shingles(one), shingles(other)
        return len(a & b) / len(a | b)

    expected = {
        (i, j)
        for j in range(30)
        for i in range(j)
        if pair_digest(*pairs[i]) == pair_digest(*pairs[j])
        or similar(pairs[i][0], pairs[j][0]) >= rule.question_jaccard
        or similar(" ".join(pairs[i]), " ".join(pairs[j])) >= rule.pair_jaccard
    }
    assert set(edges.select("first", "second").iter_rows()) <= expected
    wanted = list(range(30))
    for one, other in sorted(expected):
        old, new = max(wanted[one], wanted[other]), min(wanted[one], wanted[other])
        wanted = [new if label == old else label for label in wanted]
    return 30 - len(set(wanted)), len(set(found.tolist())) - len(set(wanted))


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_nothing_is_joined_that_the_rule_does_not_say(
    tmp_path_factory: pytest.TempPathFactory, chooser: random.Random
) -> None:
    compared(chooser, tmp_path_factory.mktemp("near"))


def test_candidates_miss_next_to_nothing(tmp_path: Path) -> None:
    counts = [compared(random.Random(seed), tmp_path / str(seed)) for seed in range(25)]
    joins, missed = (sum(column) for column in zip(*counts, strict=True))
    assert joins > 100 and missed <= 0.02 * joins, (joins, missed)


def test_precision_on_the_real_exercises(shared_real: Path, tmp_path: Path) -> None:
    """Exercises of a published set are all different ones; copies with a word added or the case changed are found."""
    lines = [json.loads(line) for line in (shared_real / "benchmarks/gsm8k_test.jsonl").read_text().splitlines()]
    pairs = [(entry["question"], entry["answer"]) for entry in lines]
    copies = [(f"Please help! {question.upper()}", f"{answer} Done.") for question, answer in pairs[::10]]
    frame = pl.DataFrame({"question": [q for q, _ in pairs + copies], "answer": [a for _, a in pairs + copies]})
    found, _ = clusters([Block(0, frame.height, lambda: frame)], DuplicatesConfig(), tmp_path)
    assert [int(row) for row in found[: len(pairs)] if found[row] != row] == []
    assert [row for row in range(len(pairs)) if found[row] != row] == []
    caught = sum(found[len(pairs) + place] == 10 * place for place in range(len(copies)))
    assert caught >= 0.98 * len(copies)


def test_units_are_the_parts_of_the_input(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplicated_qa, "PAIRS_PER_UNIT", 1)
    manifest = run(workspace, {"1": (QUESTION, ANSWER), "2": (QUESTION, ANSWER)})
    assert (manifest.rows_in, manifest.rows, manifest.rejected) == (2, 1, {"duplicate_exact": 1})


def test_signs_count_however_they_are_typed() -> None:
    from webinstruct_assets.stages.duplicates.shingles import shingle

    typed = [
        r"$50^\circ$, $3 \times 4 \leq \frac{1}{\alpha}$",
        "50°, 3 · 4 ≤ 1/α",
        "50°, 3 + 4 ≤ 1/α",
        "50°, 3 · 4 ≥ 1/α",
    ]
    guards = shingle(typed, [""] * 4, 3)[0].guards
    assert guards[0] == guards[1] and len(set(guards.tolist())) == 3
