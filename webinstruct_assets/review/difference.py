"""Word by word, what a refiner changed."""

import re
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Literal

Kind = Literal["same", "removed", "added"]
_PIECES = re.compile(r"\s+|\w+|[^\w\s]")


def difference(before: str, after: str) -> list[tuple[Kind, str]]:
    """Stretches of both texts in reading order; ``same`` and ``removed`` give ``before``, ``same`` and ``added`` ``after``."""
    old, new = _PIECES.findall(before), _PIECES.findall(after)
    found: list[tuple[Kind, str]] = []
    for operation, old_start, old_end, new_start, new_end in SequenceMatcher(
        None, old, new, autojunk=False
    ).get_opcodes():
        if operation == "equal":
            found.append(("same", "".join(old[old_start:old_end])))
            continue
        if old_end > old_start:
            found.append(("removed", "".join(old[old_start:old_end])))
        if new_end > new_start:
            found.append(("added", "".join(new[new_start:new_end])))
    return found


def marked(text: str, spans: dict[str, list[dict[str, int]]]) -> list[tuple[str, str]]:
    """``text`` cut at span borders: (names of the spans over a stretch, joined by a space; the stretch)."""
    borders = sorted(
        {0, len(text), *(span[end] for group in spans.values() for span in group for end in ("start", "end"))}
    )
    cut = []
    for start, end in pairwise(borders):
        names = [
            name
            for name, group in spans.items()
            if any(span["start"] <= start and end <= span["end"] for span in group)
        ]
        cut.append((" ".join(names), text[start:end]))
    return cut
