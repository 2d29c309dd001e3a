"""The corrected grader, whose verdict counts: symbolic equality by math-verify, and nothing is guessed.

In: a completion and an item's gold answer and options. Out: a ``Verdict``. Without a recognisable final answer
the verdict is wrong and ``extracted`` is None, so that failures to parse can be counted. What the paper's rules get
wrong and these do not: an invalid letter is no "A", an article is no letter, "not" is no "no", 1/2 is 0.5, 104 is not
100, (2, 1) is not (1, 2), and an answer that merely contains the gold one is another answer.
"""

import re
import threading
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from webinstruct_assets.stages.evaluation.graders.verdict import NO_ANSWER, Verdict

LETTERS = "ABCDEFGHIJ"
TRIGGER = re.compile(r"the\s+(?:final\s+)?answer\s+is:?", re.IGNORECASE)
LETTER = re.compile(r"[\s$*\\{]*(?:text\s*\{|boxed\s*\{)?\(?\s*([A-Ja-j1-9])\s*\)?(?=$|[\s.,:;)}$*])")
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
WORDS_OF_TRUTH = {"true": True, "yes": True, "false": False, "no": False}
# Longer than any benchmark's gold answer; beyond it a runaway completion could keep sympy busy for minutes.
MAX_EXPRESSION = 400


def grade(grader: str, completion: str, answer: str, choices: Sequence[str] | None = None) -> Verdict:
    """The verdict of ``grader`` (``choice``, ``math``, ``text``; ``mixed``: choice where there are options)."""
    if grader == "mixed":
        grader = "choice" if choices else "math"
    extracted = {"choice": extract_choice, "math": extract_math, "text": extract_text}[grader](completion, choices)
    if extracted is None:
        return Verdict(None, False, NO_ANSWER)
    equal = {"choice": same_letter, "math": same_math, "text": same_text}[grader]
    return Verdict(extracted, equal(extracted, answer))


# -- extraction -------------------------------------------------------------------------------------------


def final_statement(completion: str) -> str | None:
    """What follows the last "The answer is", to the end of its line; None when it is not said or left open."""
    parts = TRIGGER.split(completion)
    if len(parts) < 2:
        return None
    lines = parts[-1].strip().split("\n")
    statement = lines[0].strip()
    # Display formulas stand on lines of their own.
    if statement in ("$$", "\\[") and len(lines) > 1:
        statement = " ".join(line.strip() for line in lines)
    return statement or None


def extract_choice(completion: str, choices: Sequence[str] | None = None) -> str | None:
    """The letter stated: alone, in parentheses or before the option's text, or the option's text itself."""
    statement = final_statement(completion)
    if statement is None:
        boxed = last_boxed(completion)
        if boxed is None:
            return None
        statement = boxed
    found = LETTER.match(statement)
    if found and _is_label(statement, found, listed=bool(choices)):
        return found[1].upper()
    said = same_words(statement)
    for letter, option in zip(LETTERS, choices or (), strict=False):
        if same_words(option) == said:
            return letter
    return None


def _is_label(statement: str, found: re.Match[str], *, listed: bool) -> bool:
    """Whether the letter or digit found at the start of ``statement`` names an option."""
    label, rest = found[1], statement[found.end() :]
    if label.isdigit():
        # Only where a set writes its options into the question, as some ARC items do, are they numbered.
        return not listed
    if label.islower():
        # "a" is also an article, "i" a pronoun: alone, they are letters.
        return statement.strip(" .()$*").lower() == label
    # "A planet …" and "I think …" are sentences; "A", "A. planet" and "(A) planet" are not.
    return not (label in "AI" and "(" not in found[0] and re.match(r"\s+[a-z]", rest))


def extract_math(completion: str, choices: Sequence[str] | None = None) -> str | None:
    r"""The expression stated after "The answer is"; else the last ``\boxed``."""
    statement = final_statement(completion)
    if statement is None:
        return last_boxed(completion)
    boxed = last_boxed(statement)
    return boxed or _without_full_stop(statement) or None


def extract_text(completion: str, choices: Sequence[str] | None = None) -> str | None:
    """The words stated after "The answer is"."""
    statement = final_statement(completion)
    return _without_full_stop(statement) or None if statement else None


def last_boxed(text: str) -> str | None:
    r"""Content of the last complete ``\boxed{…}``."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth = 0
    for position in range(start + len("\\boxed"), len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[start + len("\\boxed{") : position].strip() or None
    return None


def _without_full_stop(text: str) -> str:
    """One final stop is punctuation; "..." and "3." keep what belongs to them."""
    text = text.strip()
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


# -- comparison -------------------------------------------------------------------------------------------


def same_letter(extracted: str, answer: str) -> bool:
    """Equal letters, with or without parentheses."""
    return extracted.strip("().").upper() == answer.strip("(). ").upper()


def same_words(text: str) -> str:
    """``text`` without case, outer punctuation and surplus white space."""
    return " ".join(text.strip().strip(".\"'").lower().split())


def same_text(extracted: str, answer: str) -> bool:
    """Equal words; an option's letter may lack its parentheses."""
    if same_words(extracted) == same_words(answer):
        return True
    option = re.fullmatch(r"\(([A-Za-z])\)", answer.strip())
    stated = re.match(r"\(?([A-Za-z])(?:\)|$)", extracted.strip())
    return bool(option and stated and option[1].upper() == stated[1].upper())


def same_math(extracted: str, answer: str) -> bool:
    """Equal as truth values, option letters, numbers, lists of numbers, or expressions (math-verify)."""
    gold = answer.strip()
    if gold.lower() in WORDS_OF_TRUTH:
        return WORDS_OF_TRUTH.get(same_words(extracted)) is WORDS_OF_TRUTH[gold.lower()]
    if re.fullmatch(r"\([a-zA-Z]\)", gold):
        return same_text(extracted, gold)
    numbers = number_list(gold)
    if numbers is not None:
        stated = number_list(extracted)
        if stated is not None:
            return len(stated) == len(numbers) and all(map(close, stated, numbers))
    number = to_number(gold)
    if number is not None:
        value = to_number(extracted)
        if value is not None:
            return close(value, number)
    if same_words(extracted).replace(" ", "") == same_words(gold).replace(" ", ""):
        return True
    return _same_expression(extracted, gold, number)


def to_number(text: str) -> Decimal | None:
    """The number that ``text`` is: plain or with separators, currency, percent sign or a unit in words after it."""
    text = text.strip().strip("$").replace("\\$", "").replace("\\!", "").replace("\\%", "%").replace("{,}", ",").strip()
    text = text.removeprefix("=").removeprefix("£").removeprefix("€").strip()
    found = NUMBER.match(text)
    if not found or not re.search(r"\d", found[0]):
        return None
    # Units are words ("18 dollars", "5 %"); anything with an operator, brace or digit is an expression.
    if not re.fullmatch(r"(?:\.|%|°|\s*(?:[A-Za-zµ°%]+[\s.]*)+)?", text[found.end() :]) or re.fullmatch(
        r"\s*[a-z]\.?", text[found.end() :]
    ):
        return None
    try:
        return Decimal(found[0].replace(",", ""))
    except InvalidOperation:
        return None


def number_list(text: str) -> list[Decimal] | None:
    """The numbers of ``[1, 2]`` or ``(1, 2)``; None when ``text`` is no list of at least two numbers."""
    found = re.fullmatch(r"[$\s]*[\[(](.+)[\])][$\s.]*", text.strip())
    parts = [to_number(part) for part in found[1].split(",")] if found and "," in found[1] else []
    return [part for part in parts if part is not None] if parts and None not in parts else None


def close(value: Decimal, gold: Decimal) -> bool:
    """Equal; where the gold is a decimal fraction, equal when rounded to its last given digit, within 1 %."""
    if value == gold:
        return True
    exponent = gold.as_tuple().exponent
    if not isinstance(exponent, int) or exponent >= 0:
        return False
    return abs(value - gold) <= min(Decimal(5).scaleb(exponent - 1), abs(gold) / 100)


def _same_expression(extracted: str, gold: str, number: Decimal | None) -> bool:
    """math-verify's verdict; a decimal gold also accepts an expression that rounds to it."""
    from math_verify import verify

    wanted, stated = _parsed(gold), _parsed(extracted)
    if not wanted or not stated:
        return False
    if verify(wanted, stated, timeout_seconds=_timeout()):
        return True
    if number is None:
        return False
    value = _evaluated(stated[0])
    return value is not None and close(value, number)


def _parsed(text: str) -> list[Any]:
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse

    text = text.strip()
    if len(text) > MAX_EXPRESSION:
        return []
    latex = text if "$" in text or "\\boxed" in text or "\\[" in text else f"${text}$"
    targets = [LatexExtractionConfig(), ExprExtractionConfig()]
    return list(
        parse(latex, extraction_config=targets, parsing_timeout=_timeout())
        or parse(text, extraction_config=targets, parsing_timeout=_timeout())
    )


def _evaluated(expression: Any) -> Decimal | None:
    try:
        return Decimal(str(expression.evalf(20)))
    except (AttributeError, InvalidOperation, TypeError, ValueError):
        return None


def _timeout() -> int | None:
    """math-verify stops runaway expressions by a signal, which only the main thread can receive."""
    return 5 if threading.current_thread() is threading.main_thread() else None
