"""Markdown of our own making: tables, and text of others that is shown as it is, whatever it holds."""

import html
import re
from collections.abc import Iterable, Sequence

# Where GitHub's Markdown makes a link of an address by itself, whatever is escaped; an invisible joiner there stops it.
_ADDRESS = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?=@)", re.IGNORECASE)
SIGNS = r"\`*_{}[]()#+!|~$"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already (``inert`` makes such of any text)."""
    lines = [" | ".join(heads), " | ".join("---" for _ in heads), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def inert(text: str) -> str:
    r"""``text`` on one line, without a meaning: no HTML, links or images, no row or column breaks.

    What cannot be seen (terminal escapes, marks that turn the direction of writing) is spelled out, as ``\u202e``.
    """
    shown = "".join(sign if sign.isprintable() else f"\\u{ord(sign):04x}" for sign in " ".join(text.split()))
    escaped = "".join("\\" + sign if sign in SIGNS else sign for sign in html.escape(shown))
    return _ADDRESS.sub("\u2060", escaped)
