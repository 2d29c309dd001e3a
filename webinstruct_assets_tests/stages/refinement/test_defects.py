"""Defects of pages: every gold pair of the demo web, and questions and answers that nobody here wrote."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from webinstruct_assets.stages.refinement.answers import same_final
from webinstruct_assets.stages.refinement.defects import page_defect
from webinstruct_assets_tests.conftest import PROJECT_ROOT


def test_planted_defects_are_found_and_nothing_else() -> None:
    found: Counter[str] = Counter()
    for line in (PROJECT_ROOT / "data/demo/gold.jsonl").read_text().splitlines():
        pair = json.loads(line)
        defect = page_defect(pair["question"], pair["answer"], completed=False)
        assert (defect[0] if defect else None) == pair["defect"], (pair, defect)
        found.update([pair["defect"]] if defect else [])
    assert found == {
        "defect_not_self_contained": 5, "defect_truncated": 5, "defect_refusal": 4, "defect_loop": 4, "defect_language": 4,
    }  # fmt: skip


def test_a_refiner_that_sees_the_page_may_complete_a_question_but_for_pictures() -> None:
    assert page_defect("Use the previous question to find x.", "4", completed=False)
    assert page_defect("Use the previous question to find x.", "4", completed=True) is None
    assert page_defect("Find the angle in the diagram below.", "40°", completed=True)


@pytest.mark.parametrize(
    "question",
    [
        "As shown in Fig. Q2, colour A is a point. Which colour has the smallest saturation?",
        "See loop.png. What is the period of the chain?",
        "The figure shows a ladder. How long is it?",
    ],
)
def test_pictures_by_any_name(question: str) -> None:
    assert page_defect(question, "4", completed=True) is not None


@pytest.mark.parametrize(
    "question",
    [
        "What are the products in the reaction shown below? HCl + NaOH ->",
        "Magnesium has a radius of 160 pm. Given the trends and the data above, how large is calcium?",
        "A certain map uses a scale of 1 inch to 25 miles. How many miles are 5 inches on this map?",
        "Which of the following maps is best for this analysis?",
        "How far is A from B? [asy] draw((0,0)--(3,4)); [/asy] Use the figure.",
    ],
)
def test_what_a_question_brings_along(question: str) -> None:
    assert page_defect(question, "4", completed=False) is None


def benchmarks(folder: Path) -> list[tuple[str, str]]:
    """Questions and answers of GSM8K, MATH, MMLU-STEM, ARC and BBH, one in eight, as their authors published them."""
    pairs = []
    for line in (folder / "gsm8k_test.jsonl").read_text().splitlines():
        item = json.loads(line)
        pairs.append((item["question"], item["answer"].split("####")[0].strip()))
    for line in (folder / "math_500_of_test.jsonl").read_text().splitlines():
        item = json.loads(line)
        pairs.append((item["problem"], item["solution"]))
    for item in json.loads((folder / "mmlu_stem.json").read_text()):
        pairs.append((item["question"], item["choices"][item["answer"]]))
    for name in ("arc_challenge", "bbh"):
        pairs += [(item["question"], str(item["answer"])) for item in json.loads((folder / f"{name}.json").read_text())]
    return pairs[::8]


def test_next_to_nothing_is_wrong_with_benchmarks(shared_real: Path) -> None:
    pairs = benchmarks(shared_real / "benchmarks")
    found = [(page_defect(*pair, completed=False), pair) for pair in pairs]
    defects = [(defect, pair) for defect, pair in found if defect]
    assert len(pairs) > 1500
    assert all(defect[0] == "defect_not_self_contained" for defect, _ in defects), defects
    assert len(defects) <= 2, defects  # all 12636: 4, of which 3 do refer to what is not there


def test_pictures_of_theoremqa(shared_real: Path) -> None:
    items = json.loads((shared_real / "benchmarks/theoremqa_test.json").read_text())
    found = {item["id"] for item in items if page_defect(item["Question"], str(item["Answer"]), completed=False)}
    pictured = {item["id"] for item in items if item["Picture"]}
    assert len(pictured & found) >= 40 and len(found - pictured) <= 3  # of 53; the others do not mention theirs


def test_final_answers_of_real_solutions(shared_real: Path) -> None:
    """The bare result of a GSM8K question against its own solution, and against that of the question before."""
    items = [json.loads(line) for line in (shared_real / "benchmarks/gsm8k_test.jsonl").read_text().splitlines()][::4]
    pairs = [(item["question"], *map(str.strip, item["answer"].split("####"))) for item in items]
    same = sum(same_final(question, result, solution).same for question, solution, result in pairs)
    others = [
        same_final(question, result, other).same
        for (_, other, before), (question, _, result) in pairwise(pairs)
        if before != result
    ]
    assert same / len(pairs) >= 0.97
    assert sum(others) / len(others) <= 0.01
