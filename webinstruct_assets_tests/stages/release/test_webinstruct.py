"""webinstruct as a stage: pooling, exact duplicates, labels by rule and by recorded replies, metrics on gold."""

import json
from typing import Any

import polars as pl
import pytest

from webinstruct_assets.core.config import ModelConfig
from webinstruct_assets.core.ids import row_id
from webinstruct_assets.core.keys import PartitionKey
from webinstruct_assets.core.llm.ledger import Ledger
from webinstruct_assets.core.stage import execute
from webinstruct_assets.core.workspace import Workspace
from webinstruct_assets.stages.decontamination.decontaminated_qa import DECONTAMINATED_QA
from webinstruct_assets.stages.duplicates.deduplicated_qa import DEDUPLICATED_QA
from webinstruct_assets.stages.extraction.extracted_qa import EXTRACTED_QA
from webinstruct_assets.stages.pages.pages import PAGES
from webinstruct_assets.stages.recall.recalled_urls import RECALLED_URLS
from webinstruct_assets.stages.refinement.answers import final_answer
from webinstruct_assets.stages.refinement.refined_qa import REFINED_QA
from webinstruct_assets.stages.release.labels import label_request, load_label_prompt
from webinstruct_assets.stages.release.levels import LEVELS, level_by_rule
from webinstruct_assets.stages.release.source_types import SOURCE_TYPES
from webinstruct_assets.stages.release.subjects import SUBJECTS
from webinstruct_assets.stages.release.webinstruct import WEBINSTRUCT, language_of, rules_on_gold
from webinstruct_assets.stages.release.webinstruct_release import WEBINSTRUCT_RELEASE
from webinstruct_assets_tests.partitions import filled, publish

SNAPSHOT = PartitionKey.of({"snapshot": "local-demo"})
FORMAT, STEPS = "smollm2-format", "smollm2-steps"


def refined(number: int, url: str, question: str, answer: str, status: str = "refined", **more: Any) -> dict[str, Any]:
    final = final_answer(question, answer)
    return filled(
        REFINED_QA, id=f"rq-{number}", url=url, domain=url.split("/")[2], question=question, answer=answer, status=status,
        **{"parent_id": f"dd-{number}", "reasoning_added": False, "final_after": str(final), "answer_type": final.kind, **more},
    )  # fmt: skip


def publish_ancestors(workspace: Workspace, numbers: range = range(1, 7)) -> None:
    """One chain down to a WARC record per pair."""
    for stage, prefix, above in (
        (DEDUPLICATED_QA, "dd", "dq"), (DECONTAMINATED_QA, "dq", "qa"), (EXTRACTED_QA, "qa", "pg"), (PAGES, "pg", "ur"), (RECALLED_URLS, "ur", "r2"),
    ):  # fmt: skip
        rows = [filled(stage, id=f"{prefix}-{n}", parent_id=f"{above}-{n}") for n in numbers]
        if stage is RECALLED_URLS:
            rows = [
                {**row, "warc_filename": "x.warc.gz", "warc_record_offset": 10 * n}
                for n, row in zip(numbers, rows, strict=True)
            ]
        publish(workspace, stage, SNAPSHOT, rows)


def prepare(workspace: Workspace, refiners: list[str]) -> None:
    dead = ModelConfig(source="hub:some/model", base_url="http://127.0.0.1:9/v1", served_name="m")
    workspace.files.environment = workspace.config.model_copy(
        update={"models": {"smollm2-135m": dead}, "refiners": refiners}
    )
    rows = {
        FORMAT: [
            refined(1, "https://quizlemma.example/quizzes/a", "Find the derivative of the polynomial.", r"\(3x^2\)", "unchanged"),
            refined(2, "https://quizlemma.example/quizzes/a", "How many are left?", "Four of them."),
            refined(3, "https://late-night.example/b", "What is the acceleration of the block?", "It falls, so 9.8 m/s²."),
        ],
        STEPS: [refined(4, "https://quizlemma.example/quizzes/a", "Find the  derivative of the polynomial", r"$3x^2$.")],
    }  # fmt: skip
    publish_ancestors(workspace)
    for refiner in refiners:
        publish(workspace, REFINED_QA, PartitionKey.of({"refiner": refiner, "snapshot": "local-demo"}), rows[refiner])


LEVELLED = ("Find the derivative of the polynomial.", "How many are left?", "What is the acceleration of the block?",
            "Find the  derivative of the polynomial")  # fmt: skip


def record(workspace: Workspace, subject: str = '{"label": "Other"}') -> None:
    identity = workspace.model_identity("smollm2-135m")
    ledger = Ledger(workspace.root / "data/llm/ledger.sqlite")
    host = "Host: late-night.example\nPages:\n- /b\nA question there: What is the acceleration of the block?"
    asked = [
        (label_request(load_label_prompt("subject.yaml"), SUBJECTS, "How many are left?\nFour of them.", ""), subject),
        (label_request(load_label_prompt("source_type.yaml"), SOURCE_TYPES, host, ""), '{"label": "forum"}'),
    ]
    answers = (r"\(3x^2\)", "Four of them.", "It falls, so 9.8 m/s².", r"$3x^2$.")
    for question, answer in zip(LEVELLED, answers, strict=True):  # asked about only where a model for levels is named
        level = label_request(load_label_prompt("level.yaml"), LEVELS, f"{question}\n{answer}", "")
        asked.append((level, '{"label": "secondary"}'))
    for request, text in asked:
        ledger.put(
            request.key(identity), identity, {"text": text, "finish_reason": "stop", "tokens_in": 1, "tokens_out": 1}
        )


def test_both_refiners_are_pooled_without_duplicates(workspace: Workspace) -> None:
    prepare(workspace, [FORMAT, STEPS])
    record(workspace)
    manifest = execute(WEBINSTRUCT, SNAPSHOT, workspace, log=print, run_id="test")
    rows = {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}
    labels = {
        name: (row["refiner"], row["subject"], row["subject_by"], row["source_type"], row["source_type_by"])
        for name, row in rows.items()
    }
    assert labels == {
        "rq-2": (FORMAT, "Other", "llm", "education", "rule"),
        "rq-3": (FORMAT, "Physics", "rule", "forum", "llm"),
        "rq-4": (STEPS, "Mathematics", "rule", "education", "rule"),  # refined beats unchanged
    }
    (reject,) = pl.read_parquet(workspace.lake.reject_paths(manifest)).iter_rows(named=True)
    assert (reject["id"], reject["parent_id"], reject["reason"]) == ("rq-1", "dd-1", "duplicate_exact")
    assert row_id("wi", "rq-4") in reject["detail"] and rows["rq-4"]["id"] == row_id("wi", "rq-4")
    assert (manifest.rows_in, manifest.rows) == (4, 3)
    assert {(row["level"], row["level_by"]) for row in rows.values()} == {("unknown", "none")}
    chain = {name: (row["pair_id"], row["page_id"], row["warc_record_offset"]) for name, row in rows.items()}
    assert chain == {f"rq-{n}": (f"qa-{n}", f"pg-{n}", 10 * n) for n in (2, 3, 4)}
    metrics = manifest.metrics
    assert metrics["by_refiner"] == {FORMAT: 2, STEPS: 1}
    assert metrics["by_source_type"] == {"education": 2, "forum": 1}
    assert metrics["top_domains"][0] == {"domain": "quizlemma.example", "pairs": 2}
    assert metrics["answer_words"]["max"] == 5
    assert metrics["accuracy_on_gold"]["source_type"] == {"rule": {"labels": 1, "accuracy": 1.0}}


def test_a_model_for_levels_is_asked_where_no_rule_speaks(workspace: Workspace) -> None:
    prepare(workspace, [FORMAT, STEPS])
    release = workspace.config.release.model_copy(update={"level_model": "smollm2-135m"})
    workspace.files.environment = workspace.config.model_copy(update={"release": release})
    record(workspace)
    rows = workspace.lake.read(execute(WEBINSTRUCT, SNAPSHOT, workspace, log=print, run_id="test"))
    assert set(rows.select("level", "level_by").iter_rows()) == {("secondary", "llm")}


def test_rules_are_measured_on_every_gold_pair() -> None:
    gold = pl.DataFrame({
        "url": ["https://x.example/gcse/1", "https://x.example/gcse/2", "https://x.example/3", "https://x.example/4"],
        "question": ["What is the derivative of the polynomial?"] * 4, "answer": ["2x"] * 4,
        "subject": ["Mathematics", "Physics", None, None], "level": ["secondary", "primary", "graduate", None],
    })  # fmt: skip
    subject, level = rules_on_gold(gold)
    assert (subject["gold_pairs"], subject["labelled"], subject["right"]) == (2, 2, 1)
    assert (level["gold_pairs"], level["labelled"], level["right"], level["coverage"]) == (3, 2, 1, 0.667)


def test_one_refiner_is_enough_and_an_odd_reply_is_marked(workspace: Workspace) -> None:
    prepare(workspace, [FORMAT])
    record(workspace, subject="no idea")
    manifest = execute(WEBINSTRUCT, SNAPSHOT, workspace, log=print, run_id="test")
    rows = {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}
    assert {row["refiner"] for row in rows.values()} == {FORMAT}
    assert (rows["rq-2"]["subject"], rows["rq-2"]["subject_by"]) == ("Other", "llm_failed")
    assert manifest.metrics["subject_by"] == {"llm_failed": 1, "rule": 2}


URL = "https://quizlemma.example/quizzes/gcse/a"
TWICE = {
    FORMAT: [
        refined(1, URL, "Using prime factors, what is 6 times 7, and why?", "Six sevens are 42. The answer is 42.", parent_id="dd-1"),
        refined(2, URL, "What is the sum of the primes 2 and 3?", "It is 5.", parent_id="dd-2"),
        refined(3, URL, "What is the product of the prime 3 and itself?", "9", "unchanged", parent_id="dd-3"),
    ],
    STEPS: [
        refined(4, URL, "Using prime factors, what is 6 times 7?", "42", "unchanged", parent_id="dd-1"),
        refined(5, URL, "What is the sum of the primes 2 and 3?", "It is 6.", "corrected", parent_id="dd-2"),
        refined(6, URL, "What is the product of the prime 3 and itself?", "3 times 3 is 3 + 3 + 3, so 9.", parent_id="dd-3", reasoning_added=True),
    ],
}  # fmt: skip


def merged(workspace: Workspace, mode: str) -> tuple[dict[str, dict[str, Any]], list[tuple[str, str]]]:
    release = workspace.config.release.model_copy(update={"merge": mode})
    models = {"smollm2-135m": ModelConfig(source="hub:some/model", base_url="http://127.0.0.1:9/v1", served_name="m")}
    workspace.files.environment = workspace.config.model_copy(update={"release": release, "models": models})
    publish_ancestors(workspace)
    for refiner, rows in TWICE.items():
        publish(workspace, REFINED_QA, PartitionKey.of({"refiner": refiner, "snapshot": "local-demo"}), rows)
    manifest = execute(WEBINSTRUCT, SNAPSHOT, workspace, log=print, run_id="test")
    assert manifest.rows_in == 6
    paths = workspace.lake.reject_paths(manifest)
    rejects = [(row["id"], row["reason"]) for row in pl.read_parquet(paths).to_dicts()] if paths else []
    return {row["parent_id"]: row for row in workspace.lake.read(manifest).iter_rows(named=True)}, rejects


def test_pooling_marks_where_refiners_agree(workspace: Workspace) -> None:
    rows, rejects = merged(workspace, "pool")
    assert {name: row["agreed"] for name, row in rows.items()} == {
        "rq-1": True, "rq-4": True, "rq-2": False, "rq-5": False, "rq-3": True, "rq-6": True,
    }  # fmt: skip
    assert rejects == []
    assert {row["level"] for row in rows.values()} == {"secondary"} and rows["rq-1"]["level_by"] == "rule"
    assert (rows["rq-1"]["final_answer"], rows["rq-1"]["answer_type"]) == ("42", "number")


def test_the_best_of_a_pair_follows_the_rule(workspace: Workspace) -> None:
    rows, rejects = merged(workspace, "best")
    assert sorted(rows) == ["rq-1", "rq-2", "rq-6"]  # refined before unchanged, before corrected; added reasoning first
    assert sorted(rejects) == [(f"rq-{n}", "other_refiner_kept") for n in (3, 4, 5)]


def test_a_release_is_the_same_bytes_every_time(workspace: Workspace) -> None:
    merged(workspace, "pool")
    first = execute(WEBINSTRUCT_RELEASE, SNAPSHOT, workspace, log=print, run_id="one")
    folder = workspace.lake.data_folder(first)
    content = {part.file: (folder / part.file).read_bytes() for part in first.files}
    assert set(content) == {
        "README.md",
        "messages.jsonl",
        "sharegpt.jsonl",
        "source_types.svg",
        "subjects.svg",
        "train.parquet",
    }
    (workspace.lake.folder(WEBINSTRUCT_RELEASE.ref(SNAPSHOT)) / "manifest.json").unlink()
    for path in folder.iterdir():
        path.unlink()
    second = execute(WEBINSTRUCT_RELEASE, SNAPSHOT, workspace, log=print, run_id="two")
    assert second.data_version == first.data_version
    assert {part.file: (folder / part.file).read_bytes() for part in second.files} == content
    chats = [json.loads(line) for line in content["messages.jsonl"].splitlines()]
    assert [turn["role"] for turn in chats[0]["messages"]] == ["user", "assistant"] and len(chats) == 6
    shared = [json.loads(line) for line in content["sharegpt.jsonl"].splitlines()]
    assert [turn["from"] for turn in shared[0]["conversations"]] == ["human", "gpt"]
    card = content["README.md"].decode()
    assert "| Mathematics | 6 | 100.0% |" in card and "| webinstruct | 6 | 6 | 0 |" in card
    assert second.metrics["cost"]["per_kept_pair"]["dollars"] >= 0


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("https://x.example/gcse/maths/1", "secondary"),
        ("https://x.example/class-9/ch2", "secondary"),
        ("https://college.example/algebra", None),
        ("https://x.example/college-algebra/3", "undergraduate"),
        ("https://x.example/chapters/primary-keys", None),
        ("https://x.example/proteins/secondary-structure", None),
        ("https://x.example/how-enzymes-act", None),
        ("https://undergraduate.example/phd", None),
        ("https://x.example/collegeboard", None),
    ],
)
def test_level_by_rule(url: str, level: str | None) -> None:
    assert level_by_rule(url) == level


def test_language() -> None:
    assert language_of("What is the mean of the numbers, and how do you find it without a calculator?") == "en"
    assert language_of("Wie groß ist der Mittelwert der Zahlen, und wie findet man ihn ohne Taschenrechner?") == "de"
    assert language_of("$x^2 + y^2 = z^2$ 12 + 4?") == ""
