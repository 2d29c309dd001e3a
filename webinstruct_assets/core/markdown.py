"""Text of others in Markdown: shown as it is, whatever it holds."""

import html

SIGNS = r"\`*_{}[]()#+!|~$"


def inert(text: str) -> str:
    """``text`` on one line, without a meaning: no HTML, links or images, no row or column breaks."""
    return "".join("\\" + sign if sign in SIGNS else sign for sign in html.escape(" ".join(text.split())))
