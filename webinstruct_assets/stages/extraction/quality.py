"""How good extracted pairs are, measured on gold: pages whose true pairs somebody marked.

Pairs and gold pairs come in; precision, recall and F1 go out, overall and per method. An extracted pair matches
a gold pair when question and answer both overlap it: F1 of their word bags at least 0.7, mathematics and
Markdown signs taken off. Matching is greedy, best overlap first, one to one within a page.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from webinstruct_assets.core.errors import BadInput

MATCH = 0.7
TEX_STYLE = re.compile(
    r"\\(?:mathrm|text|mathbf|displaystyle|textstyle|left|right|operatorname|dfrac|tfrac|quad|,|;|!)(?![A-Za-z])"
)
SIGNS = re.compile(r"[\\${}_^`*#|]")
WORD = re.compile(r"\w+|[^\w\s]")
PUNCTUATION = frozenset(".,;:!?'\"()[]“”‘’-–—")


def words(text: str) -> Counter[str]:
    """The word bag of a text: lower case, no TeX or Markdown signs, no punctuation."""
    plain = SIGNS.sub("", TEX_STYLE.sub("", unicodedata.normalize("NFKC", text))).lower()
    return Counter(token for token in WORD.findall(plain) if token not in PUNCTUATION)


def overlap(first: Counter[str], second: Counter[str]) -> float:
    """F1 of two word bags."""
    common = (first & second).total()
    return 2 * common / (first.total() + second.total()) if common else 0.0


def read_gold(path: Path) -> list[dict[str, Any]]:
    """Gold pairs (``url``, ``question``, ``answer``, …). Raises BadInput naming file and line."""
    gold = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
            gold.append(
                {**entry, "url": str(entry["url"]), "question": str(entry["question"]), "answer": str(entry["answer"])}
            )
        except (ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{path}: line {number}: {error!r}", "each line is an object with url, question and answer"
            ) from error
    return gold


def measure(pairs: Iterable[Mapping[str, Any]], gold: Iterable[Mapping[str, Any]], urls: set[str]) -> dict[str, Any]:
    """Precision, recall and F1 over the pages in ``urls`` that gold knows.

    Of each method (``rule`` or ``llm``) precision over its own pairs; recall is the share of gold it found.
    ``pairs``: url, question, answer, rule.
    """
    wanted: dict[str, list[tuple[Counter[str], Counter[str]]]] = defaultdict(list)
    for entry in gold:
        if entry["url"] in urls:
            wanted[entry["url"]].append((words(entry["question"]), words(entry["answer"])))
    total_gold = sum(len(entries) for entries in wanted.values())
    by_url: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for pair in pairs:
        if pair["url"] in urls:
            by_url[pair["url"]].append(pair)
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for url, own in by_url.items():
        candidates = []
        for place, pair in enumerate(own):
            found.update({"all", _method(pair), pair["rule"]})
            question, answer = words(pair["question"]), words(pair["answer"])
            for number, (gold_question, gold_answer) in enumerate(wanted.get(url, [])):
                scores = overlap(question, gold_question), overlap(answer, gold_answer)
                if min(scores) >= MATCH:
                    candidates.append((sum(scores), place, number))
        used_pairs, used_gold = set(), set()
        for _, place, number in sorted(candidates, key=lambda entry: (-entry[0], entry[1], entry[2])):
            if place not in used_pairs and number not in used_gold:
                used_pairs.add(place)
                used_gold.add(number)
                right.update({"all", _method(own[place]), own[place]["rule"]})
    result: dict[str, Any] = {"gold_pairs": total_gold, "gold_pages": len(wanted), "pages_measured": len(urls)}
    for method in ["all", *sorted(set(found) - {"all"})]:
        precision = right[method] / found[method] if found[method] else 0.0
        recall = right[method] / total_gold if total_gold else 0.0
        result[method] = {
            "pairs": found[method], "right": right[method], "precision": round(precision, 3), "recall": round(recall, 3),
            "f1": round(2 * precision * recall / (precision + recall), 3) if precision + recall else 0.0,
        }  # fmt: skip
    return result


def _method(pair: Mapping[str, Any]) -> str:
    return "llm" if pair["rule"] == "llm" else "rules"
