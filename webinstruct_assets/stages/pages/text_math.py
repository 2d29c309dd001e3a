r"""Mathematics in a page's text: TeX between delimiters, and HTML's sub and sup, as formulas between private marks.

Text goes in; text whose formulas stand between ``marks`` comes out. Prose dollars come out as ``\$``.
"""

import re

from webinstruct_assets.stages.pages.marks import (
    BREAK,
    CODE_CLOSE,
    CODE_OPEN,
    DISPLAY_CLOSE,
    DISPLAY_OPEN,
    INLINE_CLOSE,
    INLINE_OPEN,
    SCRIPT_CLOSE,
    SUB_OPEN,
    SUP_OPEN,
)
from webinstruct_assets.stages.pages.tex import braced, clean_tex, symbols

MAX_DELIMITED = 50_000  # a longer block is no prose; matching delimiters in it would cost seconds
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
            lambda script: ("_" if script[1] == SUB_OPEN else "^") + braced(symbols(script[2].strip())),
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
                    + braced(symbols(script[2].strip()))
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
