"""The rule of ``index.py`` in plain Python, without hashes: what the fast look-up is compared with."""

from collections.abc import Sequence

from webinstruct_assets.stages.decontamination.index import LETTERS, BenchmarkItem, telling
from webinstruct_assets.stages.decontamination.words import words


def strings_of(item: BenchmarkItem) -> list[tuple[str, str, bool]]:
    """(field, text, whether it counts when it is short)."""
    made = [("question", item.question, True), ("solution", item.solution, True)]
    if not item.choices:
        return [*made, ("answer", item.answer, True)]
    lettered = " ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, item.choices, strict=False))
    right = LETTERS.find(item.answer) if len(item.answer) == 1 else -1
    made += [
        ("question", f"{item.question} {lettered}", False),
        ("question", f"{item.question} {' '.join(item.choices)}", False),
    ]
    return [*made, ("answer", item.choices[right] if 0 <= right < len(item.choices) else "", False)]


def find(
    items: Sequence[BenchmarkItem], text: str, n: int = 10, least: int = 3, tex: bool = True
) -> set[tuple[str, str]]:
    """(benchmark, item) of every item that shares wording with ``text``."""
    padded = f" {' '.join(words(text, tex=tex))} "
    variants: dict[tuple[str, str], set[object]] = {}
    for item in items:
        key = (item.benchmark, " ".join(words(item.question, tex=tex)))
        variants.setdefault(key, set()).add((item.answer, item.choices))
    found = set()
    for item in items:
        for field, string, short in strings_of(item):
            sequence = words(string, tex=tex)
            if len(sequence) >= n:
                stretches = [sequence[start : start + n] for start in range(len(sequence) - n + 1)]
            elif short and len(sequence) >= least:
                several = len(variants[item.benchmark, " ".join(words(item.question, tex=tex))]) > 1
                stretches = [] if field == "question" and several else [sequence]
            else:
                continue
            if any(telling(stretch) and f" {' '.join(stretch)} " in padded for stretch in stretches):
                found.add((item.benchmark, item.item_id))
    return found
