"""Mathematics in a page's elements as TeX: MathML, and images of formulas.

DOM nodes and attributes come in; TeX without delimiters goes out (``mathml_to_tex``, ``image_tex``).
"""

import re
from urllib.parse import unquote_plus

from selectolax.lexbor import LexborNode

from webinstruct_assets.stages.pages.tex import appended, braced, clean_tex, symbols

MAX_DEPTH = 60  # deeper formulas are not formulas; their text is kept

_FUNCTIONS = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth log ln lg exp lim limsup liminf max min "
    "sup inf det dim ker deg gcd arg hom Pr"
)
FUNCTIONS = frozenset(_FUNCTIONS.split())
ACCENTS = {
    "¯": "overline", "‾": "overline", "_": "overline", "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "→": "vec",
    "⃗": "vec", "˙": "dot", ".": "dot", "¨": "ddot", "⏞": "overbrace", "̂": "hat", "ˇ": "check",
}  # fmt: skip
UNDERS = {"⏟": "underbrace", "_": "underline", "̲": "underline", "¯": "underline"}
VARIANTS = {
    "bold": "mathbf", "bold-italic": "boldsymbol", "double-struck": "mathbb", "script": "mathcal", "fraktur": "mathfrak",
    "sans-serif": "mathsf", "monospace": "mathtt",
}  # fmt: skip
TEX_ANNOTATION = re.compile(r"tex|latex", re.IGNORECASE)


def children(node: LexborNode) -> list[LexborNode]:
    """Element children."""
    found, child = [], node.first_child
    while child is not None:
        if child.is_element_node:
            found.append(child)
        child = child.next
    return found


def find(node: LexborNode, tags: frozenset[str], limit: int = 3000) -> list[LexborNode]:
    """Descendants with one of ``tags``, in order; stops after ``limit`` nodes."""
    found: list[LexborNode] = []
    for count, descendant in enumerate(node.traverse()):
        if count > limit:
            break
        if descendant.tag in tags and descendant.mem_id != node.mem_id:
            found.append(descendant)
    return found


def flat(node: LexborNode) -> str:
    """All text below ``node``, white space folded."""
    return " ".join(node.text(deep=True).split())


def is_display(node: LexborNode) -> bool:
    """Whether a ``math`` element asks for display style."""
    attributes = node.attributes
    return attributes.get("display") == "block" or attributes.get("mode") == "display"


def mathml_to_tex(node: LexborNode) -> str:
    """TeX of a ``math`` element: its TeX annotation, its alttext, or the conversion of its elements."""
    for annotation in find(node, frozenset({"annotation"})):
        if TEX_ANNOTATION.search(annotation.attributes.get("encoding") or ""):
            tex = clean_tex(annotation.text(deep=True))
            if tex:
                return tex
    alttext = clean_tex(node.attributes.get("alttext") or "")
    return alttext or clean_tex(_row(children(node), 0))


def _row(nodes: list[LexborNode], depth: int) -> str:
    out = ""
    for node in nodes:
        out = appended(out, _tex(node, depth))
    return out


def _base(tex: str) -> str:
    return tex if len(tex) == 1 or re.fullmatch(r"\\[A-Za-z]+|\([^()]*\)", tex) else "{" + tex + "}"


def _tex(node: LexborNode, depth: int) -> str:
    if depth > MAX_DEPTH:
        return symbols(flat(node))
    tag, below = node.tag, depth + 1
    match tag:
        case "mi":
            text = flat(node)
            variant = VARIANTS.get(node.attributes.get("mathvariant") or "")
            if variant:
                return f"\\{variant}{{{symbols(text)}}}"
            if len(text) > 1 and text.isascii() and text.isalpha():
                return f"\\{text}" if text in FUNCTIONS else f"\\mathrm{{{text}}}"
            return symbols(text)
        case "mn":
            return symbols(flat(node))
        case "mo":
            text = flat(node)
            return f"\\{text}" if text in FUNCTIONS else symbols(text)
        case "mtext" | "ms":
            text = flat(node)
            return f"\\text{{{text}}}" if text.strip() else " "
        case "mspace":
            return " "
        case "annotation" | "annotation-xml" | "mphantom" | "none" | "mprescripts":
            return ""
    parts = children(node)
    if tag == "semantics":
        return _tex(parts[0], below) if parts else ""
    if tag == "msqrt":
        return f"\\sqrt{{{_row(parts, below)}}}"
    if tag == "mtable":
        return _table(parts, below)
    if tag == "mfenced":
        return _fenced(node, parts, below)
    if tag == "menclose" and "radical" in (node.attributes.get("notation") or ""):
        return f"\\sqrt{{{_row(parts, below)}}}"
    pieces = [_tex(part, below) for part in parts] if tag in ARITY and len(parts) == ARITY[tag] else None
    if pieces is None:
        return _row(parts, below) if parts else symbols(flat(node))
    match tag:
        case "mfrac":
            if (node.attributes.get("linethickness") or "") in ("0", "0px", "0pt"):
                return f"\\binom{{{pieces[0]}}}{{{pieces[1]}}}"
            return f"\\frac{{{pieces[0]}}}{{{pieces[1]}}}"
        case "mroot":
            return f"\\sqrt[{pieces[1]}]{{{pieces[0]}}}"
        case "msup":
            return f"{_base(pieces[0])}^{braced(pieces[1])}"
        case "msub":
            return f"{_base(pieces[0])}_{braced(pieces[1])}"
        case "msubsup" | "munderover":
            return f"{_base(pieces[0])}_{braced(pieces[1])}^{braced(pieces[2])}"
        case "mover":
            accent = ACCENTS.get(flat(parts[1]))
            return f"\\{accent}{{{pieces[0]}}}" if accent else _limits(pieces[0], "^", pieces[1], "overset")
        case _:
            accent = UNDERS.get(flat(parts[1]))
            return f"\\{accent}{{{pieces[0]}}}" if accent else _limits(pieces[0], "_", pieces[1], "underset")


ARITY = {"mfrac": 2, "mroot": 2, "msup": 2, "msub": 2, "msubsup": 3, "munderover": 3, "mover": 2, "munder": 2}
OPERATORS = frozenset({"\\sum", "\\prod", "\\lim", "\\max", "\\min", "\\int", "\\cup", "\\cap", "\\sup", "\\inf"})


def _limits(base: str, mark: str, argument: str, otherwise: str) -> str:
    if base in OPERATORS:
        return f"{base}{mark}{braced(argument)}"
    return f"\\{otherwise}{{{argument}}}{{{base}}}"


def _table(rows: list[LexborNode], depth: int) -> str:
    lines = []
    for row in rows:
        cells = [cell for cell in children(row) if cell.tag == "mtd"]
        lines.append(" & ".join(_row(children(cell), depth + 1) or symbols(flat(cell)) for cell in cells))
    body = " \\\\ ".join(lines)
    return f"\\begin{{matrix}} {body} \\end{{matrix}}"


def _fenced(node: LexborNode, parts: list[LexborNode], depth: int) -> str:
    attributes = node.attributes
    opened, closed = attributes.get("open", "(") or "", attributes.get("close", ")") or ""
    separators = [char for char in (attributes.get("separators", ",") or "") if not char.isspace()]
    out = ""
    for index, part in enumerate(parts):
        if index and separators:
            out += separators[min(index - 1, len(separators) - 1)]
        out = appended(out, _tex(part, depth))
    return f"\\left{symbols(opened) or '.'}{out}\\right{symbols(closed) or '.'}"


# -- images ------------------------------------------------------------------------------------------------

TEX_URL = re.compile(
    r"(?:latex\.php\?(?:[^#]*&)?latex=|codecogs\.com/(?:[a-z]+\.(?:latex|download|image)|eqnedit\.php|[a-z]+/render)\?(?:latex=)?|"
    r"chart\?(?:[^#]*&)?chl=|(?:mathtex|mimetex)\.cgi\?)([^#]*)",
    re.IGNORECASE,
)
TEX_CLASSES = frozenset({"latex", "tex", "math", "mwe-math-fallback-image-inline", "mwe-math-fallback-image-display",
                         "mwe-math-fallback-image", "wp-katex-eq", "texrender", "mathtex", "eq", "equation"})  # fmt: skip
LOOKS_LIKE_TEX = re.compile(r"\\[A-Za-z]{2,}|[\^_]\{|^\$.+\$$|^\\[(\[]")
CODECOGS_STYLE = re.compile(r"^(?:\\(?:inline|dpi\{\d+\}|bg_[a-z]+|fn_[a-z]+|large|small|tiny|huge|LARGE)\s*)+")


def image_tex(classes: str, alt: str, source: str) -> str:
    """TeX that an image shows, "" for other images: from its alt text, or from its renderer's URL."""
    if alt and (LOOKS_LIKE_TEX.search(alt) or not TEX_CLASSES.isdisjoint(classes.lower().split())):
        return clean_tex(alt)
    if "?" in source and (found := TEX_URL.search(source)):
        tex = found[1]
        if "latex=" in found[0] or "chl=" in found[0]:
            tex = tex.split("&", 1)[0]
        return clean_tex(CODECOGS_STYLE.sub("", unquote_plus(tex).strip()))
    return ""
