"""All visible text of an HTML page, as in Common Crawl's WET files: navigation, advertisements and all.

HTML text comes in, lines come out. No main-content extraction here: that is the stage ``pages``.

Source: the WET files of CC-MAIN-2024-22, written by ia-web-commons: the title, then the body's text, one line
per block, without scripts, styles and comments.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

HIDDEN = frozenset(("script", "style", "template", "noscript", "iframe", "object", "svg"))
BLOCKS = frozenset(
    """
    address article aside blockquote body br button caption dd details dialog dir div dl dt fieldset figcaption
    figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol option p pre section
    select summary table tbody textarea tfoot th thead title tr ul
    """.split()  # noqa: SIM905
)
CELLS = frozenset(("td",))


def visible_text(html: str) -> str:
    """The page's text: white space folded, one line per block, no empty lines."""
    from selectolax.lexbor import LexborHTMLParser

    root = LexborHTMLParser(html).root
    return node_text(root) if root is not None else ""


def node_text(node: "LexborNode", leave_out: "Callable[[LexborNode], bool] | None" = None) -> str:
    """The same for one element; elements that ``leave_out`` says yes to are passed over."""
    parts: list[str] = []
    current, depth = node, 0
    # Not recursive: real pages nest thousands of elements deep.
    while True:
        tag = current.tag or ""
        below = None
        if tag == "-text":
            text = current.text_content or ""
            parts.append(text if _in_pre(current) else text.replace("\n", " "))
        elif tag not in HIDDEN and not (leave_out and leave_out(current)):
            parts.append(_break(tag))
            below = current.child
        if below is not None:
            current, depth = below, depth + 1
            continue
        while depth and current.next is None:
            current, depth = cast("LexborNode", current.parent), depth - 1
            parts.append(_break(current.tag or ""))
        if not depth:
            break
        current = cast("LexborNode", current.next)
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)


def _break(tag: str) -> str:
    return "\n" if tag in BLOCKS else " " if tag in CELLS else ""


def _in_pre(text: "LexborNode") -> bool:
    parent = text.parent
    for _ in range(4):  # <pre><code><span>, as highlighters write it
        if parent is None:
            return False
        if parent.tag in ("pre", "textarea"):
            return True
        parent = parent.parent
    return False
