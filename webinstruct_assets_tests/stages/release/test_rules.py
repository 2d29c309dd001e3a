"""Subject and source type by rules, exact duplicates, and labels read from replies."""

import json
from pathlib import Path

import pytest

from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.core.urls import host_of
from webinstruct_assets.stages.duplicates.exact import pair_digest
from webinstruct_assets.stages.release.labels import label_request, load_label_prompt, read_label
from webinstruct_assets.stages.release.source_types import SOURCE_TYPES, source_type_by_rule
from webinstruct_assets.stages.release.subjects import SUBJECTS, leader, subject_by_rule
from webinstruct_assets.stages.release.webinstruct import GOLD_SUBJECTS


@pytest.mark.parametrize(
    ("question", "answer", "subject"),
    [
        ("Find the derivative of the polynomial.", r"\(3x^2\)", "Mathematics"),
        ("What is the acceleration of the block on the ramp?", "Friction is small, so g sin 30°.", "Physics"),
        ("How many moles of sodium hydroxide neutralise the acid?", "0.10 mol", "Chemistry"),
        ("Which allele is dominant?", "The genotype Aa shows the phenotype of A.", "Biology"),
        ("What does this Python loop print?", "The array is empty, so nothing.", "Computer Science/Technology"),
        ("How does a tax change the market price?", "The elasticity of demand decides.", "Economics/Business"),
        ("Which painter founded impressionism?", "A baroque fresco is older.", "Art & Design"),
        ("Which vaccine do nurses give first?", "The patient's symptoms decide.", "Health & Medicine"),
        ("Who wrote the first constitution?", "Historians point to the revolution.", "Humanities & Social"),
        ("How many are left?", "Four.", None),
        ("Who may come?", "Everyone.", None),
    ],
)
def test_subject_by_rule(question: str, answer: str, subject: str | None) -> None:
    assert subject_by_rule(question, answer) == subject


def test_a_lead_is_needed() -> None:
    assert leader({"a": 6, "b": 5}, 3, 2) is None
    assert leader({"a": 7, "b": 5}, 3, 2) == "a"
    assert leader({"a": 2, "b": 0}, 3, 2) is None


@pytest.mark.parametrize(
    ("url", "source_type"),
    [
        ("https://math.stackexchange.com/questions/1/a", "forum"),
        ("https://www.physicsforums.com/threads/x.1", "forum"),
        ("https://garage.example/forum/viewtopic.php", "forum"),
        ("https://www.khanacademy.org/math/x", "education"),
        ("https://physics.some.edu/x", "education"),
        ("https://summer-school.example/exams/2019", "education"),
        ("https://daily-news.example/sport/match", "other"),
        ("https://plain.example/x", None),
        ("https://homework-board.example/x", None),
        ("https://notstackexchange.com/x", None),
    ],
)
def test_source_type_by_rule(url: str, source_type: str | None) -> None:
    assert source_type_by_rule(host_of(url), [url]) == source_type


def test_accuracy_of_the_rules_on_the_demo_gold() -> None:
    """The rules are general word lists; on text that they were not written from they must decide, and rarely wrong."""
    root = Path(__file__).parents[3] / "data/demo"
    gold = [
        entry for line in (root / "gold.jsonl").read_text().splitlines() if (entry := json.loads(line)).get("subject")
    ]
    decided = [(subject_by_rule(entry["question"], entry["answer"]), GOLD_SUBJECTS[entry["subject"]]) for entry in gold]
    answers = [(said, right) for said, right in decided if said]
    assert len(answers) > 0.6 * len(decided)
    assert sum(said == right for said, right in answers) > 0.9 * len(answers)


def test_duplicates_differ_in_notation_only() -> None:
    one = pair_digest(r"Find \(x\) when $x + 1 = 2$.", "It is 1.")
    assert pair_digest("find  x when x + 1 = 2", "IT IS 1") == one
    assert pair_digest("find x when x - 1 = 2", "It is 1.") != one
    assert pair_digest("Find x", "when x + 1 = 2. It is 1.") != one


@pytest.mark.parametrize(("name", "labels"), [("subject.yaml", SUBJECTS), ("source_type.yaml", SOURCE_TYPES)])
def test_label_prompts(name: str, labels: tuple[str, ...]) -> None:
    prompt = load_label_prompt(name)
    assert {example.label for example in prompt.examples} == set(labels)
    assert all(label in prompt.system for label in labels)
    request = label_request(prompt, labels, "x" * 5000, "wi")
    assert request.messages is not None and len(request.messages[-1]["content"]) < 1000
    assert request.json_schema is not None and request.json_schema["properties"]["label"]["enum"] == list(labels)


def test_read_label() -> None:
    assert read_label(LlmReply('{"label": "Physics"}', "stop", 1, 1), SUBJECTS) == "Physics"
    for text in ('{"label": "Cooking"}', '{"label": ', "Physics", "[]", ""):
        assert read_label(LlmReply(text, "stop", 1, 1), SUBJECTS) is None
    assert read_label(LlmReply("", None, 0, 0, error="500"), SUBJECTS) is None
