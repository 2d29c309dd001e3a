"""Whether a refiner's reply may replace the pair.

In: a pair and the reply to it. Out: an ``Outcome``: the refined pair, or the reason for rejecting it. A pair whose
refinement fails is rejected; the original never passes for a refined one.

Statuses: ``unchanged``; ``refined`` (same question, same final answer); ``corrected`` (another final answer, which the
refiner says it corrected, with its reason: only where the prompt asks for that).

Reasons: ``llm_error``, ``defect_truncated``, ``defect_invalid`` (not the JSON asked for), ``defect_empty``, those of
``defects.py`` (``defect_refusal``, ``defect_leaked_prompt``, ``defect_loop``, ``defect_language``, ``defect_shortened``,
``defect_not_self_contained``), ``question_changed`` (numbers, choices, wording or what is asked for), ``answer_changed``
(another final answer, without a word about it).
"""

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher

from webinstruct_assets.core.foreign_json import read_json
from webinstruct_assets.core.llm.batches import Wanted
from webinstruct_assets.core.llm.client import LlmReply
from webinstruct_assets.stages.decontamination.words import words
from webinstruct_assets.stages.refinement.answers import (
    MARKS,
    SHORT_WORDS,
    Final,
    SameFinal,
    final_answer,
    kept_words,
    numbers,
    opposed,
    options,
    plain,
    same_final,
    telling,
    units_changed,
)
from webinstruct_assets.stages.refinement.defects import KEPT_LENGTH, defect, refuses

KEPT_QUESTION = 0.6  # share of a question's telling words that a rewording must keep
KEPT_NUMBERS = 0.6  # share of the numbers of an answer that has REASONED_NUMBERS of them or more
REASONED_NUMBERS = 4
SPELT_ALIKE = 0.75  # sulphur and sulfur, colour and colors
REASONING_WORDS = 8  # words that an answer without reasoning must gain to count as one with

_LABEL = re.compile(
    r"^\s*(?:(?:question|problem|exercise|example|task|item|q)\s*(?:no\.?\s*)?[\dIVX]*[a-z]?\s*[.:)\]-]+\s*|\(?\d{1,3}[a-z]?[).:\]]\s+|\([a-z]\)\s+)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\?|__|\.{4}|…|\b(?:find|solve|compute|calculate|determine|evaluate|show|prove|simplify|factori[sz]e|factor|expand|state|explain|describe"
    r"|give|name|write|list|estimate|sketch|draw|derive|convert|express|differentiate|integrate|define|identify|complete|choose|select"
    r"|balance|how|what|why|which|who|when|where|true or false|yes or no)\b",
    re.IGNORECASE,
)
# What leads into the book that a question stood in.
_REFERENCE = re.compile(
    r"[(\[]?\b(?:see|cf\.?|as in|from)?\s*(?:exercise|problem|section|chapter|page|example)s?\s+\d+(?:\.\d+)*\b[)\]]?",
    re.IGNORECASE,
)
_UNIT_POWER = re.compile(r"\b([kcm]?m|s|mol|kg|L|N)\s*\}?\s*\^\s*\{?\s*-?[1-3]\}?(?!\d)")
# Words without which, or with which, a question asks for something else; those of a kind may stand for each other.
_TURNS = {
    word: kind
    for kind, turning in {
        "not": "not no none never neither nor except incorrect false",
        "least": "least minimum minimal smallest lowest",
        "most": "maximum maximal largest greatest highest",
    }.items()
    for word in turning.split()
}
_SIGN = re.compile(r"(?<=[\w)}\s])[-+](?=\s*(?:[\d(\\]|[a-zA-Z]\b))")
_SENTENCE = re.compile(r"(?<=[.?!])\s+")
_NUMERALS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_NUMBER_WORDS = dict(zip(_NUMERALS, map(str, range(13)), strict=True))
# TeX commands whose first letter makes a JSON escape: models write "\times" where "\\times" is meant.
_TEX_IN_JSON = (
    "bar|begin|beta|big|binom|boldsymbol|bot|boxed|bullet|frac|forall|fbox|nabla|ne|neg|neq|ni|not|nu|rangle|rceil|rfloor|rho|right|Rightarrow"
    "|rightarrow|rm|tan|tau|text|textbf|textit|tfrac|theta|times|tilde|to|top|triangle"
)
_ESCAPE = re.compile(rf"\\(?:[\\\"/]|u[0-9a-fA-F]{{4}}|(?P<tex>(?:{_TEX_IN_JSON})(?![a-zA-Z]))|[bfnrt]|)")


@dataclass(frozen=True)
class Outcome:
    """``status``: of a kept pair; "" for one rejected with ``reason`` and ``detail``.

    ``finals``: the final answers before and after. ``correction``: the refiner's reason, for ``corrected``.
    ``reasoning_added``: the answer was a bare result before, and has reasoning now.
    """

    status: str
    question: str = ""
    answer: str = ""
    finals: tuple[Final, Final] | None = None
    correction: str = ""
    reasoning_added: bool = False
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class RefinedPair:
    """A reply as read: the pair, and what the refiner says it corrected ("" where it does not)."""

    question: str
    answer: str
    correction: str = ""


def check_reply(
    question: str,
    answer: str,
    reply: LlmReply,
    *,
    context: str = "",
    prompt_text: str = "",
    corrections: bool = False,
) -> Outcome:
    """The outcome of one pair. ``context`` and ``prompt_text``: what else the model was shown.

    ``corrections``: whether another final answer is kept where the refiner gives its reason.
    """
    if reply.error is not None:
        return _reject("llm_error", reply.error)
    if reply.finish_reason == "length":
        return _reject("defect_truncated", f"cut off after {reply.tokens_out} tokens: …{reply.text[-120:]}")
    parsed = parse_reply(reply.text)
    if parsed is None:
        return _reject("defect_invalid", reply.text[:200] or "(empty reply)")
    new_question, new_answer = parsed.question, parsed.answer
    if not words(new_question) or not words(new_answer):
        return _reject("defect_empty", "no question" if not words(new_question) else "no answer")
    for check in (defect, _question_problem):
        if problem := check(question, answer, new_question, new_answer, context, prompt_text):
            return _reject(*problem)
    final = same_final(question, answer, new_answer)
    # Of prose nobody can say what was corrected.
    corrected = not final.same and corrections and bool(words(parsed.correction)) and final.after.kind != "prose"
    if not corrected and (changed := _answer_problem(answer, new_answer, final)):
        return _reject("answer_changed", changed)
    unchanged = _folded(question) == _folded(new_question) and _folded(answer) == _folded(new_answer)
    return Outcome(
        "corrected" if corrected else "unchanged" if unchanged else "refined",
        new_question,
        new_answer,
        finals=(final.before, final.after),
        correction=parsed.correction if corrected else "",
        reasoning_added=len(words(answer)) <= SHORT_WORDS
        and len(words(new_answer)) >= len(words(answer)) + REASONING_WORDS,
    )


def retry_of(reply: LlmReply) -> Wanted:
    """What another try should have: more room for a reply that was cut off, another draw for one that is no pair."""
    if reply.finish_reason == "length":
        return "more_tokens"
    parsed = parse_reply(reply.text) if reply.error is None else None
    return "" if parsed and not refuses(f"{parsed.question}\n{parsed.answer}") else "another"


def _reject(reason: str, detail: str) -> Outcome:
    return Outcome("", reason=reason, detail=detail)


def _folded(text: str) -> str:
    return " ".join(text.split())


def parse_reply(text: str) -> RefinedPair | None:
    """The pair in a reply; None when it is not the JSON that was asked for."""
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        reply = read_json(_ESCAPE.sub(_repaired, text[start : end + 1]), strict=False)
    except ValueError:
        return None
    if (
        not isinstance(reply, dict)
        or not isinstance(reply.get("question"), str)
        or not isinstance(reply.get("answer"), str)
    ):
        return None
    correction = reply.get("correction")
    return RefinedPair(
        reply["question"].strip(), reply["answer"].strip(), correction.strip() if isinstance(correction, str) else ""
    )


def _repaired(escape: re.Match[str]) -> str:
    # An escape that JSON does not have (the empty alternative: \s, \(, …) is a TeX backslash too.
    return "\\" + escape[0] if escape["tex"] or escape[0] == "\\" else escape[0]


def _question_problem(
    question: str, answer: str, new_question: str, new_answer: str, context: str, prompt_text: str
) -> tuple[str, str] | None:
    old, new = _bare(_REFERENCE.sub(" ", question)), _bare(new_question)
    spelled, respelled = ({_NUMBER_WORDS[word] for word in words(text) if word in _NUMBER_WORDS} for text in (old, new))
    if lost := numbers(old) - numbers(new) - respelled:
        return "question_changed", f"number lost: {', '.join(sorted(lost))}"
    if added := numbers(new) - numbers(question) - numbers(context) - spelled:
        return "question_changed", f"number added: {', '.join(sorted(added))}"
    if (gone := spelled - respelled - numbers(new)) and (come := respelled - spelled - numbers(old)):
        return "question_changed", f"number word {', '.join(sorted(gone))} -> {', '.join(sorted(come))}"
    if turned := _turned(old, new) or opposed(old, new) or _replaced(old, new):
        return "question_changed", turned
    if other := units_changed(old, new):
        return "question_changed", other
    choices, new_choices = options(old), options(new)
    if choices.keys() != new_choices.keys():
        return "question_changed", f"choices {''.join(choices) or 'none'} -> {''.join(new_choices) or 'none'}"
    texts = {letter: words(text) for letter, text in choices.items()}
    for letter, text in new_choices.items():
        if words(text) != texts[letter] and words(text) in texts.values():
            return "question_changed", f"choice {letter} is what another was: {text}"
    if (kept := kept_words(old, new)) < KEPT_QUESTION:
        return "question_changed", f"only {kept:.0%} of its words are left"
    if _ASKS.search(old) and not _ASKS.search(new):
        return "question_changed", "it no longer asks for anything"
    asked = [sentence for sentence in _SENTENCE.split(old) if _ASKS.search(sentence)]
    if asked and (kept := kept_words(asked[-1], new)) < KEPT_QUESTION:
        return "question_changed", f"only {kept:.0%} of what it asks for is left: {asked[-1]}"
    final = final_answer(question, answer)
    if final.kind == "text" and final.value in " ".join(words(new)) and final.value not in " ".join(words(old)):
        return "question_changed", f"it gives the answer away: {final.value!r}"
    return None


def _bare(text: str) -> str:
    """A question without its label, marks and exponents of units."""
    return _UNIT_POWER.sub(r"\1", plain(MARKS.sub(" ", _LABEL.sub("", text))))


def _turned(old: str, new: str) -> str | None:
    """The word or sign that turns a question round (not, at least, maximum, minus) and was lost, added or replaced."""
    before, after = (
        {_TURNS[word] for word in words(re.sub(r"n['’]t\b", " not", text)) if word in _TURNS} for text in (old, new)
    )
    if before != after:
        return f"{', '.join(sorted(before)) or 'nothing'} -> {', '.join(sorted(after)) or 'nothing'}"
    signs, new_signs = (Counter(_SIGN.findall(text.replace("−", "-"))) for text in (old, new))
    if (signs - new_signs) and (new_signs - signs):
        return f"signs {dict(signs)} -> {dict(new_signs)}"
    return None


def _replaced(old: str, new: str) -> str | None:
    """``electrons -> protons`` where a telling word or two were replaced and nothing else changed: no editing does that."""
    before, after = words(old), words(new)
    swapped = []
    for kind, first, end, start, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            continue
        pairs = list(zip(before[first:end], after[start:stop], strict=False))
        if (
            kind != "replace"
            or end - first != stop - start
            or not all(telling(word) for pair in pairs for word in pair)
        ):
            return None
        swapped += pairs
    other = [pair for pair in swapped if SequenceMatcher(None, *pair).ratio() < SPELT_ALIKE]
    return ", ".join(f"{one} -> {another}" for one, another in other) if 0 < len(other) <= 2 else None


def _answer_problem(answer: str, new_answer: str, final: SameFinal) -> str | None:
    if not final.same:
        return str(final)
    # Beyond the last line: a reasoned answer that shares few words with the original has other reasoning.
    if len(words(answer)) > SHORT_WORDS and (kept := kept_words(answer, new_answer)) < KEPT_LENGTH:
        return f"{final}, but only {kept:.0%} of its words are left"
    had = numbers(answer)
    if len(had) >= REASONED_NUMBERS and (share := len(had & numbers(new_answer)) / len(had)) < KEPT_NUMBERS:
        return f"{final}, but only {share:.0%} of its numbers are left"
    return None
