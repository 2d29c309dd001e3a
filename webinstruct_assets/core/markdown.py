"""Markdown of our own making: tables, and text of others that is shown as it is, whatever it holds."""

import html
from collections.abc import Iterable, Sequence

SIGNS = r"\`*_{}[]()#+!|~$"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already (``inert`` makes such of any text)."""
    lines = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def inert(text: str) -> str:
    """``text`` on one line, without a meaning: no HTML, links or images, no row or column breaks."""
    return "".join("\\" + sign if sign in SIGNS else sign for sign in html.escape(" ".join(text.split())))
