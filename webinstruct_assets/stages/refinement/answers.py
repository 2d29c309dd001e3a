"""The final answer of a text, and whether two texts end in the same one.

In: a question with an answer before and after refinement. Out: a ``Final`` each, and ``same_final``. When in
doubt the answers count as different: a wrongly rejected pair costs less than a wrongly changed one.
"""

import re
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from webinstruct_assets.stages.decontamination.words import words

SHORT_WORDS = 12  # an answer of at most this many words is all result and no reasoning
KEPT_WORDS = 0.6  # share of a prose answer's telling words that a rewording must keep

# What an exam paper prints beside a question or answer; no part of either.
MARKS = re.compile(r"[(\[]\s*\d+\s*(?:marks?|points?|pts?|credits?)\s*[)\]]", re.IGNORECASE)
_DELIMITERS = re.compile(r"\\[()\[\]]|\$\$?|\\(?:left|right|displaystyle|tfrac(?!\s*[{\d])|,|;|:|!)(?![a-zA-Z])")
_WRAPPED = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3}(?!\d))")
_SUPERSCRIPT = re.compile(r"[⁻⁺]?[⁰¹²³⁴-⁹]+")
_NUMBER = re.compile(
    r"(?<![\w.^_])(?<!\^[-+])[-+]?\d+(?:\.\d+)?(?:\s*\*\s*10\s*\^\s*[-+]?\d+|[eE][-+]?\d+)?(?:\s*/\s*\d+(?![\d.]))?"
)
_LEADING_NUMBER = re.compile(rf"(?:[Aa]bout|≈|=)?\s*({_NUMBER.pattern})\s*([%a-zA-Z°/^*\d ]{{0,24}})[.;:](?:\s|$)")
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*)\}")
_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_OPTION = re.compile(r"(?:(?<=\s)|^)\(?([A-Ha-h])[).:]\s+")
_STATED = re.compile(r"(?:answer|option|choice)\s*(?:is|:|=)?\s*\(?([A-H])\)?(?![\w'])")
# "3/28, about 0.107": what follows an exact result.
_ROUNDED = re.compile(
    r"[\s,;(]*(?:(?:that is|or|which is|i\.e\.)[\s,]*)?(?:about|approximately|approx\.|roughly|≈|\\approx)[\s$]*[-+]?\d[\d.,]*\s*[%\w]{0,4}[\s$).]*$"
)
# "5 + 3 = 8 new limbs after 15 days.": the last equation, when nothing is concluded from it.
_EQUATION = re.compile(
    r"=\s*\$?([-+]?\d[\d,.]*[\s$]*[a-zA-Z%°]*)(?![\d.,]*\s*[-+*/^=])(?:(?!\b(?:so|thus|hence|therefore|which|and)\b)[^=,;.\n]|\.(?=\d))*\.?$"
)
# A bare formula: single letters, digits, signs and functions, as "2/x" or "(x - 3)(x + 3)".
_FORMULA = re.compile(
    r"(?:[\d\s.()+\-−*/^√π]|\b(?:sin|cos|tan|ln|log|exp|sqrt|pi)\b|(?<![a-zA-Z])\d*[a-zA-Z](?![a-zA-Z]))+"
)
_OPERATED = re.compile(r"[a-zA-Z)]\s*[-+−*/^(]|[-+−*/^(]\s*\d*[a-zA-Z]")
_TUPLE = re.compile(r"[(\[](?![^)\]]*(?<![\\a-zA-Z])[a-zA-Z]{3})[^()\[\]'\"]*,[^()\[\]'\"]*[)\]]")
_CLOSING_TUPLE = re.compile(rf"{_TUPLE.pattern}$")
_YES_NO = re.compile(r"(yes|no|true|false)\b", re.IGNORECASE)
_STATED_YES_NO = re.compile(
    r"\b(?:answer|statement|claim|it|this|that)\s*(?:is|:)\s*(yes|no|true|false)\b", re.IGNORECASE
)
_SENTENCE = re.compile(r"(?<=[.?!;])\s+(?=\S)")
_NEGATIONS = frozenset({"not", "no", "never", "cannot", "neither", "nor", "t", "without"})
# Function words: they tell nothing about what a text is about.
STOP_WORDS = frozenset({
    "about", "after", "also", "and", "are", "because", "been", "but", "can", "does", "each", "for", "from", "had",
    "has", "have", "how", "into", "its", "many", "more", "most", "much", "not", "one", "only", "other", "out", "over",
    "same", "should", "some", "such", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
    "those", "through", "two", "use", "was", "were", "what", "when", "where", "which", "while", "who", "why", "will",
    "with", "would", "you", "your",
})  # fmt: skip
# Verbs that bid to answer.
_BIDDING = frozenset({
    "find", "calculate", "compute", "determine", "evaluate", "give", "name", "state", "list", "write", "show", "prove",
    "explain", "describe",
})  # fmt: skip
_UNITS = {
    spelling: unit
    for unit, spellings in {
        "m": "m metre metres meter meters", "km": "km kilometre kilometres kilometer kilometers", "cm": "cm centimetre centimetres centimeter centimeters",
        "mm": "mm millimetre millimetres millimeter millimeters", "g": "g gram grams", "kg": "kg kilogram kilograms", "mg": "mg milligram milligrams",
        "s": "s sec second seconds", "min": "min minute minutes", "h": "h hour hours", "day": "day days", "year": "year years",
        "N": "N newton newtons", "kN": "kN", "J": "J joule joules", "kJ": "kJ kilojoule kilojoules", "eV": "eV", "W": "W watt watts", "kW": "kW",
        "V": "V volt volts", "A": "A ampere amperes amp amps", "mA": "mA", "Hz": "Hz hertz", "kHz": "kHz", "Pa": "Pa pascal pascals", "kPa": "kPa",
        "K": "K kelvin", "mol": "mol mole moles", "L": "L l litre litres liter liters", "mL": "mL ml millilitre millilitres milliliter milliliters",
        "mi": "mile miles", "ft": "ft foot feet", "yd": "yard yards", "gal": "gal gallon gallons", "lb": "lb lbs pound pounds", "oz": "oz ounce ounces",
        "%": "% percent", "deg": "° degree degrees",
    }.items()
    for spelling in spellings.split()
}  # fmt: skip


_OPPOSITES = (
    "more/less", "more/fewer", "larger/smaller", "greater/less", "higher/lower", "longer/shorter", "faster/slower",
    "stronger/weaker", "increase/decrease", "rise/fall", "gain/lose", "expand/contract", "attract/repel",
    "absorb/emit", "above/below", "before/after", "left/right", "inside/outside", "upward/downward", "first/last",
    "positive/negative", "odd/even", "always/never", "same/different", "similarities/differences", "sum/product",
    "sum/difference", "mean/median", "maximum/minimum", "numerator/denominator", "reactant/product",
)  # fmt: skip


@dataclass(frozen=True)
class Final:
    """A final answer. ``value``: a letter, a number or expression as written, or the words of a text."""

    kind: Literal["choice", "number", "expression", "yes_no", "text", "prose"]
    value: str
    unit: str = ""

    def __str__(self) -> str:
        return f"{self.value} {self.unit}".rstrip()

    def described(self) -> str:
        """Kind and value for a reject's detail, cut where long."""
        value = self.value if len(self.value) <= 80 else self.value[:80] + "…"
        return f"{self.kind} {value!r}" + (f" {self.unit}" if self.unit else "")


def plain(text: str) -> str:
    r"""``text`` with TeX arithmetic written out: ``\(\frac{1}{2}\)`` is ``1/2``, ``3 \times 10^{-2}`` is ``3 * 10^-2``."""
    text = (
        _SUPERSCRIPT.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), text)
        .replace("−", "-")
        .replace("–", "-")
    )
    text = _DELIMITERS.sub(" ", _THOUSANDS.sub("", text))
    for _ in range(3):  # fractions within fractions
        text = _FRACTION.sub(lambda match: f"{_grouped(match[1])}/{_grouped(match[2])}", _WRAPPED.sub(r"\1", text))
    text = re.sub(r"\\(?:times|cdot)(?![a-zA-Z])|×|·|⋅|(?<=\d)\s*[xX]\s*(?=10\s*\^)", "*", text)
    text = re.sub(r"\^\s*\{\s*([-+]?\w+)\s*\}", r"^\1", text).replace("\\%", "%").replace("\\circ", "°")
    return re.sub(r"\\approx(?![a-zA-Z])|≈|\\simeq(?![a-zA-Z])", "=", text)


def _grouped(inner: str) -> str:
    inner = inner.strip()
    return inner if re.fullmatch(r"\w+(\.\d+)?", inner) else f"({inner})"


def numbers(text: str) -> set[str]:
    """The distinct unsigned numbers of a text (``0.50`` is ``0.5``), those in exponents and names (``q2``) included."""
    return {f"{Fraction(digits).limit_denominator(10**9)}" for digits in re.findall(r"\d+(?:\.\d+)?", plain(text))}


def units_changed(before: str, after: str) -> str | None:
    """The first number that stands with another unit than it had; None where all that have one keep it."""
    old, new = _quantities(before), _quantities(after)
    for number, units in old.items():
        if number in new and not units & new[number]:
            return f"unit of {number}: {', '.join(sorted(units))} -> {', '.join(sorted(new[number]))}"
    return None


def _quantities(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for match in re.finditer(r"(\d+(?:\.\d+)?)\s*([%°]|[a-zA-Z]+)", plain(text)):
        if unit := _UNITS.get(match[2]):
            found.setdefault(match[1], set()).add(unit)
    return found


def number_value(text: str) -> Fraction | None:
    """A number as ``numbers`` and ``Final`` write it; None when it is not one, or absurdly large."""
    match = re.fullmatch(
        r"([-+]?\d+(?:\.\d+)?)(?:\*10\^([-+]?\d{1,3})|[eE]([-+]?\d{1,3}))?(?:/(\d+))?", re.sub(r"\s", "", text)
    )
    if match is None:
        return None
    value = Fraction(match[1]) * Fraction(10) ** int(match[2] or match[3] or 0)
    below = int(match[4] or 1)
    return value / below if below else None


def options(question: str) -> dict[str, str]:
    """Letter -> text of a question's choices, {} when it has none (A and B must be there, in order)."""
    marks = list(_OPTION.finditer(question))
    letters = [mark[1].upper() for mark in marks]
    for first in range(len(marks)):
        run = 1
        while first + run < len(marks) and ord(letters[first + run]) == ord("A") + run:
            run += 1
        if letters[first] == "A" and run > 1:
            ends = [mark.start() for mark in marks[first + 1 : first + run]] + [len(question)]
            return {letters[first + i]: question[marks[first + i].end() : end].strip() for i, end in enumerate(ends)}
    return {}


def final_answer(question: str, answer: str) -> Final:
    """The final answer of ``answer``: boxed, a choice's letter, yes/no, a closing number or expression, or its words."""
    text = answer.replace("**", "").strip()
    choices = options(question)
    if choices and (letter := _choice(text, choices)):
        return Final("choice", letter)
    if boxed := _BOXED.findall(text):
        return _math_final(boxed[-1], "") or Final("text", " ".join(words(boxed[-1])))
    if match := _YES_NO.match(text) or _STATED_YES_NO.search(text):
        return Final("yes_no", {"true": "yes", "false": "no"}.get(match[1].lower(), match[1].lower()))
    if match := _LEADING_NUMBER.match(plain(text)):
        return Final("number", re.sub(r"\s", "", match[1]), _unit(match[2]))
    if (closing := _closing_math(text)) and (final := _math_final(*closing)):
        return final
    found = list(_NUMBER.finditer(plain(text)))
    if found:
        return Final("number", re.sub(r"\s", "", found[-1][0]), _unit(plain(text)[found[-1].end() :]))
    sequence = words(text)
    return Final("text" if len(sequence) <= SHORT_WORDS else "prose", " ".join(sequence))


def _choice(text: str, choices: dict[str, str]) -> str | None:
    # "B", "b)", "(b).": the whole answer; "(b). A pairs with T …", "B: …": its beginning. A bare small letter would be
    # the article of "a. …" too often.
    if boxed := _BOXED.fullmatch(text.strip("$ .")):
        text = _WRAPPED.sub(r"\1", boxed[1])
    for pattern in (r"\(?([A-Ha-h])\)?[.:)]?", r"(?:\(([A-Ha-h])\)|([A-H])(?=[).:,]))[).:,]*(?:\s.*)?"):
        if match := re.fullmatch(pattern, text, re.DOTALL):
            return match[match.lastindex or 1].upper()
    named = [letter.upper() for letter in [*_STATED.findall(text), *re.findall(r"\(([A-Ha-h])\)", text)]]
    stated = [letter for letter in named if letter in choices]
    if stated:
        return stated[-1]
    said = [letter for letter, choice in choices.items() if words(choice) and words(choice) == words(text)]
    return said[0] if len(said) == 1 else None


def _closing_math(text: str) -> tuple[str, str] | None:
    """(formula, what follows it) when the text ends in a formula, followed by a few words at most."""
    delimited = list(_MATH.finditer(text))
    after = text[delimited[-1].end() :] if delimited else ""
    if delimited and len(after.split()) <= 4 and not re.search(r"\d", after):
        groups = delimited[-1].groups()
        return next(group for group in groups if group is not None), after
    if pair := _CLOSING_TUPLE.search(text.rstrip(" .$")[-60:]):
        return pair[0], ""
    if not delimited and len(text) <= 60 and (re.search(r"[=<>≤≥\^\\√]", text) or _bare_formula(text)):
        return text.rstrip(" ."), ""
    return None


def _bare_formula(text: str) -> bool:
    number = re.match(rf"{_NUMBER.pattern}\s*([a-zA-Z]+)", text)
    return not (number and number[1] in _UNITS) and bool(_FORMULA.fullmatch(text) and _OPERATED.search(text))


def _math_final(formula: str, after: str) -> Final | None:
    formula = re.sub(r"√\s*\(?(\w+)\)?", r"\\sqrt{\1}", formula)
    side = re.split(r"(?<![\\<>!])=|\\approx(?![a-zA-Z])|≈|\\Rightarrow|\\to(?![a-zA-Z])", formula)[-1].strip(" .,;")
    written = plain(side).strip(" .,;")
    if match := re.fullmatch(rf"({_NUMBER.pattern})\s*(.*)", written, re.DOTALL):
        rest = match[match.lastindex or 2].strip()
        if not rest or _unit(rest) or re.fullmatch(r"[a-zA-Z]{3,}.*", rest):
            return Final("number", re.sub(r"\s", "", match[1]), _unit(rest or plain(after)))
    names = [
        word
        for word in re.findall(r"[a-zA-Z]{3,}", re.sub(r"\\[a-zA-Z]+", "", side))
        if word not in ("sin", "cos", "tan", "log", "exp", "sqrt")
    ]
    return Final("expression", re.sub(r"\s|\\[,;:! ]", "", side)) if side and not names else None


def _unit(after: str) -> str:
    match = re.match(r"\s*\\?([%°]|[a-zA-Z]+)", after)
    return _UNITS.get(match[1], "") if match else ""


@dataclass(frozen=True)
class SameFinal:
    """Whether two answers end in the same result, and both results."""

    same: bool
    before: Final
    after: Final

    def __str__(self) -> str:
        return f"{self.before.described()} -> {self.after.described()}"


def same_final(question: str, before: str, after: str) -> SameFinal:
    """Compares the results of two answers to ``question``."""
    before, after = MARKS.sub(" ", before).strip(), MARKS.sub(" ", after).strip()
    old, new = final_answer(question, before), final_answer(question, after)
    if _same(old, new, before, after):
        return SameFinal(True, old, new)
    equation = _EQUATION.search(after) if old.kind == "number" else None
    for stated in (_ROUNDED.sub("", after), after[: equation.end(1)] if equation else ""):
        if stated and stated != after and _same(old, other := final_answer(question, stated), before, stated):
            return SameFinal(True, old, other)
    return SameFinal(False, old, new)


def _same(old: Final, new: Final, before: str, after: str) -> bool:
    short = len(words(before)) <= SHORT_WORDS
    if short and old.kind == "number":
        if (numbers(before) - numbers(old.value)) - numbers(after):
            return False  # "1.0 m/s and 4.0 m/s": every number of a bare result is part of it
        if len(values := _values(before)) > 1 and set(values) == set(_values(_SENTENCE.split(after)[-1])):
            return True  # the same results in another order
    if short and _TUPLE.fullmatch(old.value) and _values(old.value) == _values(_SENTENCE.split(after)[-1]):
        return bool(_values(old.value))  # the same results, in order
    if old.kind in ("choice", "yes_no"):
        # The result of "No. … an aperture of at least 232 mm" is more than its first word.
        lost = numbers(before) - numbers(after) if old.kind == "yes_no" else set()
        return (old.kind, old.value) == (new.kind, new.value) and not lost
    if old.kind == "text":
        parts = [words(part) for part in re.split(r"[,;]|\band\b", before) if words(part)]
        return all(_says(part, words(after)) for part in parts) or (old.kind, old.value) == (new.kind, new.value)
    if old.kind == "prose":
        return _keeps(before, after) and not numbers(after)
    if new.kind not in ("number", "expression"):
        return False
    if old.unit and new.unit and old.unit != new.unit:
        return False
    if old.kind == new.kind == "number":
        return number_value(old.value) is not None and number_value(old.value) == number_value(new.value)
    return old.value == new.value or same_expression(old.value, new.value)


def _values(text: str) -> list[Fraction]:
    """The signed numbers of a result, in order; ``±4`` is two."""
    text = re.sub(r"(?:±|\\pm)\s*(\d[\d.]*)", r"\1 and -\1", plain(text))
    found = (number_value(match[0]) for match in _NUMBER.finditer(text))
    return [value for value in found if value is not None]


def _says(result: Sequence[str], text: Sequence[str]) -> bool:
    """Whether the words of a short result stand in ``text`` unbroken, and not right after a negation."""
    size = len(result)
    for start in range(len(text) - size + 1 if size else 0):
        if list(text[start : start + size]) == list(result) and not _NEGATIONS & set(text[max(0, start - 2) : start]):
            return True
    return False


def _keeps(before: str, after: str) -> bool:
    kept, negated = (
        kept_words(before, after),
        [sum(word in _NEGATIONS for word in words(text)) for text in (before, after)],
    )
    return kept >= KEPT_WORDS and negated[0] == negated[1] and not opposed(before, after)


def opposed(before: str, after: str) -> str | None:
    """``smaller -> larger``: a word of ``before`` that ``after`` has the opposite of, and not itself."""
    old, new = set(map(_stem, words(before))), set(map(_stem, words(after)))
    for pair in _OPPOSITES:
        word, other = map(_stem, pair.split("/"))
        for one, opposite in ((word, other), (other, word)):
            if one in old - new and opposite in new - old:
                return f"{one} -> {opposite}"
    return None


def telling(word: str) -> bool:
    """Whether a word says what a text is about: three letters or more, no function word, no verb that bids to answer."""
    return len(word) > 2 and word.isalpha() and word not in STOP_WORDS and word not in _BIDDING


def kept_words(before: str, after: str) -> float:
    """Share of the telling words of ``before`` that ``after`` has; 1 if none."""
    told = {_stem(word) for word in words(before) if telling(word)}
    return len(told & set(map(_stem, words(after)))) / len(told) if told else 1.0


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w\w\w)(?:ing|ed|es|s|e)$", "", word)


def same_expression(one: str, other: str) -> bool:
    """Whether two formulas are mathematically equal (math-verify); False for what is too large to try."""
    from math_verify import parse, verify

    if any(
        len(text) > 120 or "!" in text or re.search(r"\^\s*\{?[-+]?\d{3}|\^[^+\-=]*\^", text) for text in (one, other)
    ):
        return False  # web text: a tower of powers would keep sympy busy for ever
    # math-verify's time limits use SIGALRM, which only the main thread may set.
    limit = 3 if threading.current_thread() is threading.main_thread() else None
    old, new = (parse(f"${text}$", parsing_timeout=limit) for text in (one, other))
    return bool(old and new and verify(old, new, timeout_seconds=limit))
