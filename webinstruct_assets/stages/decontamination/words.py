r"""Text as the words that benchmark matching compares.

In: any text, plain or with TeX. Out: a list of words. Two texts that differ only in case, spacing, punctuation,
Unicode form or TeX notation give the same list:

* NFKC, case folding; zero-width characters and soft hyphens go;
* TeX delimiters, braces, punctuation and signs (``= + - < >`` …) go, and so do the TeX commands that stand for a
  sign, a space or a typeface (``\cdot``, ``\frac``, ``\left``, ``\text`` …); other commands count as their name;
* Greek letters count as their English name, as their TeX commands do;
* letters and digits are split from each other (``4x^3``, ``4x³`` and ``4x3`` are all ``4 x 3``); a decimal number is
  one word, and thousands separators go (``1,250.5`` is ``1250.5``).
"""

import re
import unicodedata

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ο": "omicron", "π": "pi", "ρ": "rho",
    "σ": "sigma", "ς": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
}  # fmt: skip
# Zero-width space, joiners, byte-order mark, word joiner and soft hyphen are invisible; Greek becomes a word of its own.
_TRANSLATE = str.maketrans(
    {**dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", ""), **{a: f" {b} " for a, b in _GREEK.items()}}
)
# Commands for which a page in plain text has a sign, a space or nothing at all.
_SILENT = frozenset(
    [
        "frac",
        "dfrac",
        "tfrac",
        "cfrac",
        "sqrt",
        "left",
        "right",
        "middle",
        "big",
        "bigg",
        "bigl",
        "bigr",
        "biggl",
        "biggr",
        "displaystyle",
        "textstyle",
        "scriptstyle",
        "limits",
        "nolimits",
        "quad",
        "qquad",
        "hspace",
        "vspace",
        "hfill",
        "phantom",
        "text",
        "textbf",
        "textit",
        "textrm",
        "texttt",
        "textsf",
        "textnormal",
        "emph",
        "mathrm",
        "mathbf",
        "mathit",
        "mathsf",
        "mathtt",
        "mathbb",
        "mathcal",
        "mathscr",
        "mathfrak",
        "boldsymbol",
        "bm",
        "operatorname",
        "mbox",
        "hbox",
        "boxed",
        "cdot",
        "times",
        "div",
        "pm",
        "mp",
        "ast",
        "star",
        "circ",
        "bullet",
        "le",
        "leq",
        "leqslant",
        "ge",
        "geq",
        "geqslant",
        "lt",
        "gt",
        "ne",
        "neq",
        "equiv",
        "approx",
        "sim",
        "simeq",
        "cong",
        "propto",
        "to",
        "gets",
        "rightarrow",
        "leftarrow",
        "longrightarrow",
        "leftrightarrow",
        "mapsto",
        "implies",
        "iff",
        "infty",
        "sum",
        "prod",
        "int",
        "iint",
        "oint",
        "partial",
        "nabla",
        "in",
        "notin",
        "ni",
        "subset",
        "subseteq",
        "supset",
        "cup",
        "cap",
        "setminus",
        "emptyset",
        "varnothing",
        "forall",
        "exists",
        "neg",
        "land",
        "lor",
        "wedge",
        "vee",
        "oplus",
        "otimes",
        "ldots",
        "cdots",
        "dots",
        "vdots",
        "ddots",
        "degree",
        "prime",
        "mid",
        "parallel",
        "perp",
        "angle",
        "triangle",
        "langle",
        "rangle",
        "lfloor",
        "rfloor",
        "lceil",
        "rceil",
        "lvert",
        "rvert",
        "vert",
        "lbrace",
        "rbrace",
        "overline",
        "underline",
        "bar",
        "hat",
        "vec",
        "tilde",
        "dot",
        "ddot",
        "widehat",
        "widetilde",
        "overrightarrow",
        "color",
        "tag",
        "label",
        "nonumber",
        "hline",
    ]
)
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\([a-z]+)\*?")
_TEX_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)(?=\d{3}(?!\d))")
_WORD = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d+)?|[^\W\d_]+")


def words(text: str) -> list[str]:
    """The words of ``text`` (see above)."""
    text = unicodedata.normalize("NFKC", text).casefold().translate(_TRANSLATE)
    if "\\" in text:
        text = _COMMAND.sub(_command, _TEX_THOUSANDS.sub("", text))
    return [word.replace(",", "") for word in _WORD.findall(text)]


def _command(match: re.Match[str]) -> str:
    name = match[1] or ""
    if name in _SILENT:
        return " "
    return f" {name.removeprefix('var')} "
