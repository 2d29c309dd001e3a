"""Texts that are no use whatever they were asked: refusals, loops, leaked prompts, cut-off or foreign answers, dangling references.

In: a pair as its page has it, or a pair before and after refinement. Out: (reason, detail) of the first defect, None
where there is none. A defect of the page (``page_defect``) is found before a refiner is paid for it. A defect that the
pair had before refinement is not the refiner's (``defect``), except that a question must stand on its own in the end.
"""

import re
from collections import Counter

from webinstruct_assets.stages.decontamination.words import words
from webinstruct_assets.stages.refinement.answers import STOP_WORDS

KEPT_LENGTH = 0.5  # a reasoned answer may lose half of its words, not more
REASONED_WORDS = 20
LOOP_TIMES = 3
LOOP_SENTENCE = 4  # words of a sentence that may not come LOOP_TIMES
LOOP_PERIOD, LOOP_WORDS = 20, 10  # a phrase of at most so many words may not fill so many words on end
LOOP_ONE_WORD = 5  # nor may one word follow itself so often
LEAK_WORDS = 6
CUT_WORDS = 8  # a shorter answer may end as it likes: "of" and "a," are answers
LANGUAGE_WORDS = 12  # below that, guesses of a language are worth nothing
OTHER_SCRIPT = 20  # letters of a script without spaces between words that stand for as many words
KEPT_IN_TRANSLATION = 0.5  # a sentence that keeps more of its words was not translated, whatever the guess says
ENGLISH = 0.15  # share of function words from which a text is English, whatever the guess says
BEFORE_WORDS = 8  # of a question that may hold what it calls "the above"
LONG_QUESTION = 60  # words of a question that may hold the passage it speaks of

_MODEL = r"(?:ai|artificial intelligence|(?:large )?language model)"
_REFUSAL = re.compile(
    rf"\bas an? (?:large )?(?:language model|(?:virtual|digital|ai) assistant)\b|\bas an? {_MODEL}(?: (?:language )?model\b| system\b| chatbot\b|\s*[,.;:]|\s+i\b)"
    r"|\bi(?:'m| am) (?:just |only |merely )?an? (?:ai|(?:large )?language model)\b(?! [a-z]*(?:er|ist)\b)"
    r"|\bi(?:'m| am) (?:very |so )?sorry\b|\bi apologi[sz]e\b|\bi(?:'m| am) (?:unable|not able) to\b"
    r"|\bi (?:cannot|can't|can not|won't|could not|couldn't) (?:help|assist|answer|provide|do|fulfil|comply|verify|check|access|confirm|determine|see|view|offer)\b"
    r"|\bi (?:do not|don't) have (?:access|enough|any information|the ability|sufficient)\b"
    r"|\bi can only (?:answer|help|assist|provide|say)\b|\bmy (?:knowledge cut-?off|training data|guidelines|programming)\b"
    r"|\bi(?:'d| would)? (?:recommend|suggest|advise) (?:consulting|speaking|talking|seeking|asking|that you consult)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|(?<!\w)'[^'\n]{12,}'(?!\w)")
_REPLY_KEYS = re.compile(r"\"(?:question|answer|correction)\"\s*:")

_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+|\n+")
_ENUMERATED = re.compile(r"^\W*(?:(?:step|line|part|case|answer|no)\W*)?\d+\s*[.:)]\s*", re.IGNORECASE)

_TEASER = re.compile(
    r"(?:\.\.\.|…)\W*(?:read|show|see|view|continue|click|unlock|subscribe|sign|log|register|become|get)\b[^.!?…]{0,80}[.!]?\s*$"
    r"|(?:\[(?:\.\.\.|…)\]|\((?:\.\.\.|…)\))\W*$",
    re.IGNORECASE,
)
# No sentence ends in these; "a" (vitamin A), "on", "in" and the like (the answer to a question of grammar) do.
_DANGLING_END = re.compile(
    r"\b(?:the|an|and|or|nor|but|because|although|whereas|while|if|than|which|whose|its|their|our|your|of|into|between|from|with|by|as)\W*$"
)
_HANGING_END = re.compile(
    r"\b(?:the|a|an|and|or|because|in|of|to|is|are|which|that|with|by|for|at|on)\s*(?:\.\.\.|…)\W*$"
)
_OPEN_END = re.compile(r"(?:\w,|\w:|\(|\[|\{|[A-Za-z]-)\s*$")
_OPEN_BRACKET = re.compile(r"\([^()\[\]]*\b[A-Za-z]{2,}\s+[A-Za-z]{2,}\b[^()\[\]]*$")
_OPEN_FORMULA = re.compile(r"\$[^$]*\\[a-zA-Z]+[^$]*$")

_SEEN = (
    r"(?:figures?|diagrams?|graphs?|pictures?|images?|photos?|drawings?|charts?|maps?|sketch|illustrations?|circuit)"
)
_READ = (
    r"(?:passages?|extracts?|paragraphs?|texts?|tables?|questions?|problems?|exercises?|examples?|parts?|equations?)"
)
_HERE = r"(?:above|below|opposite|overleaf|shown|on the (?:right|left)|at the (?:right|left))"
_DANGLING = re.compile(
    rf"\b(?:the|this|these|a)\s+(?:{_SEEN}|{_READ})\s+{_HERE}\b"
    r"|\b(?:the|this|these)\s+(?:arrangement|set-?up|apparatus|data|information|reaction|expression|system|formula|code|program|function|statements?|sentences?)\s+(?:above|below)\b"
    rf"|\b(?:above|preceding|previous|foregoing|last|earlier)\s+(?:{_SEEN}|{_READ})\b"
    rf"|(?<!of the )\b(?:following|adjacent|accompanying|given)\s+{_SEEN}\b"
    r"|\b(?:shown|seen|drawn|pictured|listed|given|described|stated|mentioned)\s+(?:above|below|opposite|here)\b"
    r"|\b(?:in|from|see|refer to|use|using)\s+(?:the\s+)?(?:fig(?:ure)?|diagram|graph|exercise|question|problem|example|equation)s?\.?\s*\(?\d"
    r"|\b(?:using|from|with|in|to)\s+(?:the\s+)?(?:results?|answers?|parts?)\s+(?:of\s+|in\s+|from\s+|to\s+)?(?:part\s+)?\(?(?:[a-h]\)|[ivx]+\)|\d)"
    r"|(?<!\bof )\bthe above\b"  # "none of the above" is a choice
    r"|(?<!\ba )\bfig(?:ure)?s?\.?\s*\(?[A-Z]{0,2}\d+[a-z]?\b|\S+\.(?:png|jpe?g|gif|svg)\b"
    r"|^\W*(?:now\s+)?(?:do|repeat)\s+the\s+same\b",
    re.IGNORECASE,
)
# A picture or a text that the question speaks of as of something at hand, unless it brings it along itself.
_AT_HAND = re.compile(
    rf"\b(?:in|from|see|use|using|study|examine|according to|look(?:ing)? at|refer(?:ring)? to)\s+the\s+(?P<noun>{_SEEN}|passage|extract|table)\b(?!\s+of\b|-)"
    rf"|\bthe\s+(?P<shown>{_SEEN}|table)\s+(?:shows?|represents?|gives)\b"
    rf"|\b(?:this\s+(?P<this>{_SEEN})|of\s+the\s+(?P<read>passage|extract))\b",
    re.IGNORECASE,
)
_BROUGHT = (
    r"\b(?:an?|certain|one|two|three|each|every|draw|sketch|plot|make|construct)\s+(?:[\w-]+\s+){{0,3}}{noun}"
    r"|\bthe\s+{noun}\s+of\b|\bon\s+the\s+{noun}\b|\b{noun}s\b"
)
# Tables, and pictures as code: what a question may bring along.
_TABLE = re.compile(r"\s\|\s.*\n.*\s\|\s|\\begin\{(?:tabular|array|[bpv]?matrix)\}", re.DOTALL)
_DRAWN = re.compile(r"\[asy\]|\\begin\{(?:tikzpicture|asy|tabular|array)\}")
_PICTURE = re.compile(rf"{_SEEN}|\bfigs?\b|\.(?:png|jpe?g|gif|svg)\b", re.IGNORECASE)
_NAMED = re.compile(rf"{_READ}|reaction|expression|system|formula|data|statement", re.IGNORECASE)
_FORWARD = re.compile(r"\b(?:below|here|following)$", re.IGNORECASE)
_MORE_TEXT = re.compile(r"[.?!:]\s+\S.{4}|\n\s*\S.{4}", re.DOTALL)
_OTHER_LANGUAGE = re.compile(
    r"\b(?:translat\w*|languages?|latin|french|german|spanish|italian|russian|chinese|japanese|portuguese|greek|arabic|hebrew|dutch|polish"
    r"|swedish|motto|lyrics|poem|say|mean|sentence)\b",
    re.IGNORECASE,
)
# Function words that hardly any other language has.
_ENGLISH_WORDS = STOP_WORDS - {"was", "also"} | {"of", "to", "is", "it", "by", "be"}
_DRAWING = re.compile(r"\[asy\].*?\[/asy\]", re.DOTALL)
_FORMULA = re.compile(
    r"```.*?```|`[^`\n]*`|\[asy\].*?\[/asy\]|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|\$\$.+?\$\$|\$[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\]|\\[a-zA-Z]+",
    re.DOTALL,
)


def page_defect(question: str, answer: str, *, completed: bool) -> tuple[str, str] | None:
    """What is wrong with a pair before refinement, that no refiner can mend.

    ``completed``: whether the refiner is shown the page, from which it may complete a question that refers to it; a
    picture it never sees.
    """
    if match := _refusal(answer):
        return "defect_refusal", match
    if end := cut_off(answer):
        return "defect_truncated", f"it ends in {end!r}"
    if loop := next(iter(_loops(answer)), None):
        return "defect_loop", loop
    asked = _language(question)
    if asked and not _OTHER_LANGUAGE.search(question) and (other := _foreign(answer, asked, question)):
        return "defect_language", f"{asked} question, {other} answer"
    reference = dangling_reference(question)
    if reference and (not completed or _PICTURE.search(reference)):
        return "defect_not_self_contained", f"the question refers to {reference!r}"
    return None


def defect(
    question: str, answer: str, new_question: str, new_answer: str, context: str, prompt_text: str
) -> tuple[str, str] | None:
    """The first defect of a reply. ``context`` and ``prompt_text``: what else the model was shown."""
    old, new = f"{question}\n{answer}", f"{new_question}\n{new_answer}"
    if (match := _refusal(new)) and not _refusal(old):
        return "defect_refusal", match
    if leaked := _leaked(new, f"{old}\n{context}", prompt_text):
        return "defect_leaked_prompt", leaked
    if (end := cut_off(new_answer)) and not cut_off(answer):
        return "defect_truncated", f"it ends in {end!r}"
    had = set(_loops(answer))
    if loop := next((loop for loop in _loops(new_answer) if loop not in had), None):
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
    return bool(_refusal(text))


def _refusal(text: str) -> str:
    """The words in which a model speaks of itself, "" where none does; what stands in quotation marks somebody else says."""
    said = _QUOTED.sub(" ", text.replace("’", "'"))
    match = _REFUSAL.search(said)
    return said[max(0, match.start() - 40) : match.end() + 80] if match else ""


def _leaked(new: str, own: str, prompt_text: str) -> str:
    if (match := _REPLY_KEYS.search(new)) and not _REPLY_KEYS.search(own):
        return match[0]
    shown = _grams(words(prompt_text)) - _grams(words(own))
    return next((gram for gram in sorted(_grams(words(new))) if gram in shown), "")


def _grams(sequence: list[str]) -> set[str]:
    return {" ".join(sequence[start : start + LEAK_WORDS]) for start in range(len(sequence) - LEAK_WORDS + 1)}


def cut_off(answer: str) -> str:
    """The end of an answer that stops before it is finished (a teaser, half a sentence, an open formula); "" otherwise."""
    text = answer.rstrip()
    end = text[-40:].lstrip()
    if _TEASER.search(text):
        return end
    if text.count("$") % 2 and _OPEN_FORMULA.search(text):
        return end
    if len(words(text)) < CUT_WORDS:
        return ""
    ends = _DANGLING_END.search(text) and text[-1].isalpha()
    return end if ends or any(mark.search(text) for mark in (_HANGING_END, _OPEN_END, _OPEN_BRACKET)) else ""


def dangling_reference(question: str) -> str | None:
    """What a question refers to without containing it (a figure, "the above"); None when it stands on its own."""
    drawn, with_table = bool(_DRAWN.search(question)), bool(_TABLE.search(question))
    for match in _DANGLING.finditer(question):
        near = match[0] if _NAMED.search(match[0]) else question[max(0, match.start() - 40) : match.end()]
        if _PICTURE.search(near):
            contained = drawn
        elif "table" in match[0].lower():
            contained = with_table
        elif _FORWARD.search(match[0]):  # "the reaction shown below? HCl + NaOH": it follows
            contained = bool(_MORE_TEXT.search(question, match.end()))
        else:  # "Magnesium has … given the data above": it came before
            contained = "above" in match[0].lower() and len(question[: match.start()].split()) >= BEFORE_WORDS
        if not contained:
            return " ".join(match[0].split())
    for match in _AT_HAND.finditer(question):
        noun = next(name for name in match.groups() if name)
        brought = re.search(_BROUGHT.format(noun=noun), question[: match.start()], re.IGNORECASE)
        if noun.lower() == "table":
            contained = with_table
        elif noun.lower() in ("passage", "extract"):
            contained = len(question.split()) >= LONG_QUESTION
        else:
            contained = drawn
        if not brought and not contained:
            return " ".join(match[0].split())
    return None


def _loops(text: str) -> list[str]:
    """Phrases that a text says over and over: the same sentence, or the same few words on end.

    Numbers and single letters may repeat: rows of digits, powers and truth tables do.
    """
    found = []
    text = _DRAWING.sub(" ", text)
    sentences = [" ".join(words(_ENUMERATED.sub("", part))) for part in _SENTENCE_END.split(text)]
    for sentence, times in Counter(sentences).most_common():
        if times < LOOP_TIMES:
            break
        if sentence.count(" ") >= LOOP_SENTENCE - 1 and _speaks(sentence.split()):
            found.append(f"{times} times {sentence!r}")
    sequence = words(_FORMULA.sub(" ", text))
    for period in range(1, LOOP_PERIOD + 1):
        run = 0  # how many words on end equal the one a period before
        least = max((LOOP_TIMES - 1) * period, LOOP_WORDS - period) if period > 1 else LOOP_ONE_WORD
        for place in range(period, len(sequence) + 1):
            if place < len(sequence) and sequence[place] == sequence[place - period]:
                run += 1
                continue
            phrase = sequence[place - run - period : place - run]
            if run >= least and _speaks(phrase):
                return [*found, f"{' '.join(phrase)!r} over and over"]
            run = 0
    return found


def _speaks(phrase: list[str]) -> bool:
    return any(len(word) > 1 and word.isalpha() for word in phrase)


def _translated(old: str, new: str) -> str | None:
    """``en -> fr`` for a text that came back in another language, wholly or in a sentence, else None."""
    before = _language(old)
    if not before or _OTHER_LANGUAGE.search(old):
        return None
    other = _foreign(new, before, old)
    return f"{before} -> {other}" if other else None


def _foreign(text: str, language: str, known: str = "") -> str:
    """The language of ``text``, or of its first long sentence, that is not ``language``; "" where there is none.

    Sentences whose words are mostly those of ``known`` are passed over, whatever the guess says.
    """
    had = set(words(known))
    spoken = _QUOTED.sub(" ", text)
    for sentence in (spoken, *_SENTENCE_END.split(spoken)):
        said = set(words(sentence))
        if len(said & had) <= KEPT_IN_TRANSLATION * len(said):
            other = _language(sentence)
            if other and other != language:
                return other
    return ""


def _language(text: str) -> str:
    """ISO 639-1 code by the words outside formulas; "" where these are too few to tell."""
    prose = _FORMULA.sub(" ", text)
    sequence = [word for word in words(prose) if word.isalpha()]
    telling = sum(len(word) > 2 for word in sequence)
    unspaced = sum("\u2e80" <= letter <= "\u9fff" or "\uac00" <= letter <= "\ud7af" for letter in prose)
    if telling < LANGUAGE_WORDS and unspaced < OTHER_SCRIPT:
        # Of a question of some words only English can be told, by its function words.
        return "en" if sequence and _english(sequence) >= 2 * ENGLISH else ""
    if _english(sequence) >= ENGLISH:
        return "en"
    from py3langid.langid import classify

    return str(classify(prose[:2000])[0])


def _english(sequence: list[str]) -> float:
    return sum(word in _ENGLISH_WORDS for word in sequence) / len(sequence)
