r"""Mathematics of a page as TeX: MathML elements, renderers' containers, images, delimiters in text.

DOM nodes and text come in; TeX without delimiters goes out (``mathml_to_tex``, ``image_tex``), or text whose
delimiters have become ``$…$`` and ``$$…$$`` (``delimited``). Prose dollars come out as ``\$``.
"""

import re
from urllib.parse import unquote_plus

from selectolax.lexbor import LexborNode

MAX_DELIMITED = 50_000  # a longer block is no prose; matching delimiters in it would cost seconds
MAX_DEPTH = 60  # deeper formulas are not formulas; their text is kept
INLINE_OPEN, INLINE_CLOSE, DISPLAY_OPEN, DISPLAY_CLOSE = "\ue000", "\ue001", "\ue002", "\ue003"
SUB_OPEN, SUP_OPEN, SCRIPT_CLOSE = "\ue004", "\ue005", "\ue006"
CODE_OPEN, CODE_CLOSE, BREAK = "\ue007", "\ue008", "\ue009"
PRIVATE = re.compile("[\ue000-\ue00f]")

_NAMES = [
    "α",
    "alpha",
    "β",
    "beta",
    "γ",
    "gamma",
    "δ",
    "delta",
    "ε",
    "varepsilon",
    "ϵ",
    "epsilon",
    "ζ",
    "zeta",
    "η",
    "eta",
    "θ",
    "theta",
    "ϑ",
    "vartheta",
    "ι",
    "iota",
    "κ",
    "kappa",
    "λ",
    "lambda",
    "μ",
    "mu",
    "µ",
    "mu",
    "ν",
    "nu",
    "ξ",
    "xi",
    "π",
    "pi",
    "ρ",
    "rho",
    "σ",
    "sigma",
    "ς",
    "varsigma",
    "τ",
    "tau",
    "υ",
    "upsilon",
    "φ",
    "varphi",
    "ϕ",
    "phi",
    "χ",
    "chi",
    "ψ",
    "psi",
    "ω",
    "omega",
    "Γ",
    "Gamma",
    "Δ",
    "Delta",
    "Θ",
    "Theta",
    "Λ",
    "Lambda",
    "Ξ",
    "Xi",
    "Π",
    "Pi",
    "Σ",
    "Sigma",
    "Υ",
    "Upsilon",
    "Φ",
    "Phi",
    "Ψ",
    "Psi",
    "Ω",
    "Omega",
    "∞",
    "infty",
    "∂",
    "partial",
    "∇",
    "nabla",
    "∑",
    "sum",
    "∏",
    "prod",
    "∫",
    "int",
    "∬",
    "iint",
    "∮",
    "oint",
    "√",
    "surd",
    "±",
    "pm",
    "∓",
    "mp",
    "×",
    "times",
    "÷",
    "div",
    "·",
    "cdot",
    "⋅",
    "cdot",
    "∗",
    "ast",
    "∘",
    "circ",
    "≤",
    "le",
    "≥",
    "ge",
    "≠",
    "ne",
    "≈",
    "approx",
    "≡",
    "equiv",
    "∼",
    "sim",
    "≃",
    "simeq",
    "≅",
    "cong",
    "∝",
    "propto",
    "≪",
    "ll",
    "≫",
    "gg",
    "∈",
    "in",
    "∉",
    "notin",
    "∋",
    "ni",
    "⊂",
    "subset",
    "⊆",
    "subseteq",
    "⊃",
    "supset",
    "⊇",
    "supseteq",
    "∪",
    "cup",
    "∩",
    "cap",
    "∖",
    "setminus",
    "∅",
    "emptyset",
    "∀",
    "forall",
    "∃",
    "exists",
    "¬",
    "neg",
    "∧",
    "wedge",
    "∨",
    "vee",
    "⊕",
    "oplus",
    "⊗",
    "otimes",
    "⊥",
    "perp",
    "∥",
    "parallel",
    "∠",
    "angle",
    "→",
    "to",
    "←",
    "leftarrow",
    "↔",
    "leftrightarrow",
    "⇒",
    "Rightarrow",
    "⇐",
    "Leftarrow",
    "⇔",
    "Leftrightarrow",
    "↦",
    "mapsto",
    "⟶",
    "longrightarrow",
    "⟹",
    "Longrightarrow",
    "⇌",
    "rightleftharpoons",
    "↑",
    "uparrow",
    "↓",
    "downarrow",
    "…",
    "dots",
    "⋯",
    "cdots",
    "⋮",
    "vdots",
    "⋱",
    "ddots",
    "′",
    "prime",
    "ℏ",
    "hbar",
    "ℓ",
    "ell",
    "ℜ",
    "Re",
    "ℑ",
    "Im",
    "ℵ",
    "aleph",
    "⟨",
    "langle",
    "⟩",
    "rangle",
    "⌊",
    "lfloor",
    "⌋",
    "rfloor",
    "⌈",
    "lceil",
    "⌉",
    "rceil",
    "‖",
    "|",
    "∣",
    "mid",
    "°",
    "degree",
    "†",
    "dagger",
    "△",
    "triangle",
    "□",
    "square",
    "∴",
    "therefore",
    "∵",
    "because",
    "⊢",
    "vdash",
    "⊨",
    "models",
]
SYMBOLS = {char: "\\" + name for char, name in zip(_NAMES[::2], _NAMES[1::2], strict=True)}
SYMBOLS |= {
    "−": "-", "‐": "-", "–": "-", "\u2061": "", "\u2062": "", "\u2063": "", "\u2064": "", "\xa0": " ", "%": "\\%",
    "#": "\\#", "&": "\\&", "{": "\\{", "}": "\\}", "$": "\\$", "_": "\\_", "°": "^\\circ ", "ℝ": "\\mathbb{R}",
    "ℕ": "\\mathbb{N}", "ℤ": "\\mathbb{Z}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "′": "'", "″": "''",
}  # fmt: skip
FUNCTIONS = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "cot",
        "sec",
        "csc",
        "arcsin",
        "arccos",
        "arctan",
        "sinh",
        "cosh",
        "tanh",
        "coth",
        "log",
        "ln",
        "lg",
        "exp",
        "lim",
        "limsup",
        "liminf",
        "max",
        "min",
        "sup",
        "inf",
        "det",
        "dim",
        "ker",
        "deg",
        "gcd",
        "arg",
        "hom",
        "Pr",
    ]
)
ACCENTS = {
    "¯": "overline", "‾": "overline", "_": "overline", "^": "hat", "ˆ": "hat", "~": "tilde", "˜": "tilde", "→": "vec",
    "⃗": "vec", "˙": "dot", ".": "dot", "¨": "ddot", "⏞": "overbrace", "̂": "hat", "ˇ": "check",
}  # fmt: skip
UNDERS = {"⏟": "underbrace", "_": "underline", "̲": "underline", "¯": "underline"}
VARIANTS = {
    "bold": "mathbf", "bold-italic": "boldsymbol", "double-struck": "mathbb", "script": "mathcal", "fraktur": "mathfrak",
    "sans-serif": "mathsf", "monospace": "mathtt",
}  # fmt: skip
COMMAND = re.compile(r"\\[A-Za-z]+$")
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


def clean_tex(tex: str) -> str:
    r"""TeX without outer delimiters, ``{\displaystyle …}`` wrappers and line breaks."""
    tex = PRIVATE.sub("", " ".join(tex.split()))
    for opened, closed in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        if len(tex) > len(opened) + len(closed) and tex.startswith(opened) and tex.endswith(closed):
            tex = tex[len(opened) : -len(closed)].strip()
            break
    wrapper = re.fullmatch(r"\{\\(?:displaystyle|textstyle)\s*(.*)\}", tex)
    if wrapper and _balanced(wrapper[1]):
        tex = wrapper[1].strip()
    return re.sub(r"(?<!\\)\$", r"\\$", tex)  # a dollar inside would close the formula too early


def _balanced(tex: str) -> bool:
    depth = 0
    for char in re.sub(r"\\.", "", tex):
        depth += (char == "{") - (char == "}")
        if depth < 0:
            return False
    return depth == 0


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


def _symbols(text: str) -> str:
    out = ""
    for char in text:
        tex = SYMBOLS.get(char, char)
        if tex[:1].isalpha() and COMMAND.search(out[-30:]):
            out += " "
        out += tex
    return out


def _append(out: str, piece: str) -> str:
    if piece[:1].isalpha() and COMMAND.search(out[-30:]):
        return f"{out} {piece}"
    return out + piece


def _row(nodes: list[LexborNode], depth: int) -> str:
    out = ""
    for node in nodes:
        out = _append(out, _tex(node, depth))
    return out


def _argument(tex: str) -> str:
    return tex if len(tex) == 1 and tex.isalnum() else "{" + tex + "}"


def _base(tex: str) -> str:
    return tex if len(tex) == 1 or re.fullmatch(r"\\[A-Za-z]+|\([^()]*\)", tex) else "{" + tex + "}"


def _tex(node: LexborNode, depth: int) -> str:
    if depth > MAX_DEPTH:
        return _symbols(flat(node))
    tag, below = node.tag, depth + 1
    match tag:
        case "mi":
            text = flat(node)
            variant = VARIANTS.get(node.attributes.get("mathvariant") or "")
            if variant:
                return f"\\{variant}{{{_symbols(text)}}}"
            if len(text) > 1 and text.isascii() and text.isalpha():
                return f"\\{text}" if text in FUNCTIONS else f"\\mathrm{{{text}}}"
            return _symbols(text)
        case "mn":
            return _symbols(flat(node))
        case "mo":
            text = flat(node)
            return f"\\{text}" if text in FUNCTIONS else _symbols(text)
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
        return _row(parts, below) if parts else _symbols(flat(node))
    match tag:
        case "mfrac":
            if (node.attributes.get("linethickness") or "") in ("0", "0px", "0pt"):
                return f"\\binom{{{pieces[0]}}}{{{pieces[1]}}}"
            return f"\\frac{{{pieces[0]}}}{{{pieces[1]}}}"
        case "mroot":
            return f"\\sqrt[{pieces[1]}]{{{pieces[0]}}}"
        case "msup":
            return f"{_base(pieces[0])}^{_argument(pieces[1])}"
        case "msub":
            return f"{_base(pieces[0])}_{_argument(pieces[1])}"
        case "msubsup" | "munderover":
            return f"{_base(pieces[0])}_{_argument(pieces[1])}^{_argument(pieces[2])}"
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
        return f"{base}{mark}{_argument(argument)}"
    return f"\\{otherwise}{{{argument}}}{{{base}}}"


def _table(rows: list[LexborNode], depth: int) -> str:
    lines = []
    for row in rows:
        cells = [cell for cell in children(row) if cell.tag == "mtd"]
        lines.append(" & ".join(_row(children(cell), depth + 1) or _symbols(flat(cell)) for cell in cells))
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
        out = _append(out, _tex(part, depth))
    return f"\\left{_symbols(opened) or '.'}{out}\\right{_symbols(closed) or '.'}"


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


# -- delimiters in text --------------------------------------------------------------------------------------

ENVIRONMENT = r"(?:equation|align|gather|multline|eqnarray|displaymath|math|alignat|flalign)"
DELIMITED = re.compile(
    r"(?P<code>" + CODE_OPEN + r"[^" + CODE_CLOSE + r"]*" + CODE_CLOSE + r")"
    r"|(?P<done>["
    + INLINE_OPEN
    + DISPLAY_OPEN
    + r"][^"
    + INLINE_CLOSE
    + DISPLAY_CLOSE
    + r"]*["
    + INLINE_CLOSE
    + DISPLAY_CLOSE
    + r"])"
    r"|\\\[(?P<bracket>(?:[^\\]|\\(?!\])){1,4000}?)\\\]"
    r"|\\\((?P<paren>(?:[^\\]|\\(?!\))){1,4000}?)\\\)"
    r"|\$\$(?P<dollars>[^$]{1,4000})\$\$"
    r"|(?P<env>\\begin\{(?P<name>" + ENVIRONMENT + r")(?P<star>\*?)\}(?:[^\\]|\\(?!end\{(?P=name)(?P=star)\})){1,4000}"
    r"\\end\{(?P=name)(?P=star)\})"
    r"|(?P<escaped>\\\$)"
    r"|\$(?P<dollar>[^\s$](?:[^$]{0,1000}?[^\s$\\])?)\$(?!\d)"
    r"|(?P<prose>\$)"
)
PROSE_WORDS = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}(?![A-Za-z}])")
MATH_SIGNS = re.compile(
    r"[\\^_=<>+*/|{}]|^[A-Za-z]'?$|^[A-Za-z]\([^)]*\)$|^-?\d+(?:[.,]\d+)?[A-Za-z]?$|^[A-Za-z](?:\s*,\s*[A-Za-z])+$|-"
)


def _is_math(body: str) -> bool:
    """Whether the text between two single dollars is a formula rather than prose between two prices."""
    if not MATH_SIGNS.search(body):
        return False
    return "\\" in body or len(PROSE_WORDS.findall(body)) <= 1


def delimited(text: str) -> str:
    """``text`` with its TeX delimiters as private marks, and prose dollars escaped."""
    if "$" not in text and "\\" not in text:
        return text
    if len(text) > MAX_DELIMITED:
        return text.replace("$", "\\$")

    def mark(found: re.Match[str]) -> str:
        kind = found.lastgroup or ""
        if kind in ("code", "done"):
            return found[0]
        if kind in ("bracket", "dollars", "env"):
            return DISPLAY_OPEN + clean_tex(_unmarked(found[kind])) + DISPLAY_CLOSE
        if kind == "paren":
            return INLINE_OPEN + clean_tex(_unmarked(found[kind])) + INLINE_CLOSE
        if kind == "dollar":
            if _is_math(found["dollar"]):
                return INLINE_OPEN + clean_tex(_unmarked(found["dollar"])) + INLINE_CLOSE
            return "\\$" + delimited(found[0][1:])
        return "\\$"

    return DELIMITED.sub(mark, text)


def _unmarked(tex: str) -> str:
    """TeX in which the page's HTML sub/sup marks and breaks have become plain TeX."""
    tex = tex.replace(SUB_OPEN, "_{").replace(SUP_OPEN, "^{").replace(SCRIPT_CLOSE, "}")
    return tex.replace(BREAK, " ").replace(CODE_OPEN, "").replace(CODE_CLOSE, "")


SCRIPTED = re.compile(
    f"(?P<base>[A-Za-zΑ-ω0-9()\\[\\].,+\u2212-]{{0,40}})"
    f"(?P<run>(?:[{SUB_OPEN}{SUP_OPEN}][^{SUB_OPEN}{SUP_OPEN}{SCRIPT_CLOSE}]*{SCRIPT_CLOSE}[A-Za-z0-9()\\[\\]]*)+)"
)
SCRIPT = re.compile(f"([{SUB_OPEN}{SUP_OPEN}])([^{SCRIPT_CLOSE}]*){SCRIPT_CLOSE}")
ORDINAL = re.compile(r"st|nd|rd|th|e|er|ème|o|a|ª|º|TM|SM|®|™|©", re.IGNORECASE)
FORMULA = re.compile(r"\d*(?:[A-Z][a-z]?|[()\[\]\d])+")
WORD = re.compile(r"[A-Za-z]*[a-z]{3,}[A-Za-z]*|[A-Za-z]{5,}")


def _opening(base: str) -> int:
    """Where the bracket that closes last in ``base`` opens, -1 when it does not."""
    depth = 0
    for at in range(len(base) - 1, -1, -1):
        depth += (base[at] == ")") - (base[at] == "(")
        if depth == 0 and base[at] == "(":
            return at
    return -1


def scripted(text: str) -> str:
    r"""``text`` with HTML sub/sup runs as inline TeX: ``x²`` as ``$x^2$``, ``H₂O`` as ``$\mathrm{H_2O}$``."""
    if SUB_OPEN not in text and SUP_OPEN not in text:
        return text

    def run(found: re.Match[str]) -> str:
        base, marks = found["base"], found["run"]
        scripts = SCRIPT.findall(marks)
        plain = SCRIPT.sub("", marks)
        if all(mark == SUP_OPEN and ORDINAL.fullmatch(body.strip()) for mark, body in scripts):
            return base + SCRIPT.sub(lambda script: script[2], marks)
        if any(set(body) & {INLINE_OPEN, DISPLAY_OPEN, CODE_OPEN, BREAK} for _, body in scripts):
            return base + SCRIPT.sub(lambda script: script[2], marks)
        tex = SCRIPT.sub(
            lambda script: ("_" if script[1] == SUB_OPEN else "^") + _argument(_symbols(script[2].strip())),
            marks,
        )
        tex = re.sub(r"[_^]\{\}", "", tex)
        lead = re.search(r"[A-Za-zΑ-ω0-9()\[\]]*$", base)
        word = lead[0] if lead else ""
        outside = base[: len(base) - len(word)]
        if WORD.search(word) or WORD.search(plain):
            return base + SCRIPT.sub(
                lambda script: (
                    INLINE_OPEN
                    + ("_" if script[1] == SUB_OPEN else "^")
                    + _argument(_symbols(script[2].strip()))
                    + INLINE_CLOSE
                ),
                marks,
            )
        if word.count("(") < word.count(")") and (start := _opening(base)) >= 0:
            outside, word = base[:start], base[start:]
        if word.count("(") < word.count(")") or word.count("[") < word.count("]"):
            return outside + word + INLINE_OPEN + tex + INLINE_CLOSE
        opening = re.match(r"^[(\[]+", word)
        if opening and (word + plain).count("(") + (word + plain).count("[") > (word + plain).count(")") + (
            word + plain
        ).count("]"):
            outside, word = outside + opening[0], word[opening.end() :]
        closing = ""
        while tex.endswith((")", "]")) and (word + plain).count(tex[-1]) > (word + plain).count(
            "(" if tex[-1] == ")" else "["
        ):
            closing, tex, plain = tex[-1] + closing, tex[:-1], plain[:-1]
        elements = re.findall(r"[A-Z][a-z]?", word + plain)
        formula = len(elements) > 1 and FORMULA.fullmatch(word + plain) is not None
        whole = f"\\mathrm{{{word}{tex}}}" if formula else word + tex
        return outside + INLINE_OPEN + whole + INLINE_CLOSE + closing

    return re.sub(f"[{SUB_OPEN}{SUP_OPEN}{SCRIPT_CLOSE}]", "", SCRIPTED.sub(run, text))


def finished(text: str) -> str:
    """``text`` with the private marks as Markdown: ``$…$``, ``$$…$$``, back-ticked code."""
    text = (
        text.replace(INLINE_OPEN, "$")
        .replace(INLINE_CLOSE, "$")
        .replace(DISPLAY_OPEN, "$$")
        .replace(DISPLAY_CLOSE, "$$")
    )
    return text.replace(CODE_OPEN, "`").replace(CODE_CLOSE, "`")
