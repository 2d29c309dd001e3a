"""How good extracted pairs are, measured on gold: pages whose true pairs somebody marked.

Pairs and gold pairs come in; precision, recall, F1 and span overlap go out, overall, per rule and mode, per kind of
site. An extracted pair matches a gold pair when question and answer both overlap it: F1 of their word bags at least
0.7, mathematics and Markdown signs taken off. Matching is greedy, best overlap first, one to one within a page.

Span overlap asks more than matching does: characters of the page shared by a right pair's spans and the gold's, over
characters in either (Jaccard). Gold is text, so it is looked up on the page; where it does not stand there word by
word the pair takes no part (``spans`` counts those that do).
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from webinstruct_assets.core.errors import BadInput
from webinstruct_assets.stages.pages.markup import Finder

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


def site_kinds(path: Path) -> dict[str, str]:
    """Host to kind of site (forum, exam, …) from the sources' ``domains.jsonl``; {} where there is none."""
    if not path.exists():
        return {}
    entries = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {str(entry["host"]): str(entry["kind"]) for entry in entries}


class GoldMatch(NamedTuple):
    """An extracted pair that is right, with its gold pair."""

    pair: int
    gold: int


def measure(
    pairs: Iterable[Mapping[str, Any]],
    gold: Iterable[Mapping[str, Any]],
    texts: Mapping[str, str],
    kinds: Mapping[str, str],
) -> dict[str, Any]:
    """Precision, recall, F1 and span overlap over the pages in ``texts`` (URL to text) that gold knows.

    ``pairs``: url, question, answer, rule, question_spans, answer_spans. ``all``; ``mode``: rules, llm, llm_rewrite;
    ``rule``: each rule, precision over its own pairs, recall as the share of all gold that it found; ``site``: each
    kind of site.
    """
    wanted: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in gold:
        if entry["url"] in texts:
            wanted[entry["url"]].append(entry)
    by_url: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for pair in pairs:
        if pair["url"] in texts:
            by_url[pair["url"]].append(pair)
    tally: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    overlaps: dict[tuple[str, str], list[float]] = defaultdict(list)
    for url in {**wanted, **by_url}:
        own, entries = by_url.get(url, []), wanted.get(url, [])
        site = ("site", kinds.get(url.split("/")[2] if "//" in url else url, "unknown"))
        for group in (("all", ""), site):
            tally[group]["gold"] += len(entries)
        for pair in own:
            for group in _groups(pair, site):
                tally[group]["pairs"] += 1
        for match in match_gold(own, entries):
            pair = own[match.pair]
            shared = _span_overlap(pair, entries[match.gold], texts[url])
            for group in _groups(pair, site):
                tally[group]["right"] += 1
                if shared is not None:
                    overlaps[group].append(shared)
    total = tally[("all", "")]["gold"]
    result: dict[str, Any] = {"gold_pairs": total, "gold_pages": len(wanted), "pages_measured": len(texts)}
    for (axis, name), counts in sorted(tally.items()):
        figures = _figures(counts["pairs"], counts["right"], counts["gold"] if axis in ("all", "site") else total)
        shares = overlaps[(axis, name)]
        figures |= {"span_overlap": round(sum(shares) / len(shares), 3) if shares else None, "spans": len(shares)}
        if axis == "all":
            result["all"] = figures
        else:
            result.setdefault(axis, {})[name] = figures
    return result


def _groups(pair: Mapping[str, Any], site: tuple[str, str]) -> list[tuple[str, str]]:
    mode = pair["rule"] if pair["rule"].startswith("llm") else "rules"
    groups = [("all", ""), ("mode", mode), site]
    return groups if mode != "rules" else [*groups, ("rule", pair["rule"])]


def _figures(found: int, right: int, gold: int) -> dict[str, Any]:
    precision = right / found if found else 0.0
    recall = right / gold if gold else 0.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {
        "pairs": found, "right": right, "precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3),
    }  # fmt: skip


def match_gold(pairs: Sequence[Mapping[str, Any]], gold: Sequence[Mapping[str, Any]]) -> list[GoldMatch]:
    """One to one, best overlap first."""
    bags = [(words(entry["question"]), words(entry["answer"])) for entry in gold]
    candidates = []
    for place, pair in enumerate(pairs):
        question, answer = words(pair["question"]), words(pair["answer"])
        for number, (gold_question, gold_answer) in enumerate(bags):
            scores = overlap(question, gold_question), overlap(answer, gold_answer)
            if min(scores) >= MATCH:
                candidates.append((-sum(scores), place, number))
    used_pairs, used_gold, found = set(), set(), []
    for _, place, number in sorted(candidates):
        if place not in used_pairs and number not in used_gold:
            used_pairs.add(place)
            used_gold.add(number)
            found.append(GoldMatch(place, number))
    return found


def _span_overlap(pair: Mapping[str, Any], gold: Mapping[str, Any], text: str) -> float | None:
    """Jaccard of the letters and digits in the pair's spans and in gold's; None where either is not on the page."""
    finder = Finder(text)
    wanted: set[int] = set()
    position = 0
    for part in (gold["question"], gold["answer"]):
        key = Finder.key(part)
        at = finder.find(key, position)
        at = finder.find(key) if at < 0 else at
        if at < 0:
            return None
        span = finder.span(at, at + len(key))
        wanted.update(range(span.start, span.end))
        position = at + len(key)
    found = {
        place
        for name in ("question_spans", "answer_spans")
        for span in pair[name]
        for place in range(span["start"], span["end"])
    }
    if not found:
        return None
    found, wanted = ({place for place in places if text[place].isalnum()} for places in (found, wanted))
    return len(found & wanted) / len(found | wanted)


ACCURACY_COLUMNS = ("", "pairs", "right", "precision", "recall", "F1", "span overlap")


def accuracy_rows(gold: Mapping[str, Any] | None) -> Iterator[tuple[Any, ...]]:
    """Rows (``ACCURACY_COLUMNS``) of what ``measure`` gave: overall, per mode, per rule, per kind of site."""
    if not gold:
        return
    groups = [("all", gold["all"])]
    for axis in ("mode", "rule", "site"):
        groups += [(f"{axis} {name}", figures) for name, figures in gold.get(axis, {}).items()]
    for name, figures in groups:
        yield (name, *(figures[column] for column in ("pairs", "right", "precision", "recall", "f1", "span_overlap")))


def skipped(
    pairs: Iterable[Mapping[str, Any]],
    gold: Iterable[Mapping[str, Any]],
    texts: Mapping[str, str],
    unasked: Iterable[str],
    explained: Set[str],
) -> dict[str, Any]:
    """What never reaching the LLM costs: gold on pages declared void for having no question, and on explained pages.

    ``unasked``, ``explained``: URLs of both. ``false_negative_rate``: share of the pages with gold that were declared void.
    """
    wanted: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for entry in gold:
        if entry["url"] in texts:
            wanted[entry["url"]].append(entry)
    by_url: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for pair in pairs:
        by_url[pair["url"]].append(pair)
    void = list(unasked)
    missed = [url for url in void if wanted.get(url)]
    there = sum(len(wanted[url]) for url in explained if url in wanted)
    found = sum(len(match_gold(by_url[url], wanted[url])) for url in explained if url in wanted)
    return {
        "no_question": {
            "pages": len(void), "pages_with_gold": len(missed), "gold_pairs": sum(len(wanted[url]) for url in missed),
            "false_negative_rate": round(len(missed) / len(wanted), 4) if wanted else 0.0,
        },
        "rules_only": {"pages": len(explained), "gold_pairs": there, "gold_pairs_missed": there - found},
    }  # fmt: skip
