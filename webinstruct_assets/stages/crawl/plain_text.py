"""All visible text of an HTML page, as in Common Crawl's WET files: navigation, advertisements and all.

A page comes in, lines of text come out. No main-content extraction here: that is the stage ``pages``.

Source: the WET files of CC-MAIN-2024-22, written by ia-web-commons: the title, then the body's text, one line
per block, without scripts, styles and comments.
"""

import codecs
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

HIDDEN = frozenset(("script", "style", "template", "noscript", "iframe", "object", "svg"))
BLOCKS = frozenset(
    """
    address article aside blockquote body br button caption dd details dialog dir div dl dt fieldset
    figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol option p
    pre section select summary table tbody textarea tfoot th thead title tr ul
    """.split()  # noqa: SIM905
)
PREFORMATTED = frozenset(("pre", "textarea"))
CELLS = frozenset(("td",))


_LABEL = re.compile(rb"charset\s*=\s*[\"']?\s*([a-z0-9_.:-]{1,40})", re.IGNORECASE)
# Labels that mean more to browsers than to Python (WHATWG Encoding Standard).
_WIDER = {"iso-8859-1": "windows-1252", "us-ascii": "windows-1252", "ascii": "windows-1252", "gb2312": "gb18030",
          "gbk": "gb18030", "shift_jis": "cp932", "euc-kr": "cp949"}  # fmt: skip


def decode_text(payload: bytes, content_type: str) -> tuple[str, str]:
    """Text of an HTML or plain text payload, and the name of its charset.

    UTF-8 where the bytes are valid UTF-8 (text in other encodings hardly ever is), else what header or meta
    declare, else windows-1252. Good enough for recall; the stage ``pages`` decodes by the standard.
    """
    try:
        return payload.removeprefix(codecs.BOM_UTF8).decode(), "UTF-8"
    except UnicodeDecodeError:
        pass
    if payload.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return payload.decode("utf-16", "replace"), "UTF-16"
    for place in (content_type.encode(), payload[:4096]):
        declared = _LABEL.search(place)
        label = declared[1].decode().lower() if declared else ""
        name = _WIDER.get(label, label)
        try:
            return payload.decode(name, "replace"), name if name.startswith("windows") else name.upper()
        except (LookupError, ValueError):  # "", unknown, or a codec that is no text encoding
            continue
    return payload.decode("windows-1252", "replace"), "windows-1252"


def visible_text(html: str) -> str:
    """The page's text: white space folded, one line per block, no empty lines."""
    from selectolax.lexbor import LexborHTMLParser

    root = LexborHTMLParser(html).root
    return node_text(root) if root is not None else ""


def node_text(node: "LexborNode", leave_out: "Callable[[LexborNode], bool] | None" = None) -> str:
    """The same for one element; elements that ``leave_out`` says yes to are passed over."""
    parts: list[str] = []
    current, depth, in_pre = node, 0, 0
    # Not recursive: real pages nest thousands of elements deep.
    while True:
        tag = current.tag or ""
        below = None
        if tag == "-text":
            text = current.text_content or ""
            parts.append(text if in_pre else text.replace("\n", " "))
        elif tag not in HIDDEN and not (leave_out and leave_out(current)):
            parts.append(_break(tag))
            below = current.child
        if below is not None:
            current, depth, in_pre = below, depth + 1, in_pre + (tag in PREFORMATTED)
            continue
        while depth and current.next is None:
            current, depth = cast("LexborNode", current.parent), depth - 1
            tag = current.tag or ""
            in_pre -= tag in PREFORMATTED
            parts.append(_break(tag))
        if not depth:
            break
        current = cast("LexborNode", current.next)
    lines = (" ".join(line.split()) for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)


def _break(tag: str) -> str:
    return "\n" if tag in BLOCKS else " " if tag in CELLS else ""
