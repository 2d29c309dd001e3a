"""The formula that a renderer's element, a MathJax script or an image shows: its HTML source to TeX.

``scan`` finds these elements and where they stand; this reads each on its own. Elements: MathML, MathJax 2 scripts
and output, MathJax 3 containers, MathJax previews, images of formulas.
"""

import re
from html import unescape

from selectolax.lexbor import LexborHTMLParser, LexborNode

from webinstruct_assets.stages.pages import asciimath, mathml
from webinstruct_assets.stages.pages.tex import clean_tex

MAX_SOURCE = 200_000  # characters; longer formulas are not formulas
MATH = frozenset({"math"})
CDATA = re.compile(r"^\s*(?:%\s*)?<!\[CDATA\[|(?:%\s*)?\]\]>\s*$")
SCRIPT = re.compile(r"<script([^>]*)>(.*)</script\s*>\Z", re.DOTALL | re.IGNORECASE)
ATTRIBUTE = re.compile(r"""([^\s"=<>/]+)(?:="([^"]*)")?""")

Formula = tuple[str, bool]  # TeX, "" for none; whether it is displayed
NONE: Formula = ("", False)


def attributes(tag: str) -> dict[str, str]:
    """Attributes of a serialised start tag."""
    return {name.lower(): unescape(value) for name, value in ATTRIBUTE.findall(tag)[1:]}


def _first(source: str) -> LexborNode | None:
    body = LexborHTMLParser(source[:MAX_SOURCE]).body
    return body.first_child if body is not None else None


def from_mathml(source: str) -> Formula:
    """A ``math`` element."""
    node = _first(source)
    if node is None or node.tag != "math":
        return NONE
    return mathml.mathml_to_tex(node), mathml.is_display(node)


def from_script(source: str) -> Formula:
    """A MathJax 2 script: ``math/tex``, ``math/mml`` or ``math/asciimath``."""
    found = SCRIPT.match(source[:MAX_SOURCE])
    if not found:
        return NONE
    kind = attributes("<script" + found[1]).get("type", "").lower().replace(" ", "")
    display = "mode=display" in kind
    if kind.startswith("math/mml"):
        tex, own = _inner_math(found[2])
        return tex, own or display
    if kind.startswith("math/asciimath"):
        return asciimath.to_tex(unescape(found[2])), display
    return clean_tex(CDATA.sub("", found[2])), display


def _inner_math(source: str) -> Formula:
    root = LexborHTMLParser(source[:MAX_SOURCE]).root
    found = mathml.find(root, MATH) if root is not None else []
    return (mathml.mathml_to_tex(found[0]), mathml.is_display(found[0])) if found else NONE


def from_rendered(source: str) -> Formula:
    """What MathJax 2 or 3 made, without a script beside it: its assistive MathML, ``data-mathml`` or ``data-latex``."""
    node = _first(source)
    if node is None:
        return NONE
    own = node.attributes
    display = own.get("display") == "true" or "Display" in (own.get("class") or "")
    inner = [child for child in mathml.find(node, frozenset({"math", "span", "script", "mjx-math"}), 20_000)]
    for child in inner:
        if child.tag == "math":
            return mathml.mathml_to_tex(child), display or mathml.is_display(child)
        if child.tag == "script" and (child.attributes.get("type") or "").startswith("math/"):
            tex, own_display = from_script(child.html or "")
            return tex, display or own_display
    for child in [node, *inner]:
        if marked := child.attributes.get("data-mathml"):
            tex, own_display = _inner_math(marked)
            return tex, display or own_display
    for child in [node, *inner]:
        if latex := child.attributes.get("data-latex") or child.attributes.get("data-tex"):
            return clean_tex(latex), display
    return NONE


def from_image(source: str) -> Formula:
    """An image whose alt text or address is TeX."""
    named = attributes(source)
    classes = named.get("class", "")
    return mathml.image_tex(classes, named.get("alt", ""), named.get("src", "")), "display" in classes


def preview(source: str) -> str:
    """Text of a MathJax preview whose script is missing."""
    node = _first(source)
    return mathml.flat(node) if node is not None else ""
