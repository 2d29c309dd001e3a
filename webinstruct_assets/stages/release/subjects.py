"""The subject of a pair by transparent rules: words that speak for a subject, and a margin.

In: a question and its answer. Out: one of the paper's classes (appendix G), or None where the words do not decide.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from webinstruct_assets.core.config import Section, load_yaml

SUBJECTS = (
    "Mathematics", "Physics", "Chemistry", "Biology", "Computer Science/Technology", "Economics/Business", "Art & Design",
    "Health & Medicine", "Humanities & Social", "Other",
)  # fmt: skip
RULES = Path(__file__).parent / "rules/subjects.yaml"
STRONG, USUAL = 3, 1
_TEX = re.compile(r"\$[^$\n]+\$|\\\(|\\\[|\\[a-zA-Z]{2,}")


class Words(Section):
    """The words of one subject."""

    strong: list[str]
    usual: list[str]


class SubjectRules(Section):
    """The rule file."""

    min_score: int
    margin: int
    tex: int
    subjects: dict[str, Words]


@cache
def _rules() -> tuple[SubjectRules, dict[str, list[tuple[re.Pattern[str], int]]]]:
    rules = load_yaml(RULES, SubjectRules)
    assert set(rules.subjects) < set(SUBJECTS)
    return rules, {
        subject: [(_pattern(words.strong), STRONG), (_pattern(words.usual), USUAL)]
        for subject, words in rules.subjects.items()
    }


def _pattern(words: list[str]) -> re.Pattern[str]:
    alternatives = (
        rf"{re.escape(word[:-1])}\w*" if word.endswith("*") else rf"{re.escape(word)}s?"
        for word in sorted(words, key=len, reverse=True)
    )
    return re.compile(rf"(?<!\w)(?:{'|'.join(alternatives)})(?!\w)", re.IGNORECASE)


def scores(question: str, answer: str) -> dict[str, int]:
    """Points per subject: each word of a list counts once, however often it occurs."""
    rules, patterns = _rules()
    text = f"{question}\n{answer}"
    points = {
        subject: sum(
            weight * len({match.lower().removesuffix("s") for match in pattern.findall(text)})
            for pattern, weight in weighted
        )
        for subject, weighted in patterns.items()
    }
    points["Mathematics"] += rules.tex * bool(_TEX.search(text))
    return points


def subject_by_rule(question: str, answer: str) -> str | None:
    """The subject with enough points and a clear lead, else None."""
    rules, _ = _rules()
    return leader(scores(question, answer), rules.min_score, rules.margin)


def leader(points: Mapping[str, float], min_score: float, margin: float) -> str | None:
    """The key with at least ``min_score`` points and ``margin`` more than any other."""
    (first, best), *rest = sorted(points.items(), key=lambda entry: (-entry[1], entry[0]))
    return first if best >= min_score and best - (rest[0][1] if rest else 0) >= margin else None
