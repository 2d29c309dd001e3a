r"""Text as the words that benchmark matching and duplicate search compare.

In: any text, plain or with TeX. Out: a list of words. Two texts that differ only in case, spacing, punctuation,
Unicode form or TeX notation give the same list:

* NFKC, case folding; zero-width characters and soft hyphens go; decimal digits of any script are ASCII digits;
* TeX delimiters, braces, punctuation and signs (``= + - < >`` …) go, and so do the TeX commands that stand for a
  sign, a space or a typeface (``\cdot``, ``\frac``, ``\left``, ``\text`` …); other commands count as their name;
* Greek letters count as their English name, as their TeX commands do;
* letters and digits are split from each other (``4x^3``, ``4x³`` and ``4x3`` are all ``4 x 3``), raised and lowered
  digits and fractions from what stands before them (``10²`` and ``10^2`` are ``10 2``); a decimal number is one
  word, and thousands separators go (``1,250.5`` and ``1{,}250.5`` are ``1250.5``).

With ``tex=False`` (configuration: ``normalisation: plain``) a backslash is punctuation and every command a word.
This module states what the words are; ``kernel.py`` computes their hashes fast and is tested against it.
"""

import re
import unicodedata
from functools import cache

# Planes 0 and 1; what follows holds no digit, and no letter that folds to another.
CODE_POINTS = 0x20000
GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ο": "omicron", "π": "pi", "ρ": "rho",
    "σ": "sigma", "ς": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
}  # fmt: skip
# Zero-width space, joiners, byte-order mark, word joiner and soft hyphen.
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
# Commands for which a page in plain text has a sign, a space or nothing at all.
_SILENT = (
    "frac dfrac tfrac cfrac sqrt left right middle big bigg bigl bigr biggl biggr displaystyle textstyle "
    "scriptstyle limits nolimits quad qquad hspace vspace hfill phantom text textbf textit textrm texttt textsf "
    "textnormal emph mathrm mathbf mathit mathsf mathtt mathbb mathcal mathscr mathfrak boldsymbol bm operatorname "
    "mbox hbox boxed cdot times div pm mp ast star circ bullet le leq leqslant ge geq geqslant lt gt ne neq equiv "
    "approx sim simeq cong propto to gets rightarrow leftarrow longrightarrow leftrightarrow mapsto implies iff "
    "infty sum prod int iint oint partial nabla in notin ni subset subseteq supset cup cap setminus emptyset "
    "varnothing forall exists neg land lor wedge vee oplus otimes ldots cdots dots vdots ddots degree prime mid "
    "parallel perp angle triangle langle rangle lfloor rfloor lceil rceil lvert rvert vert lbrace rbrace overline "
    "underline bar hat vec tilde dot ddot widehat widetilde overrightarrow color tag label nonumber hline"
)
SILENT = frozenset(_SILENT.split())
_COMMAND = re.compile(r"\\(?:begin|end)\s*\{[^{}]*\}|\\([a-z]+)\*?")
_TEX_THOUSANDS = re.compile(r"(?<=[0-9])(?:\{,\}|,\\!|\\,)(?=[0-9]{3}(?![0-9]))")
_WORD = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|[^\W\d_]+")


def words(text: str, *, tex: bool = True) -> list[str]:
    """The words of ``text`` (see above)."""
    if not text.isascii():
        apart, translate = _tables()
        text = unicodedata.normalize("NFKC", apart.sub(r" \g<0> ", text)).casefold().translate(translate)
    else:
        text = text.lower()
    if tex:
        text = _TEX_THOUSANDS.sub("", text)
        if "\\" in text:
            text = _COMMAND.sub(_command, text)
    return [word.replace(",", "") for word in _WORD.findall(text)]


def _command(match: re.Match[str]) -> str:
    name = match[1] or ""
    if name in SILENT:
        return " "
    return f" {name.removeprefix('var')} "


def stands_apart(character: str) -> bool:
    """Whether a character is no digit itself but holds some: ``²``, ``½``, ``①``."""
    return (
        not character.isascii()
        and not character.isdecimal()
        and any("0" <= part <= "9" for part in unicodedata.normalize("NFKC", character))
    )


@cache
def _tables() -> tuple[re.Pattern[str], dict[int, str]]:
    """Runs of characters that stand apart, and what becomes of single characters after NFKC and case folding."""
    characters = [chr(code) for code in range(0x80, CODE_POINTS) if not 0xD800 <= code <= 0xDFFF]
    apart = "".join(character for character in characters if stands_apart(character))
    digits = {ord(c): str(unicodedata.decimal(c)) for c in characters if c.isdecimal()}
    greek = {ord(letter): f" {name} " for letter, name in GREEK.items()}
    return re.compile(f"[{re.escape(apart)}]+"), {**dict.fromkeys(map(ord, INVISIBLE), ""), **digits, **greek}


def fold(character: str) -> str:
    """What ``words`` makes of a character that stands alone."""
    return unicodedata.normalize("NFKC", character).casefold().translate(_tables()[1])
