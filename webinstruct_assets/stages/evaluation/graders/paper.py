r"""The paper-compatible grader: rules of MAmmoTH2's evaluation code, so that its numbers can be compared with ours.

In: a completion and an item's gold answer. Out: a ``Verdict`` by those rules, faults included; ``corrected`` is the
grader whose verdict counts. The rules, each with the function it comes from (repository TIGER-AI-Lab/MAmmoTH2, folder
``math_eval``, commit 9c67cb1; ``utils.py`` unless another file is named):

* trigger: "The answer is:", "The answer is", "the answer is", for ``gsm8k`` also "####" (``run_open.py``,
  get_seperation_trigger); for letters "####" and "The answer is" only (``run_choice.py``);
* a completion that says a trigger twice is cut at its first blank line (answer_clean);
* what follows the last trigger is the answer; without a trigger the whole text is searched from its end (answer_clean);
* ``letter``: ``\b[A-J]\b`` in the upper-cased text, the first after a trigger, the last without one; for
  ``letter_abcd`` (GPQA) A to D (answer_clean);
* whatever is no letter counts as "A" (``run_choice.py``);
* ``gsm8k``: commas go, then ``-?\d+/?\.?\d*``, zeros after the point go, in the
  gold answer too (answer_clean, delete_extra_zero, data_reader);
* ``math``: the last \boxed; else after a trigger what follows the last "=", a number's unit cut off; else the last
  number; normalised by the rules of the MATH data set's authors (extract_math_answer, _strip_string);
* ``theoremqa``: "yes" or "true" anywhere is True, "no" or "false" anywhere is False; an option "(a)" to "(f)" is left as
  it is; else what follows the last "=", units removed, π as 3.14, evaluated (extract_theoremqa_answer, clean_units);
* ``text`` (BBH): what follows the trigger, as it is (answer_clean);
* equality: ignoring case; a gold answer "(a)" to "(f)" is right where it occurs in the answer; for TheoremQA's numbers
  integers after rounding, floats within 4 %, lists sorted and then element by element
  (compare_answer_with_groundtruth; ``number_utils.py``: compare_two_numbers, within_eps, compare_two_list);
* scores are shares of all items, so BBH's tasks weigh by their size (``compute_accuracy.py``).

Where this differs from the original, on purpose: a completion that contains ``print(`` is text here, the original runs
it without a sandbox; expressions are evaluated by sympy alone, the original hands strings of the model to ``eval``; LaTeX
is read by latex2sympy2_extended (math-verify's), the original has latex2sympy2; the gold answers of MATH are normalised
like the answers, which the original's prepared file is taken to be (it is not public).
"""

import ast
import re
import threading
from collections.abc import Sequence
from typing import Any, Literal

from webinstruct_assets.stages.evaluation.graders.verdict import NO_ANSWER, Verdict

Rules = Literal["letter", "letter_abcd", "gsm8k", "math", "theoremqa", "text"]
OPEN_TRIGGERS = ("The answer is:", "The answer is", "the answer is")
LETTER_TRIGGERS = ("####", "The answer is")
OPTIONS = ("(a)", "(b)", "(c)", "(d)", "(e)", "(f)")
TOLERANCE = 0.04
# Longer than any gold answer; an expression beyond it is not evaluated (a runaway completion would keep sympy busy).
MAX_EXPRESSION = 400
PARSING_SECONDS = 5


def grade_as_paper(rules: Rules, completion: str, answer: str) -> Verdict:
    """The verdict that the paper's evaluation code gives."""
    extracted = extract(rules, completion)
    if rules in ("letter", "letter_abcd"):
        valid = extracted if re.fullmatch("[A-J]", extracted) else None
        return Verdict(valid, (valid or "A") == answer, None if valid else NO_ANSWER)
    if rules == "gsm8k":
        answer = without_zeros(answer.replace(",", ""))
    if rules == "math":
        answer = strip_string(answer)
    number = gold_number(answer) if rules == "theoremqa" else None
    return Verdict(extracted or None, same(extracted, answer, number), None if extracted else NO_ANSWER)


# -- extraction -------------------------------------------------------------------------------------------


def extract(rules: Rules, completion: str) -> str:
    """The answer, "" when there is none."""
    letters = rules in ("letter", "letter_abcd")
    triggers = LETTER_TRIGGERS if letters else (*OPEN_TRIGGERS, "####") if rules == "gsm8k" else OPEN_TRIGGERS
    text = completion.strip("\n")
    if any(text.count(trigger) > 1 for trigger in triggers):
        text = text.split("\n\n")[0]
    parts = re.split("|".join(triggers), text)
    said = len(parts) > 1
    text = parts[-1].strip("\n").rstrip(".").rstrip("/").strip(" ")
    candidates = _candidates(rules, text, said)
    chosen = (candidates[0] if said else candidates[-1]) if candidates else ""
    return chosen.rstrip(".").rstrip("/")


def _candidates(rules: Rules, text: str, said: bool) -> list[str]:
    if rules in ("letter", "letter_abcd"):
        last = "J" if rules == "letter" else "D"
        return re.findall(rf"\b[A-{last}]\b", text.upper()) or [text.strip().strip(".")]
    if rules == "gsm8k":
        return [without_zeros(number) for number in re.findall(r"-?\d+/?\.?\d*", text.replace(",", ""))]
    if rules == "math":
        return [_math(text, said)]
    if rules == "theoremqa":
        return [_theoremqa(text, said)]
    return [text]


def without_zeros(number: str) -> str:
    """A number without zeros after its point ("18.0" is "18"); "1/2" becomes "0.5"; what is no number stays."""
    numerator, slash, denominator = number.partition("/")
    try:
        value = float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        return number
    return str(int(value)) if value.is_integer() else str(value)


def _math(text: str, said: bool) -> str:
    if "boxed" in text:
        found = _box(text)
    elif said:
        found = text.split("=")[-1].strip()
        if re.match(r"[\d.]+\s\D+$", found):
            found = found.split(" ")[0]
    else:
        found = next(reversed(re.findall(r"-?\d*\.?\d+", text)), "")
    return strip_string(found)


def _box(text: str) -> str:
    rest = text.split("boxed")[-1]
    if not rest.startswith("{"):
        return rest.split("$")[0].strip()
    depth = 0
    for position, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[1:position]
    return rest[1:]


def _theoremqa(text: str, said: bool) -> str:
    lower = text.lower()
    if "yes" in lower or "true" in lower:
        return "True"
    if "no" in lower or "false" in lower:
        return "False"
    if any(option in lower for option in OPTIONS):
        return text
    if not said:
        return next(reversed(re.findall(r"-?\d*\.?\d+", text)), "")
    text = without_units(text.split("=")[-1].strip())
    value = _evaluated(text)
    if value is not None:
        return value
    return text.split(" ")[0] if re.match(r"-?[\d.]+\s(?:\D+|[^\s]+)$", text) else text


def without_units(text: str) -> str:
    """π as 3.14; per cent as a division; currency and degrees removed."""
    text = text.replace("\\pi", "π")
    text = re.sub(r"(?<![\d}])π", "3.14", text)
    text = re.sub(r"(\d)π", r"\1*3.14", text)
    text = text.replace("{π}", "3.14").replace("*π", "*3.14")
    text = text.replace("%", "/100")
    for unit in ("$", "¥", "°C", " C", "°"):
        text = text.replace(unit, "")
    return text


def strip_string(text: str) -> str:
    r"""The normal form of a MATH answer: spaces, sizes, units, text marks and degrees gone, \frac and \sqrt in braces.

    Source: the rules of D. Hendrycks et al., Measuring mathematical problem solving with the MATH dataset
    (``math_equivalence``), which the paper's code takes over; 0.5 is 1/2 there, a simple a/b is a fraction.
    """
    for old, new in (
        ("\n", ""), ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\left", ""), ("\\right", ""),
        ("^{\\circ}", ""), ("^\\circ", ""), ("\\$", ""), ("$", ""), ("\\%", ""), ("%", ""), (" .", " 0."), ("{.", "{0."),
    ):  # fmt: skip
        text = text.replace(old, new)
    # A unit stands at the end in \text{ …}.
    before, mark, _ = text.rpartition("\\text{ ")
    text = before if mark else text
    if text.startswith("."):
        text = "0" + text
    left, equals, right = text.partition("=")
    if equals and "=" not in right and len(left) <= 2:
        text = right
    text = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", text).replace(" ", "")
    text = re.sub(r"\\frac(\w)(\w)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\frac(\w)\{", r"\\frac{\1}{", text)
    fraction = re.fullmatch(r"(-?\d+)/(-?\d+)", text)
    return f"\\frac{{{fraction[1]}}}{{{fraction[2]}}}" if fraction else text


# -- comparison -------------------------------------------------------------------------------------------


def gold_number(answer: str) -> float | list[float] | None:
    """TheoremQA's second gold value: the number or list that the answer is; None for truth values and words."""
    try:
        value = ast.literal_eval(answer)
    except (ValueError, SyntaxError):
        return None
    if isinstance(value, list) and all(isinstance(number, int | float) for number in value):
        return value
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def same(extracted: str, answer: str, number: float | Sequence[float] | None) -> bool:
    """Whether the answer is the gold one, by words and, where there is a gold ``number``, by value."""
    for mark in ("\\text{", "\\boxed{"):
        if mark in extracted:
            extracted = extracted.replace(mark, "").rstrip("}")
        if mark in answer:
            answer = answer.replace(mark, "").rstrip("}")
    if answer.lower() in OPTIONS:
        return answer.lower() in extracted.lower()
    if extracted.lower() == answer.lower():
        return True
    if number is None:
        return False
    if isinstance(number, int | float):
        return _same_number(_number(extracted), number)
    try:
        stated = ast.literal_eval(extracted)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    if not isinstance(stated, list | tuple) or len(stated) != len(number):
        return False
    values = [value if isinstance(value, int | float) else _number(str(value)) for value in stated]
    if any(value is None for value in values):
        return False
    return all(map(_same_number, sorted(value for value in values if value is not None), sorted(number)))


def _same_number(value: float | None, gold: float) -> bool:
    if value is None or value != value or abs(value) == float("inf"):
        return False
    return round(value) == gold if isinstance(gold, int) else abs(value - gold) <= abs(gold) * TOLERANCE


def _number(text: str) -> float | None:
    text = without_units(text)
    try:
        return float(text)
    except ValueError:
        pass
    value = _evaluated(text)
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _evaluated(text: str) -> str | None:
    """The value of a LaTeX expression or list as Python writes it; None when it has none (letters stay in it)."""
    if len(text) > MAX_EXPRESSION or not re.search(r"\d", text):
        return None
    value = _value(text)
    if isinstance(value, list):
        return None if None in value else f"[{', '.join(value)}]"
    return value


def _value(text: str) -> Any:
    from latex2sympy2_extended import latex2sympy
    from math_verify.utils import timeout

    inner = re.fullmatch(r"\s*[\[(](.*)[\])]\s*", text)
    if inner and "," in inner[1]:
        return [_value(part) for part in inner[1].split(",")]

    def evaluate() -> str | None:
        expression = latex2sympy(text)
        if getattr(expression, "free_symbols", {1}) or not expression.is_real:
            return None
        number = float(expression)
        return str(int(number)) if expression.is_Integer else str(number)

    # The signal that stops a runaway expression reaches the main thread only.
    limit = PARSING_SECONDS if threading.current_thread() is threading.main_thread() else None
    try:
        return timeout(timeout_seconds=limit)(evaluate)() if limit else evaluate()
    except Exception:  # the parser and sympy raise dozens of types for text that is no expression
        return None
