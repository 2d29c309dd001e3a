"""Replies that are no use whatever they were asked: refusals, loops, leaked prompts, other languages, dangling references.

In: a pair before and after. Out: (reason, detail) of the first defect, None where there is none. A defect that the
pair had before refinement is not the refiner's, except that a question must stand on its own in the end.
"""

import re
from collections import Counter
from itertools import pairwise

from webinstruct_assets.stages.decontamination.words import words
from webinstruct_assets.stages.refinement.answers import kept_words

KEPT_LENGTH = 0.5  # a reasoned answer may lose half of its words, not more
REASONED_WORDS = 20
LOOP_WORDS, LOOP_TIMES = 5, 3
LEAK_WORDS = 8
LANGUAGE_WORDS = 12  # below that, guesses of a language are worth nothing
KEPT_IN_TRANSLATION = 0.5  # a text that keeps more of its words was not translated, whatever the guess says

_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b|\bi(?:'m| am) (?:just )?an? (?:ai|language model)\b"
    r"|\bi(?:'m| am) (?:sorry|unable)\b|\bi (?:cannot|can't|can not|won't) (?:help|assist|answer|provide|do|fulfil|comply)"
    r"|\bi apologi[sz]e\b",
    re.IGNORECASE,
)
_SEEN = (
    r"(?:figures?|diagrams?|graphs?|pictures?|images?|photos?|drawings?|charts?|maps?|sketch|illustrations?|circuit)"
)
_READ = (
    r"(?:passages?|extracts?|paragraphs?|texts?|tables?|questions?|problems?|exercises?|examples?|parts?|equations?)"
)
_HERE = r"(?:above|below|opposite|overleaf|shown|on the (?:right|left)|at the (?:right|left))"
_DANGLING = re.compile(
    rf"\b(?:the|this|these|a)\s+(?:{_SEEN}|{_READ})\s+{_HERE}\b"
    rf"|\b(?:above|preceding|previous|foregoing|last|earlier)\s+(?:{_SEEN}|{_READ})\b"
    rf"|\b(?:following|adjacent|accompanying|given)\s+{_SEEN}\b"
    rf"|\bthis\s+{_SEEN}\b"
    r"|\b(?:shown|seen|drawn|pictured|listed|given|described|stated|mentioned)\s+(?:above|below|opposite|here)\b"
    r"|\b(?:in|from|see|refer to|to|use|using)\s+(?:the\s+)?(?:fig(?:ure)?|diagram|graph|exercise|question|problem|example|equation)s?\.?\s*\(?\d"
    r"|\b(?:using|from|with|in|to)\s+(?:the\s+)?(?:results?|answers?|parts?)\s+(?:of\s+|in\s+|from\s+|to\s+)?(?:part\s+)?\(?(?:[a-h]\)|[ivx]+\)|\d)"
    r"|(?<!\bof )\bthe above\b",  # "none of the above" is a choice
    re.IGNORECASE,
)
_TABLE = re.compile(r"\s\|\s.*\n.*\s\|\s", re.DOTALL)


def defect(
    question: str, answer: str, new_question: str, new_answer: str, context: str, prompt_text: str
) -> tuple[str, str] | None:
    """The first defect. ``context`` and ``prompt_text``: what else the model was shown."""
    old, new = f"{question}\n{answer}", f"{new_question}\n{new_answer}"
    if (match := _REFUSAL.search(new)) and not _REFUSAL.search(old):
        return "defect_refusal", new[max(0, match.start() - 40) : match.end() + 80]
    shown = _grams(words(prompt_text), LEAK_WORDS)
    leaked = [gram for gram in _grams(words(new), LEAK_WORDS) if gram in shown]
    if leaked and leaked[0] not in _grams(words(f"{old}\n{context}"), LEAK_WORDS):
        return "defect_leaked_prompt", leaked[0]
    if loop := _loop(old, new):
        return "defect_loop", loop
    if translated := _translated(old, new):
        return "defect_language", translated
    length = len(words(answer))
    if length >= REASONED_WORDS and len(words(new_answer)) < KEPT_LENGTH * length:
        return "defect_shortened", f"answer of {length} words became {len(words(new_answer))}"
    if reference := dangling_reference(new_question):
        return "defect_not_self_contained", f"the question refers to {reference!r}"
    return None


def refuses(text: str) -> bool:
    """Whether a model speaks of itself instead of answering."""
    return bool(_REFUSAL.search(text))


def dangling_reference(question: str) -> str | None:
    """What a question refers to without containing it (a figure, "the above"); None when it stands on its own."""
    text = " ".join(question.split())
    for match in _DANGLING.finditer(text):
        if "table" in match[0].lower() and _TABLE.search(question):
            continue  # the table is part of the question
        return match[0]
    return None


def _grams(sequence: list[str], size: int) -> Counter[str]:
    return Counter(" ".join(sequence[start : start + size]) for start in range(len(sequence) - size + 1))


def _loop(old: str, new: str) -> str | None:
    """A phrase that the reply repeats without the original doing so, None if there is none."""
    sequence = words(new)
    before = _grams(words(old), LOOP_WORDS)
    for gram, times in _grams(sequence, LOOP_WORDS).most_common(1):
        if times >= LOOP_TIMES and times > before[gram]:
            return f"{times} times {gram!r}"
    same = 1
    for one, other in pairwise(sequence):
        same = same + 1 if one == other else 1
        if same > LOOP_WORDS:
            return f"{other!r} over and over"
    return None


def _translated(old: str, new: str) -> str | None:
    """``en -> fr`` for a text that came back in another language, else None."""
    if min(len(words(old)), len(words(new))) < LANGUAGE_WORDS or kept_words(old, new) >= KEPT_IN_TRANSLATION:
        return None
    from py3langid.langid import classify

    before, after = (str(classify(text[:2000])[0]) for text in (old, new))
    return f"{before} -> {after}" if before != after else None
